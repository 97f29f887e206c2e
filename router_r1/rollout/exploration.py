"""Exploration of whom to ask: first choices that are dealt instead of sampled, and a reward for unlikely ones.

A policy that has found one candidate to be good stops asking the others, and so never learns which questions they are
better for. While it explores, a share of the trajectories has the first candidate dealt, each of the pool in turn, so
that every group of samples has seen all; and every first choice earns -tau ln pi(choice), so that the policy's best
reply to what it has seen is a distribution, pi ~ exp(E[reward] / tau), not the first that was good. Both fade out.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from router_r1.protocol import SEARCH_OPENING
from router_r1.rollout.policy import Generation, Policy
from router_r1.rollout.tokens import decode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from router_r1.pool.schema import Candidate, RoutingPool

LEAST_PROBABILITY = 1e-4
"""A choice that is less likely earns no more than this one: its logarithm has no bound, and the reward should."""


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS = ("name", "descriptor")


def _choice_form(written: str) -> str:
    found = _PLACEHOLDER.findall(written)
    if unknown := [placeholder for placeholder in found if placeholder not in _PLACEHOLDERS]:
        context = {"found": f"{{{unknown[0]}}}", "known": ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)}
        raise PydanticCustomError("placeholder", "unknown placeholder {found}; known are {known}", context)
    if "name" not in found:
        raise PydanticCustomError("placeholder", "must hold {name}: a choice names a candidate", {"name": "{name}"})
    return written.strip()


def choice_text(form: str, candidate: Candidate) -> str:
    """What the policy writes to choose a candidate, in a form like `{descriptor} {name}`."""
    values = {"name": candidate.name, "descriptor": candidate.descriptor}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], form)


class ExplorationConfig(BaseModel):
    """How a training explores; by default not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dealt: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the trajectories whose first candidate is dealt, at the first step; it falls linearly to 0."""
    until: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of the run's steps after which none is dealt."""
    tau: float = Field(default=0.0, ge=0.0)
    """Reward for a choice's unlikelihood, per nat, at the first step; it falls geometrically to `tau_end`."""
    tau_end: float = Field(default=0.02, gt=0.0)
    choice_after: str | None = Field(default=None, min_length=1)
    """What the policy writes right before it chooses the first candidate; None: the opening tag of a search."""
    choice: Annotated[str, AfterValidator(_choice_form)] = "{name}"
    """What it writes there to choose one, with the `{name}` and the `{descriptor}` of the prompt."""

    @property
    def marker(self) -> str:
        return self.choice_after or SEARCH_OPENING

    @property
    def is_on(self) -> bool:
        return self.dealt > 0 or self.tau > 0

    def dealt_at(self, progress: float) -> float:
        """The share that is dealt when `progress`, in [0, 1], of the steps are done."""
        return self.dealt * max(0.0, 1.0 - progress / self.until)

    def tau_at(self, progress: float) -> float:
        """Tau when `progress`, in [0, 1], of the steps are done."""
        if self.tau <= self.tau_end:
            return self.tau
        return float(self.tau * (self.tau_end / self.tau) ** min(progress, 1.0))


def dealt_candidate(pool: RoutingPool, *, group: str, place: int, share: float) -> str | None:
    """The candidate that a sample's first choice is dealt; None if the choice is the policy's own.

    Args:
        group: names the question and the step; another group begins with another candidate.
        place: the sample's place in its group, from 0: the candidates come in turn.
        share: probability that a choice is dealt.
    """
    names = list(pool.names)
    random.Random(f"{group}/order").shuffle(names)
    is_dealt = random.Random(f"{group}/{place}").random() < share
    return names[place % len(names)] if is_dealt else None


@dataclass(frozen=True)
class Choice:
    """The first choice of a trajectory."""

    candidate: str
    logprob: float  # of all that was written to choose it, by the policy, whether it was dealt or not
    is_dealt: bool

    def bonus(self, tau: float) -> float:
        """What it earns for being unlikely."""
        return -tau * max(self.logprob, math.log(LEAST_PROBABILITY))


