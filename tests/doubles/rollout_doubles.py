"""The two edges of the loop in memory: a policy that follows a script, and a dispatcher that answers from a table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from router_r1.protocol import Route
from router_r1.rollout.policy import Generation


class ScriptedPolicy:
    """Says the given texts, one per turn, each up to its first stop string, the end of its ids, or the budget.

    A `Generation` in the script is returned as it is. The log-prob of token i of a turn is -(i + 1) / 1000.
    """

    def __init__(self, tokenizer, script: Sequence[str | Generation]) -> None:
        self.tokenizer = tokenizer
        self.script = list(script)
        self.contexts: list[list[int]] = []  # what was asked, per turn
        self.budgets: list[int] = []
        self.request_ids: list[str] = []

    async def generate(self, token_ids, *, max_tokens, stop, request_id) -> Generation:
        self.contexts.append(list(token_ids))
        self.budgets.append(max_tokens)
        self.request_ids.append(request_id)
        await asyncio.sleep(0)  # as any engine, gives the others their turn
        said = self.script[len(self.contexts) - 1]
        if isinstance(said, Generation):
            return said
        text, finish = self._until_stop(said, stop)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if finish == "end":
            ids.append(self.tokenizer.eos_token_id)
        finish = "length" if len(ids) > max_tokens else "stop"
        ids = ids[:max_tokens]
        return Generation(ids, finish, logprobs_of(ids))

    @staticmethod
    def _until_stop(text: str, stop: Sequence[str]) -> tuple[str, str]:
        ends = [text.index(s) + len(s) for s in stop if s in text]
        return (text[: min(ends)], "stop") if ends else (text, "end")


def logprobs_of(ids: Sequence[int]) -> list[float]:
    return [-(i + 1) / 1000 for i in range(len(ids))]


@dataclass
class TableDispatcher:
    """Answers by query; a query in `failing` is a failed route; one in `hanging` never returns."""

    replies: Mapping[str, str] = field(default_factory=dict)
    default: str = "Paris."
    failing: frozenset[str] = frozenset()
    hanging: frozenset[str] = frozenset()
    asked: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    hanging_now: asyncio.Event = field(default_factory=asyncio.Event)

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        self.asked.append((candidate, query))
        if query in self.hanging:
            self.hanging_now.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(query)
                raise
        await asyncio.sleep(0)
        if query in self.failing:
            return Route(candidate, query, "", failed=True, error="503")
        reply = self.replies.get(query, self.default)
        return Route(candidate, query, reply, prompt_tokens=7, completion_tokens=3, raw_cost=0.9, spend_usd=1e-6)
