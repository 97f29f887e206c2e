"""Methods in the one loop: they differ in who writes the first turn, and in who chooses the candidate.

Prompts, budgets, routes, costs, masks and records are the loop's, the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from router_r1.methods.choosers import Chooser
from router_r1.methods.first_turns import ANSWER_AT_ONCE, THINK_THEN_ANSWER, asks_whole_question
from router_r1.pool import Deal, offered
from router_r1.protocol import Trajectory
from router_r1.rollout.policy import Dispatcher
from router_r1.rollout.redirected_routes import Choice, RedirectedRoutes
from router_r1.rollout.written_turns import BegunPolicy

if TYPE_CHECKING:
    from router_r1.methods.method import Method
    from router_r1.router import Router


@dataclass(frozen=True)
class PosedQuestion:
    """A question with its prompt, as all methods are given it."""

    question: str
    messages: Sequence[Mapping[str, str]]
    """The prompt; it offers the candidates of the deal."""
    deal: Deal | None
    cost_weight: float
    """As the prompt tells it, if it does."""


class LoopMethod(Protocol):
    """Answers questions in the loop of a router, whose policy is the base model."""

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory: ...


class OwnRouting:
    """The policy writes and chooses everything itself: what a trained router does."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory:
        return await self._router.roll_out(posed.messages, request_id=request_id, deal=posed.deal)


class Alone:
    """The base model answers and asks nobody: at once (Direct), or after it has thought (CoT)."""

    def __init__(self, router: Router, *, thinks: bool) -> None:
        self._router, self._beginning = router, THINK_THEN_ANSWER if thinks else ANSWER_AT_ONCE

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory:
        policy = BegunPolicy(self._router.policy, self._router.tokenizer, [self._beginning])
        return await self._router.roll_out(
            posed.messages, request_id=request_id, deal=posed.deal, policy=policy, max_turns=0
        )


class SingleRound:
    """A router names one candidate for the question and writes the first turn, which asks it the whole question; the
    base model reads the reply, thinks and answers: what the paper calls a query-based router.

    Args:
        asks: what the candidate is asked through, where it is one that asks others; else the router's own routes.
    """

    def __init__(self, router: Router, chooser: Chooser, asks: Dispatcher | None = None) -> None:
        self._router, self._chooser, self._asks = router, chooser, asks

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory:
        router, deal = self._router, posed.deal
        choice = await self._chooser.choose(posed.question, deal, request_id=request_id)
        shown = next(
            candidate
            for candidate in offered(router.pool, deal).candidates
            if choice.candidate == (candidate.name if deal is None else deal.candidate(candidate.name))
        )
        first = asks_whole_question(router.settings.template, shown, posed.question, posed.cost_weight)

        async def as_chosen(query: str) -> Choice:
            return choice

        return await router.roll_out(
            posed.messages,
            request_id=request_id,
            deal=deal,
            policy=BegunPolicy(router.policy, router.tokenizer, [first, THINK_THEN_ANSWER]),
            routes=self._asks or RedirectedRoutes(router.routes, as_chosen),
            max_turns=1,
        )


class Decomposing:
    """The base model thinks, searches and answers; whom each of its sub-queries goes to is a router's choice.

    Args:
        asks: as of `SingleRound`.
    """

    def __init__(self, router: Router, chooser: Chooser, asks: Dispatcher | None = None) -> None:
        self._router, self._chooser, self._asks = router, chooser, asks

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory:
        choose = partial(self._chooser.choose, deal=posed.deal, request_id=request_id)
        return await self._router.roll_out(
            posed.messages,
            request_id=request_id,
            deal=posed.deal,
            routes=self._asks or RedirectedRoutes(self._router.routes, choose),
        )


class WholePool:
    """A method that is no part of the loop, beside those that are: it may ask the whole pool, whatever is dealt."""

    def __init__(self, method: Method) -> None:
        self._method = method

    async def answer(self, posed: PosedQuestion, *, request_id: str) -> Trajectory:
        return await self._method.answer(posed.question, request_id=request_id)
