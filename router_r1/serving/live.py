"""A trajectory while it grows: what the policy writes, and which routes start and end, told as it happens.

Invariants:

- the texts that are told or taken, one after another, are exactly `reasoning_of` the finished trajectory: everything
  after the prompt but the answer, with its tags, observations included;
- the answer is told by nobody: it counts as one only when it is complete;
- a route is told of before it is dispatched, and once more when it has ended, unless the trajectory was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_r1.protocol import ANSWER, STOP_STRINGS, Answer, Route, Trajectory, Turn, find_tags
from router_r1.rollout.policy import Dispatcher, Generation, Policy, StreamingPolicy
from router_r1.rollout.tokens import decode
from router_r1.serving.limits import DailySpend

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OPENING = f"<{ANSWER}>"
_BROKEN_CHARACTER = "\ufffd"  # how the beginning of a character decodes


@dataclass(frozen=True)
class Wrote:
    """More of the reasoning."""

    text: str


@dataclass(frozen=True)
class RouteStarted:
    number: int
    """From 0, in the order of dispatch."""
    candidate: str
    query: str


@dataclass(frozen=True)
class RouteEnded:
    number: int
    route: Route


Event = Wrote | RouteStarted | RouteEnded


class TokensSpent(Exception):
    """The request's own bound on policy tokens is reached."""


def reasoning_of(trajectory: Trajectory) -> str:
    """Everything after the prompt but the answer."""
    return "".join(thoughts_of(turn) + turn.observation for turn in trajectory.turns)


def thoughts_of(turn: Turn) -> str:
    """What the policy wrote in a turn, up to its answer, if it has one."""
    if not isinstance(turn.action, Answer):
        return turn.text
    tags = [tag for tag in find_tags(turn.text) if tag.name == ANSWER]
    closing = next(index for index, tag in enumerate(tags) if tag.closes)
    return turn.text[: tags[closing - 1].start]


class GrowingText:
    """The text of tokens that come piece by piece, in whole characters.

    A few tokens before the new ones are decoded with them, since some tokenizers write a token otherwise at the
    beginning of a text; so that the work does not grow with the text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = self._read = 0

    def add(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens add; "" as long as they end within a character, or with the end of sequence."""
        self._ids += token_ids
        before = decode(self._tokenizer, self._ids[self._start : self._read])
        now = decode(self._tokenizer, self._ids[self._start :])
        if len(now) <= len(before) or now.endswith(_BROKEN_CHARACTER):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return now[len(before) :]


class Writing:
    """A turn while it is written, told of whenever there is more of it.

    All but what may be the beginning of an answer is to be had. Tokens are decoded when they are taken, several at once
    for a reader that does not take each, and not at all where nobody reads.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._growing = GrowingText(tokenizer)
        self._new: list[int] = []
        self._text = ""
        self._ended: Turn | None = None
        self._taken = 0

    def add(self, token_ids: Sequence[int]) -> None:
        self._new += token_ids

    def end(self, turn: Turn) -> None:
        """Now it is known what the turn is."""
        self._ended = turn

    def take(self) -> str:
        """What has come since the last time, if it is no part of an answer."""
        if self._ended is not None:
            text = thoughts_of(self._ended)
            length = len(text)
        else:
            new, self._new = self._new, []
            self._text += self._growing.add(new)
            text, length = self._text, self._length_before_answer()
        more = text[self._taken : length]
        self._taken = max(self._taken, length)
        return more

    def _length_before_answer(self) -> int:
        text = self._text
        stops = [text.index(stop) + len(stop) for stop in STOP_STRINGS if stop in text]
        end = min([len(text), *stops])
        if (at := text.find(_OPENING)) >= 0:
            return min(at, end)
        begun = next((n for n in range(len(_OPENING) - 1, 0, -1) if text.endswith(_OPENING[:n])), 0)
        return min(len(text) - begun, end)


Listener = Callable[[Event | Writing], None]


class LivePolicy:
    """A policy for one trajectory that keeps to a bound on its tokens, and can be listened to.

    Args:
        policy: the one that writes.
        max_tokens: of all turns together; None for no bound but the loop's own.
        reserve: tokens that must be left for a route to be worth dispatching.

    Attributes:
        tokens: sampled so far.
    """

    def __init__(self, policy: Policy, *, max_tokens: int | None, reserve: int) -> None:
        self._policy, self._max_tokens, self._reserve = policy, max_tokens, reserve
        self.tokens = 0
        self.told: Callable[[Sequence[int]], None] | None = None

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """As `Policy.generate`.

        Raises:
            TokensSpent: no token is left.
        """
        if self._max_tokens is not None:
            max_tokens = min(max_tokens, self._max_tokens - self.tokens)
        if max_tokens < 1:
            raise TokensSpent
        if self.told is not None and isinstance(self._policy, StreamingPolicy):
            generation = await self._policy.stream(
                token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id, told=self.told
            )
        else:
            generation = await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)
        self.tokens += len(generation.token_ids)
        return generation

    def check_room(self) -> None:
        """See that enough tokens are left to make something of a reply.

        Raises:
            TokensSpent: too few.
        """
        if self._max_tokens is not None and self._max_tokens - self.tokens < self._reserve:
            raise TokensSpent


class LiveTurns:
    """Tells the reasoning of a trajectory in the loop, token by token where the policy can be watched, else by turns.

    Attributes:
        turns: those that are finished.
    """

    def __init__(self, policy: LivePolicy, tokenizer: PreTrainedTokenizerBase, tell: Listener) -> None:
        self._tokenizer, self._tell = tokenizer, tell
        self._writing = Writing(tokenizer)
        self.turns: list[Turn] = []
        policy.told = self._on_tokens

    def watch(self, turn: Turn) -> None:
        """What `run_trajectory` tells: a turn when it is generated, and again when its observation is there."""
        if turn.observation:
            self._tell(Wrote(turn.observation))
            return
        self._writing.end(turn)
        self._tell(self._writing)
        self.turns.append(turn)
        self._writing = Writing(self._tokenizer)

    def _on_tokens(self, token_ids: Sequence[int]) -> None:
        self._writing.add(token_ids)
        self._tell(self._writing)


class LiveRoutes:
    """A dispatcher for one trajectory: tells of its routes, and books them to the key that asked.

    Attributes:
        ended: the routes that have ended, in that order.
    """

    def __init__(self, routes: Dispatcher, *, policy: LivePolicy, spend: DailySpend, key: str, tell: Listener) -> None:
        self._routes, self._policy, self._spend, self._key, self._tell = routes, policy, spend, key, tell
        self._started = 0
        self.ended: list[Route] = []

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        """As `Dispatcher.route`.

        Raises:
            KeyBudgetSpent: nothing more may be spent for this key today.
            TokensSpent: the policy could make nothing of the reply.
        """
        self._policy.check_room()
        self._spend.check(self._key)
        number, self._started = self._started, self._started + 1
        self._tell(RouteStarted(number, candidate, query))
        route = await self._routes.route(candidate, query, trajectory_id=trajectory_id)
        self._spend.book(self._key, route.spend_usd)
        self.ended.append(route)
        self._tell(RouteEnded(number, route))
        return route
