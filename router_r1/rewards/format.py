"""The format rule: whether a trajectory keeps to the tag grammar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from router_r1.protocol import (
    ANSWER,
    INFORMATION,
    SEARCH,
    THINK,
    InvalidSearch,
    Search,
    Trajectory,
    Turn,
    find_tags,
    letters_of,
)

if TYPE_CHECKING:
    from router_r1.pool.schema import RoutingPool


def check_format(trajectory: Trajectory, pool: RoutingPool) -> str:
    """The first rule that the trajectory breaks, in words; "" if it breaks none.

    Valid is what starts with a thought and ends with its one answer, closes every tag before the next opens, says
    something in every thought (one letter or digit of any script, at least) and every sub-query (more than the name of
    the candidate that is asked), and has one observation for each search. A failed route is a valid search: an outage
    is not the policy's fault. White space around the policy's text does not count.

    Args:
        pool: the candidates as the policy was shown them.
    """
    turns = trajectory.turns
    if not turns or not _starts_with_thought(turns[0].text):
        return "the trajectory does not start with a thought"
    for turn in turns:
        fault = _tag_fault(turn.text) or _thought_fault(turn.text) or _search_fault(turn, pool)
        if fault:
            return fault
    answers = sum(len(_contents(t.text, ANSWER)) for t in turns)
    if answers != 1:
        return f"there are {answers} answers instead of one"
    if not _ends_with_answer(turns[-1].text):
        return "the trajectory does not end with its answer"
    return ""


def _starts_with_thought(text: str) -> bool:
    first = next(iter(find_tags(text)), None)
    return first is not None and first.name == THINK and not first.closes and not text[: first.start].strip()


def _ends_with_answer(text: str) -> bool:
    last = next(reversed(find_tags(text)), None)
    return last is not None and last.name == ANSWER and last.closes and not text[last.end :].strip()


def _tag_fault(text: str) -> str:
    opened = ""
    for tag in find_tags(text):
        if tag.name == INFORMATION:
            return f"the policy wrote {INFORMATION} itself"
        if tag.closes and tag.name != opened:
            return f"{tag.name} is closed without being open"
        if not tag.closes and opened:
            return f"{tag.name} is opened inside {opened}"
        opened = "" if tag.closes else tag.name
    return f"{opened} is never closed" if opened else ""


def _thought_fault(text: str) -> str:
    says_nothing = any(not letters_of(thought) for thought in _contents(text, THINK))
    return "a thought holds no letter or digit" if says_nothing else ""


def _search_fault(turn: Turn, pool: RoutingPool) -> str:
    """What is wrong with the searches of a turn whose tags are well-formed."""
    searches = len(_contents(turn.text, SEARCH))
    observations = sum(t.name == INFORMATION and not t.closes for t in find_tags(turn.observation))
    if isinstance(turn.action, InvalidSearch):
        return f"invalid search: {turn.action.reason}"
    if searches and not observations:
        return "a search has no observation"
    if searches != observations:
        return f"a turn has {searches} searches and {observations} observations"
    if not isinstance(turn.action, Search):
        return ""
    if turn.route is None:
        return f"invalid search: {turn.invalid_reason or 'it reached no candidate'}"
    asked = pool.resolve(turn.action.candidate)  # a route has the name in the run's pool, which a deal may not show
    if asked is not None and _is_made_of(turn.action.query, (*asked.names, *asked.model_ids)):
        return "invalid search: the query is only the candidate's name"
    return ""


def _is_made_of(query: str, names: Iterable[str]) -> bool:
    """Whether the letters and digits of `query` are those of some of `names`, one or more times, and no others."""
    rest = letters_of(query)
    for name in sorted(map(letters_of, names), key=len, reverse=True):
        rest = rest.replace(name, " ")
    return not rest.strip()


def _contents(text: str, name: str) -> list[str]:
    """What stands inside each `name` of a text whose tags are well-formed: open, close, open, close."""
    tags = find_tags(text)
    pairs = zip(tags[::2], tags[1::2], strict=True)
    return [text[opening.end : closing.start] for opening, closing in pairs if opening.name == name]
