"""The tag grammar of a router, and the records that a rollout leaves behind.

Every other module that needs a tag, a turn or a trajectory takes it from here. Invariants:

- a turn's token ids are exactly those that were sampled, with one log-prob each; they are never re-tokenised;
- observations come from the environment: they carry mask 0 and no log-prob, and no tag inside them can be mistaken for
  a real one;
- an answer is read from policy text only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

THINK, SEARCH, INFORMATION, ANSWER = "think", "search", "information", "answer"
TAGS = (THINK, SEARCH, INFORMATION, ANSWER)

STOP_STRINGS = (f"</{SEARCH}>", f"</{ANSWER}>")
"""A turn ends at the first of these; they stay in the output."""

_TAG = re.compile(rf"<(/?)({'|'.join(TAGS)})>")
# What a reader, or a model, would take for a tag although it is not spelled exactly like one. No two runs of spaces
# meet in it, so that matching stays linear, whatever a candidate sends.
_LOOSE_TAG = re.compile(rf"<\s*(?:(/)\s*)?({'|'.join(TAGS)})\s*(?:(/)\s*)?>", re.IGNORECASE)
# C0 and C1 control characters but tab and newline, and lone surrogates, which no UTF-8 encoder takes.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

SEARCH_OPENING = f"<{SEARCH}>"

OBSERVATION_PREFIX = f"\n<{INFORMATION}> "
OBSERVATION_SUFFIX = f" </{INFORMATION}>\n"


# ---------------------------------------------------------------- rendering


def render_think(thought: str) -> str:
    return f"<{THINK}> {thought} </{THINK}>"


def render_search(candidate: str, query: str) -> str:
    return f"<{SEARCH}> {candidate}: {query} </{SEARCH}>"


def render_answer(answer: str) -> str:
    return f"<{ANSWER}> {answer} </{ANSWER}>"


def render_observation(body: str) -> str:
    """The text of an observation, as it enters the context; `body` is data and is neutralised."""
    return f"{OBSERVATION_PREFIX}{neutralise(body)}{OBSERVATION_SUFFIX}"


def neutralise(text: str) -> str:
    """Turn text from outside into data: tags become bracketed words, control characters become spaces.

    Idempotent. Control tokens of a chat template (`<|im_start|>`) are left as text: it is the tokenizer's caller who
    must encode them as plain characters (`rollout.tokens`).
    """
    text = _UNPRINTABLE.sub(" ", text.replace("\r\n", "\n"))
    return _LOOSE_TAG.sub(lambda m: f"[{m[1] or m[3] or ''}{m[2]}]", text).strip()


def is_observation(text: str) -> bool:
    """Whether `text` is one information tag, its closing tag, and between them nothing that may be taken for a tag."""
    tags = find_tags(text)
    if [(t.name, t.closes) for t in tags] != [(INFORMATION, False), (INFORMATION, True)]:
        return False
    opening, closing = tags
    around = text[: opening.start] + text[closing.end :]
    return not around.strip() and len(_LOOSE_TAG.findall(text)) == len(tags)


# ---------------------------------------------------------------- parsing


@dataclass(frozen=True)
class Tag:
    """One tag in a text: its name, whether it closes, and where it stands."""

    name: str
    closes: bool
    start: int
    end: int


def find_tags(text: str) -> list[Tag]:
    """All exactly spelled tags of `text`, in order."""
    return [Tag(m[2], bool(m[1]), m.start(), m.end()) for m in _TAG.finditer(text)]


@dataclass(frozen=True)
class Search:
    """A well-formed search; `candidate` is the name as written, not yet resolved."""

    candidate: str
    query: str


@dataclass(frozen=True)
class InvalidSearch:
    """A search that names no candidate or asks nothing; `reason` is told to the policy."""

    reason: str


@dataclass(frozen=True)
class Answer:
    text: str


@dataclass(frozen=True)
class NoAction:
    """The turn ended without a complete search or answer."""


Action = Search | InvalidSearch | Answer | NoAction

_PLACEHOLDERS = {"query", "subquery", "yourquery", "yoursubquery", "question", "yourquestion", "text", "string"}


def letters_of(text: str) -> str:
    """The letters and digits of `text`, of any script, case folded; "" if nothing is said in it."""
    return "".join(ch for ch in text.casefold() if ch.isalnum())


def is_placeholder(query: str) -> bool:
    """True for a sub-query that repeats the prompt's form and asks nothing: `query`, `[your sub-query]`, `...`."""
    letters = letters_of(query)
    return not letters or letters in _PLACEHOLDERS


def parse_turn(text: str) -> Action:
    """The action of one turn: what stands before the first `</search>` or `</answer>`.

    The content begins at the last opening tag of that name before it, so that a tag mentioned in a thought does not
    count.
    A search splits at its FIRST colon; a sub-query may contain colons.
    """
    tags = find_tags(text)
    close = next((t for t in tags if t.closes and t.name in (SEARCH, ANSWER)), None)
    if close is None:
        return NoAction()
    opening = [t for t in tags if t.end <= close.start and not t.closes and t.name == close.name]
    if close.name == ANSWER:
        return Answer(text[opening[-1].end : close.start].strip()) if opening else NoAction()
    if not opening:
        return InvalidSearch(f"there is no <{SEARCH}> before </{SEARCH}>")
    name, colon, query = text[opening[-1].end : close.start].partition(":")
    name, query = name.strip(), query.strip()
    if not colon:
        return InvalidSearch("there is no colon between the candidate's name and the query")
    if not name:
        return InvalidSearch("no candidate is named")
    if not query:
        return InvalidSearch("the query is empty")
    if is_placeholder(query):
        return InvalidSearch("the query is a placeholder")
    return Search(name, query)


