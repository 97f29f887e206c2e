"""Turns that are begun for a policy: the seam at which somebody else than the policy writes in the one loop.

A router that is not the policy writes the whole first turn; a method that must answer has the opening of an answer
written where the policy would search. What is written stands among the policy's tokens, and has no log-probs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_r1.protocol import THINK
from router_r1.rollout.policy import Generation, Policy
from router_r1.rollout.tokens import decode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_THOUGHT = f"</{THINK}>"


@dataclass(frozen=True)
class Beginning:
    """How a turn begins. With a stop string in it, it is the whole turn; else the policy goes on from there."""

    text: str
    after_thinking: bool = False
    """The policy thinks first, in words of its own; a turn that it ends without closing a thought is left to it."""


class BegunPolicy:
    """A policy for one trajectory whose first turns are begun for it; the later ones are its own.

    Args:
        policy: the one that goes on.
        tokenizer: its own.
        beginnings: of the first turns, in order.
    """

    def __init__(self, policy: Policy, tokenizer: PreTrainedTokenizerBase, beginnings: Sequence[Beginning]) -> None:
        self._policy, self._tokenizer = policy, tokenizer
        self._left = list(beginnings)

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """As `Policy.generate`; a beginning that is longer than `max_tokens` is cut off, as any turn is."""
        if not self._left:
            return await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)
        beginning = self._left.pop(0)
        thought: list[int] = []
        if beginning.after_thinking:
            stops = (*stop, END_OF_THOUGHT)
            own = await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stops, request_id=request_id)
            if own.finish == "abort" or not self._ends_a_thought(own.token_ids):
                return own
            thought = own.token_ids[: self._length_of_thought(own.token_ids)]
        ids = [*thought, *self._tokenizer.encode(beginning.text, add_special_tokens=False)]
        left = max_tokens - len(ids)
        if any(text in beginning.text for text in stop):
            return Generation(ids[:max_tokens], "stop" if left >= 0 else "length")
        if left < 1:
            return Generation(ids[:max_tokens], "length")
        rest = await self._policy.generate([*token_ids, *ids], max_tokens=left, stop=stop, request_id=request_id)
        return Generation([*ids, *rest.token_ids], rest.finish)

    def _ends_a_thought(self, token_ids: Sequence[int]) -> bool:
        return END_OF_THOUGHT in decode(self._tokenizer, token_ids)

    def _length_of_thought(self, token_ids: Sequence[int]) -> int:
        """Tokens up to the end of the thought: an engine that checks several at a time has sampled more."""
        lengths = range(1, len(token_ids) + 1)
        return 1 + bisect_left(lengths, True, key=lambda n: self._ends_a_thought(token_ids[:n]))
