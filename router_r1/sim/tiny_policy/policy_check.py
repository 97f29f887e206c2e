"""How well a policy keeps to the form, how exactly it copies, whom it asks, and how often it is right.

The policy is sampled at temperature 1 through the rollout loop, against the simulated candidates in this process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from router_r1.pool import dealer_of
from router_r1.prompts import Template, render_messages
from router_r1.prompts.cost_words import COST_WEIGHTS
from router_r1.protocol import Answer, Route, Search, Trajectory
from router_r1.rewards.format import check_format
from router_r1.rewards.outcome import exact_match
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.tokens import encode_prompt
from router_r1.sim.tiny_policy.demonstrations import NOBODY, answer_in, hop_query
from router_r1.sim.tiny_policy.hearsay import field_of
from router_r1.sim.tiny_policy.torch_policy import TorchPolicy
from router_r1.sim.world.candidates import IGNORANCE, SimulatedPool
from router_r1.sim.world.facts import Shares, World, WorldQuestion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from router_r1.pool import RoutingPool

LIMITS = RolloutLimits(max_turns=4, max_turn_tokens=96, max_obs_length=96, max_prompt_length=512)
_BATCH = 256


class InProcessPool:
    """Dispatches routes to the simulated candidates without a network."""

    def __init__(self, candidates: SimulatedPool) -> None:
        self._candidates = candidates

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        return Route(candidate, query, self._candidates.reply(candidate, query))


@dataclass(frozen=True)
class PolicyReport:
    """Shares are in [0, 1]."""

    trajectories: int
    format_ok: float
    """Share that `check_format` finds nothing wrong with."""
    copied: float
    """Share that is valid and whose queries and answer are exact copies of what they should be copies of."""
    em: dict[str, float]
    """Of questions about famous names (`known`), of one, two and three hops."""
    routes: dict[str, float]
    """Mean number of routes, likewise."""
    decomposed: float
    """Share of the questions of two hops that are asked hop by hop."""
    fitting: float
    """Share of the first searches, of one-hop questions whose pool has a specialist of the domain, that go to it."""
    faults: dict[str, int]
    """The most frequent broken rules of the format."""

    def __str__(self) -> str:
        return "\n".join(f"{key:>18}  {_shown(value)}" for key, value in asdict(self).items())


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def check_policy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pool: RoutingPool,
    template: Template,
    *,
    trajectories: int = 512,
    seed: int = 0,
) -> PolicyReport:
    """Sample trajectories for validation questions of the default world and judge them.

    Args:
        pool: the dealt pool of the simulated world.
        trajectories: how many; of the questions 8 % are about famous names, 42 % have one hop, 35 % two, 15 % three.
    """
    world = World()
    questions = world.generate("val", trajectories, seed, Shares(known=0.08))
    deal = dealer_of(pool, seed)
    assert deal is not None
    policy = TorchPolicy(model.eval(), tokenizer, seed=seed)
    dispatcher = InProcessPool(SimulatedPool(world))

    async def run(index: int) -> Trajectory:
        dealt, weight = deal("val", index), COST_WEIGHTS[index % len(COST_WEIGHTS)]
        messages = render_messages(template, pool, questions[index].text, deal=dealt, cost_weight=weight)
        return await run_trajectory(
            encode_prompt(tokenizer, messages),
            policy=policy,
            dispatcher=dispatcher,
            pool=pool,
            deal=dealt,
            tokenizer=tokenizer,
            limits=LIMITS,
            request_id=f"check-{index}",
        )

    async def run_all() -> list[Trajectory]:
        done: list[Trajectory] = []
        for start in range(0, trajectories, _BATCH):
            done += await asyncio.gather(*map(run, range(start, min(start + _BATCH, trajectories))))
        return done

    pools = [deal("val", index).pool(pool) for index in range(trajectories)]
    return _report(questions, asyncio.run(run_all()), pools)


def _report(
    questions: Sequence[WorldQuestion], trajectories: Sequence[Trajectory], pools: Sequence[RoutingPool]
) -> PolicyReport:
    faults = [check_format(trajectory, pool) for trajectory, pool in zip(trajectories, pools, strict=True)]
    asked = list(zip(questions, trajectories, pools, strict=True))
    kinds = {kind: [(q, t) for q, t, _ in asked if _kind(q) == kind] for kind in sorted(set(map(_kind, questions)))}
    return PolicyReport(
        trajectories=len(trajectories),
        format_ok=_mean([not fault for fault in faults]),
        copied=_mean([not f and copies_exactly(q, t) for f, (q, t, _) in zip(faults, asked, strict=True)]),
        em={kind: _mean([exact_match(t.answer, q.golden_answers) for q, t in of]) for kind, of in kinds.items()},
        routes={kind: _mean([len(t.routes) for _, t in of]) for kind, of in kinds.items()},
        decomposed=_mean([_asks_hop_by_hop(q, t) for q, t, _ in asked if q.num_hops == 2]),
        fitting=_mean([_asks_specialist(q, t, pool) for q, t, pool in asked if _has_specialist(q, pool) and t.routes]),
        faults=dict(Counter(filter(None, faults)).most_common(5)),
    )


def _kind(question: WorldQuestion) -> str:
    return "known" if question.is_known else f"{question.num_hops}_hop"


def _has_specialist(question: WorldQuestion, pool: RoutingPool) -> bool:
    domain = question.hops[0].domain
    return question.num_hops == 1 and any(field_of(candidate) == domain for candidate in pool.candidates)


def _asks_specialist(question: WorldQuestion, trajectory: Trajectory, pool: RoutingPool) -> bool:
    action = trajectory.turns[0].action
    if not isinstance(action, Search):
        return False
    candidate = pool.resolve(action.candidate)
    return candidate is not None and field_of(candidate) == question.hops[0].domain


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _asks_hop_by_hop(question: WorldQuestion, trajectory: Trajectory) -> bool:
    first = question.hops[0]
    return bool(trajectory.routes) and trajectory.routes[0].query == hop_query(first.verb, first.entity)


def copies_exactly(question: WorldQuestion, trajectory: Trajectory) -> bool:
    """Whether the queries are the question, or its hops in order, and the answer is the name in the last reply.

    After a reply that admits ignorance the same may be asked again, or the policy may give up. An answer without any
    route is a copy of nothing, and passes.
    """
    actions = [turn.action for turn in trajectory.turns[:-1]]
    queries = [action.query for action in actions if isinstance(action, Search)]
    routes, last = trajectory.routes, trajectory.turns[-1].action
    if len(queries) != len(routes) or not isinstance(last, Answer):
        return False
    if not routes:
        return True
    hops = iter(question.hops)
    is_whole = queries[0] == question.text
    expected = question.text if is_whole else hop_query(next(hops).verb, question.hops[0].entity)
    answer = NOBODY
    for number, route in enumerate(routes):
        if queries[number] != expected:
            return False
        answer = NOBODY if route.reply == IGNORANCE else answer_in(route.reply, route.query)
        if answer != NOBODY and not is_whole and (hop := next(hops, None)):
            expected = hop_query(hop.verb, answer)
    return trajectory.answer == answer