# ---------------------------------------------------------------- records


class Status(StrEnum):
    """How a trajectory ended."""

    ANSWERED = "answered"
    """The last turn holds an answer."""
    NO_ACTION = "no_action"
    """End of sequence without a search or an answer."""
    LENGTH = "length"
    """A token budget ran out."""
    MAX_TURNS = "max_turns"
    """A search after the last allowed route."""
    ABORTED = "aborted"
    """The engine gave up the request."""

    @property
    def is_truncated(self) -> bool:
        """A token budget or the engine cut it off."""
        return self in (Status.LENGTH, Status.ABORTED)


@dataclass(frozen=True)
class Route:
    """One dispatched search and what came of it."""

    candidate: str
    """The pool's own name for it, whatever alias was written or whatever name a deal shows it by."""
    query: str
    """The sub-query, as the policy wrote it."""
    reply: str
    """The candidate's words, raw; "" if the route failed."""
    failed: bool = False
    """No reply could be had."""
    error: str = ""
    """Short cause of a failure; never holds a key."""
    prompt_tokens: int = 0
    """Tokens the candidate read, as its endpoint counts them."""
    completion_tokens: int = 0
    """Tokens the candidate wrote, as its endpoint counts them."""
    usage_estimated: bool = False
    """The endpoint sent no usage; the counts are ours."""
    raw_cost: float = 0.0
    """Completion tokens x output price per 1M tokens = micro-USD of output."""
    spend_usd: float = 0.0
    """Prompt and completion tokens at their own prices, USD."""
    latency_s: float = 0.0
    """Wall time in seconds, retries and waiting included."""
    attempts: int = 1
    """Requests sent for it; 0 if its reply was cached or shared."""
    cached: bool = False
    """The reply came from disk, or from an identical route: its raw cost counts, its spend is 0."""


@dataclass
class Turn:
    """One uninterrupted generation, and the observation that answered it."""

    token_ids: list[int]
    """[num_tokens], exactly as sampled."""
    logprobs: list[float]
    """[num_tokens], or empty if they were not asked for."""
    text: str
    """The tokens as text, up to the end of the stop string."""
    action: Action
    """What the turn asks for: a search, an invalid one, an answer, or nothing."""
    invalid_reason: str = ""
    """Why a search was not dispatched; "" if it was, or if there was none."""
    route: Route | None = None
    """The dispatched search; None if none was."""
    observation: str = ""
    """Text as it entered the context; "" if nothing did."""
    observation_ids: list[int] = field(default_factory=list)
    """[num_observation_tokens]"""


@dataclass
class Trajectory:
    """Prompt, then alternating turns and observations. The last token is always the policy's."""

    prompt_ids: list[int]
    """[prompt_length]"""
    turns: list[Turn]
    """In order; empty only if the engine returned no token for the first one."""
    status: Status
    """How it ended."""

    @property
    def response_ids(self) -> list[int]:
        """All tokens after the prompt. [response_length]"""
        return [i for t in self.turns for i in (*t.token_ids, *t.observation_ids)]

    @property
    def response_mask(self) -> list[int]:
        """1 on policy tokens, 0 on observation tokens. [response_length]"""
        return [m for t in self.turns for m in (*[1] * len(t.token_ids), *[0] * len(t.observation_ids))]

    @property
    def response_logprobs(self) -> list[float]:
        """Log-probs of the policy's tokens as sampled, 0.0 on observations. [response_length], or empty."""
        if any(len(t.logprobs) != len(t.token_ids) for t in self.turns):
            return []
        return [p for t in self.turns for p in (*t.logprobs, *[0.0] * len(t.observation_ids))]

    @property
    def text(self) -> str:
        """Everything after the prompt, as text."""
        return "".join(t.text + t.observation for t in self.turns)

    @property
    def answer(self) -> str | None:
        """The policy's answer; None unless the trajectory was answered."""
        action = self.turns[-1].action if self.turns and self.status is Status.ANSWERED else None
        return action.text if isinstance(action, Answer) else None

    @property
    def routes(self) -> list[Route]:
        """The dispatched searches in order, failed ones included."""
        return [t.route for t in self.turns if t.route is not None]

    @property
    def searches(self) -> list[Turn]:
        """The turns that ended in a search, valid or not, dispatched or not."""
        return [t for t in self.turns if isinstance(t.action, Search | InvalidSearch)]

    @property
    def raw_cost(self) -> float:
        """Sum over the routes, micro-USD of output."""
        return sum((r.raw_cost for r in self.routes), 0.0)

    @property
    def spend_usd(self) -> float:
        """Sum over the routes, USD."""
        return sum((r.spend_usd for r in self.routes), 0.0)

    @property
    def failed_routes(self) -> int:
        """How many routes got no reply."""
        return sum(r.failed for r in self.routes)