class SteerablePolicy(Policy, Protocol):
    """A policy that goes on from what was written for it, and says how likely that was."""

    async def go_on(
        self,
        token_ids: Sequence[int],
        written: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
    ) -> Generation:
        """`written` after `token_ids`, with the log-probs the policy gives it, and up to `max_tokens` of its own."""
        ...


class ExploringPolicy:
    """A policy for one trajectory that watches its first choice, and may have it dealt.

    Args:
        policy: the one that explores.
        tokenizer: its own.
        pool: whom it may choose, as the prompt shows them.
        marker: what it writes right before the first choice.
        form: what it writes to choose a candidate (`ExplorationConfig.choice`).
        dealt: the name of whom it is to choose; None to let it choose.

    Attributes:
        choice: the first choice; None as long as there is none.
    """

    def __init__(
        self,
        policy: SteerablePolicy,
        *,
        tokenizer: PreTrainedTokenizerBase,
        pool: RoutingPool,
        marker: str,
        form: str = "{name}",
        dealt: str | None,
    ) -> None:
        self._policy, self._tokenizer = policy, tokenizer
        self._texts = {candidate.name: choice_text(form, candidate) for candidate in pool.candidates}
        self._marker, self._dealt = marker, dealt
        self.choice: Choice | None = None
        self._is_first_turn = True

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """As `Policy.generate`; a dealt first turn is made of what comes before the choice, it, and the rest."""
        is_first, self._is_first_turn = self._is_first_turn, False
        if not is_first or self._dealt is None:
            turn = await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)
            if is_first:
                self.choice = self._choice_in(turn)
            return turn
        stops = (*stop, self._marker)
        head = await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stops, request_id=request_id)
        if head.finish != "stop" or not decode(self._tokenizer, head.token_ids).endswith(self._marker):
            return head
        context, left = [*token_ids, *head.token_ids], max_tokens - len(head.token_ids)
        written = self._ids_of(self._texts[self._dealt])
        if len(written) >= left:
            rest = await self._policy.generate(context, max_tokens=left, stop=stop, request_id=request_id)
            return _joined(head, rest)
        rest = await self._policy.go_on(
            context, written, max_tokens=left - len(written), stop=stop, request_id=request_id
        )
        self.choice = Choice(self._dealt, sum(rest.logprobs[: len(written)]), is_dealt=True)
        return _joined(head, rest)

    def _ids_of(self, text: str) -> list[int]:
        """Tokens of a text as they follow the marker in running text."""
        before, whole, alone = (
            list(self._tokenizer.encode(text, add_special_tokens=False))
            for text in (self._marker, f"{self._marker} {text}", f" {text}")
        )
        return whole[len(before) :] if whole[: len(before)] == before else alone

    def _choice_in(self, turn: Generation) -> Choice | None:
        """The choice that the policy made itself, if it wrote the text of one; of its tokens, the last may go on."""
        before, marker, after = decode(self._tokenizer, turn.token_ids).partition(self._marker)
        if not marker or not turn.logprobs:
            return None
        written = after.lstrip()
        for name, text in sorted(self._texts.items(), key=lambda item: len(item[1]), reverse=True):
            if written.startswith(text) and not written[len(text) :][:1].isalnum():  # one may begin like another
                until_marker = self._length_of(before + marker, turn.token_ids)
                until_choice = self._length_of(before + marker + after[: after.index(text) + len(text)], turn.token_ids)
                return Choice(name, sum(turn.logprobs[until_marker:until_choice]), is_dealt=False)
        return None

    def _length_of(self, text: str, token_ids: Sequence[int]) -> int:
        """How many of the tokens it takes to write `text`, which they begin with."""
        fewest, most = 1, len(token_ids)
        while fewest < most:  # bisection: decoding is what costs
            middle = (fewest + most) // 2
            if decode(self._tokenizer, token_ids[:middle]).startswith(text):
                most = middle
            else:
                fewest = middle + 1
        return fewest


def _joined(*parts: Generation) -> Generation:
    """Parts of one turn, in order; it ends as the last one does."""
    ids = [token for part in parts for token in part.token_ids]
    logprobs = [logprob for part in parts for logprob in part.logprobs]
    return Generation(ids, parts[-1].finish, logprobs)
