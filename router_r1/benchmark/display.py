"""A trajectory on a terminal: tags and their content in colour, a line for every route.

Everything the policy, a candidate or a user wrote is shown as text: neither markup nor escape sequences in it work.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from router_r1.printable import printable
from router_r1.protocol import ANSWER, INFORMATION, SEARCH, THINK, Route, Turn, find_tags

_STYLES = {THINK: "dim", SEARCH: "yellow", INFORMATION: "cyan", ANSWER: "bold green"}
_TAG_STYLES = {THINK: "magenta", SEARCH: "bold yellow", INFORMATION: "bold cyan", ANSWER: "bold green"}


@dataclass(frozen=True)
class Segment:
    """A piece of a trajectory's text: a tag, or what stands inside one, or outside of all."""

    text: str
    within: str  # name of the tag, "" outside
    is_tag: bool


def segments(text: str) -> list[Segment]:
    """Printable text, cut at its tags."""
    text = printable(text)
    found, at, within = [], 0, ""
    for tag in find_tags(text):
        found.append(Segment(text[at : tag.start], within, False))
        found.append(Segment(text[tag.start : tag.end], tag.name, True))
        at, within = tag.end, "" if tag.closes else tag.name
    found.append(Segment(text[at:], within, False))
    return [segment for segment in found if segment.text]


def render_turn(turn: Turn) -> Text:
    """What the policy wrote."""
    return render_tagged(turn.text.strip())


def render_answered(turn: Turn) -> Text:
    """What came of it: the route, or why there was none, and the observation; empty if the turn was the last."""
    lines = []
    if turn.route is not None:
        lines.append(Text(describe_route(turn.route), style="dim italic"))
    elif turn.invalid_reason:
        lines.append(Text(f"not dispatched: {printable(turn.invalid_reason)}", style="red"))
    if turn.observation:
        lines.append(render_tagged(turn.observation.strip()))
    return Text("\n").join(lines)


def render_tagged(text: str) -> Text:
    """Tags in colour, and what stands between them."""
    styles = {True: _TAG_STYLES, False: _STYLES}
    return Text.assemble(*((s.text, styles[s.is_tag].get(s.within, "")) for s in segments(text)))


def describe_route(route: Route) -> str:
    """One line: candidate, tokens, cost, time; or why it failed."""
    attempts = f", {route.attempts} attempts" if route.attempts > 1 else ""
    if route.failed:
        return printable(f"{route.candidate} failed after {route.latency_s:.2f} s{attempts}: {route.error}")
    tokens = (
        f"{route.prompt_tokens} + {route.completion_tokens} tokens{' (estimated)' if route.usage_estimated else ''}"
    )
    cost = f"raw cost {route.raw_cost:.4g} (spent {route.spend_usd:.3g} USD)"
    return printable(f"{route.candidate}: {tokens}, {cost}, {route.latency_s:.2f} s{attempts}")
