"""Who chooses the candidate of a search: by rule, by a router fitted on scores, or by a prompt.

Each names a candidate that the question offers, by the pool's own name.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from router_r1.methods.first_turns import THINK_THEN_SEARCH
from router_r1.methods.single_round import SingleRoundRouter, chosen
from router_r1.pool import Deal, RoutingPool, offered, offered_names
from router_r1.prompts import render_messages
from router_r1.protocol import Search
from router_r1.rollout.policy import Dispatcher
from router_r1.rollout.redirected_routes import Choice
from router_r1.rollout.written_turns import BegunPolicy

if TYPE_CHECKING:
    from router_r1.router import Router


_ONE_AT_A_TIME = threading.Lock()  # fitted routers are not made for several threads


class Chooser(Protocol):
    """Chooses for a question, or a sub-query of one."""

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        """Whom to ask.

        Args:
            deal: the candidates that the question offers; None: the whole pool.
            request_id: names the trajectory.
        """
        ...


class Always:
    """One candidate, whatever the question."""

    def __init__(self, candidate: str) -> None:
        self._choice = Choice(candidate)

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        return self._choice


class Largest:
    """The candidate with the dearest output: what a price list says of size."""

    def __init__(self, pool: RoutingPool) -> None:
        self._pool = pool

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        names = offered_names(self._pool, deal)
        return Choice(max(names, key=lambda name: self._pool.candidate(name).price.output))


class AtRandom:
    """Any candidate alike; the same for the same question and seed."""

    def __init__(self, pool: RoutingPool, seed: int) -> None:
        self._pool, self._seed = pool, seed

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        draw = random.Random(f"{self._seed}/{request_id}/{query}")
        return Choice(draw.choice(offered_names(self._pool, deal)))


class Fitted:
    """A router that was fitted on scores.

    Args:
        router: fitted.
        candidates: those it was fitted on, in its order; all of the pool are among them.
        alpha: the cost weight, in [0, 1].
        questions: of what it will be asked that which is known, read all at once; the rest is read in another thread.
    """

    def __init__(
        self,
        router: SingleRoundRouter,
        candidates: Sequence[str],
        pool: RoutingPool,
        *,
        alpha: float,
        questions: Sequence[str],
    ) -> None:
        self._router, self._candidates, self._pool, self._alpha = router, candidates, pool, alpha
        self._utilities = dict(zip(questions, router.utilities(questions, alpha), strict=True)) if questions else {}

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        if query not in self._utilities:  # a sub-query, which only the policy knew, or a server's question
            self._utilities[query] = await asyncio.to_thread(self._utility, query)
        there = offered_names(self._pool, deal)
        is_offered = np.array([name in there for name in self._candidates])  # [num_candidates]
        (best,) = chosen(self._utilities[query][None], is_offered[None])
        return Choice(self._candidates[best])

    def _utility(self, query: str) -> np.ndarray:
        with _ONE_AT_A_TIME:
            return np.asarray(self._router.utilities([query], self._alpha)[0])


class Prompted:
    """The base model: it reads the prompt, thinks, and the candidate is the one that it would ask.

    Its own words are not kept: what it would have asked is not asked. If it names no candidate, the first is asked.
    """

    def __init__(self, router: Router, cost_weight: float) -> None:
        self._router, self._cost_weight = router, cost_weight

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        router = self._router
        question = query[:1].upper() + query[1:]  # a sub-query stands where the prompt has a question
        messages = render_messages(
            router.settings.template, router.pool, question, deal=deal, cost_weight=self._cost_weight
        )
        policy = BegunPolicy(router.policy, router.tokenizer, [THINK_THEN_SEARCH])
        # Without a turn that gets an observation, a search ends the trajectory instead of being dispatched.
        choosing = f"{request_id}-choice"
        trajectory = await router.roll_out(messages, request_id=choosing, deal=deal, policy=policy, max_turns=0)
        action = trajectory.turns[-1].action if trajectory.turns else None
        written = action.candidate if isinstance(action, Search) else ""
        shown = offered(router.pool, deal)
        candidate = shown.resolve(written) or shown.candidates[0]
        return Choice(candidate.name if deal is None else deal.candidate(candidate.name))


class PromptedCandidate:
    """A candidate that is asked whom to ask, by the names and descriptors of the question.

    Its reply is paid for with the route that follows. If it names no candidate, the first is asked.
    """

    def __init__(self, candidate: str, routes: Dispatcher, pool: RoutingPool) -> None:
        self._candidate, self._routes, self._pool = candidate, routes, pool

    async def choose(self, query: str, deal: Deal | None, *, request_id: str) -> Choice:
        shown = offered(self._pool, deal)
        route = await self._routes.route(self._candidate, _whom_to_ask(shown, query), trajectory_id=request_id)
        name = named_in(route.reply, shown) or shown.names[0]
        return Choice(name if deal is None else deal.candidate(name), asked=route)


def _whom_to_ask(shown: RoutingPool, query: str) -> str:
    listed = "\n".join(f"- {c.name} ({c.price.output:g} USD per 1M tokens): {c.descriptor}" for c in shown.candidates)
    return (
        "Which of these language models should be asked the question below? Weigh quality against price.\n\n"
        f"{listed}\n\n"
        f"Question: {query}\n\nReply with the name of one model, exactly as listed, and nothing else."
    )


def named_in(reply: str, shown: RoutingPool) -> str | None:
    """The candidate that a reply names first: as the whole of it, or as a word of it; of two that begin alike the
    longer one."""
    if (whole := shown.resolve(reply)) is not None:
        return whole.name
    names = sorted(shown.names, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names)
    found = re.search(pattern, reply, re.IGNORECASE)
    return next(name for name in names if name.casefold() == found[0].casefold()) if found else None
