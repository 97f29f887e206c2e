"""How well a policy keeps to the form, how exactly it copies, whom it asks, and how often it is right.

The policy is sampled at temperature 1 through the rollout loop, against the simulated candidates in this process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from router_r1.prompts import Template, render_messages
from router_r1.protocol import Route, Search, Trajectory
from router_r1.rewards.format import check_format
from router_r1.rewards.outcome import exact_match
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.tokens import encode_prompt
from router_r1.sim.tiny_policy.demonstrations import answer_in, hop_query
from router_r1.sim.tiny_policy.torch_policy import TorchPolicy
from router_r1.sim.world.candidates import SimulatedPool
from router_r1.sim.world.facts import World, WorldQuestion

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
    em_single_hop: float
    em_two_hop: float
    decomposed: float
    """Share of two-hop questions that are asked hop by hop."""
    candidate_shares: dict[str, float]
    """Of the first searches."""
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
        pool: must hold candidates of the simulated pool only.
        trajectories: how many; 60 % of the questions have one hop, 40 % two.
    """
    world = World()
    questions = world.generate("val", trajectories, seed=seed)
    policy = TorchPolicy(model.eval(), tokenizer, seed=seed)
    dispatcher = InProcessPool(SimulatedPool(world))

    async def run(index: int) -> Trajectory:
        prompt = encode_prompt(tokenizer, render_messages(template, pool, questions[index].text))
        return await run_trajectory(
            prompt,
            policy=policy,
            dispatcher=dispatcher,
            pool=pool,
            tokenizer=tokenizer,
            limits=LIMITS,
            request_id=f"check-{index}",
        )

    async def run_all() -> list[Trajectory]:
        done: list[Trajectory] = []
        for start in range(0, trajectories, _BATCH):
            done += await asyncio.gather(*map(run, range(start, min(start + _BATCH, trajectories))))
        return done

    return _report(questions, asyncio.run(run_all()), pool)


def _report(questions: Sequence[WorldQuestion], trajectories: Sequence[Trajectory], pool: RoutingPool) -> PolicyReport:
    faults = [check_format(trajectory, pool) for trajectory in trajectories]
    pairs = list(zip(questions, trajectories, strict=True))
    first = Counter(t.routes[0].candidate for t in trajectories if t.routes)
    em = {hops: [exact_match(t.answer, q.golden_answers) for q, t in pairs if q.num_hops == hops] for hops in (1, 2)}
    two_hop = [(q, t) for q, t in pairs if q.num_hops == 2]
    return PolicyReport(
        trajectories=len(trajectories),
        format_ok=_mean([not fault for fault in faults]),
        copied=_mean([not f and copies_exactly(q, t) for f, (q, t) in zip(faults, pairs, strict=True)]),
        em_single_hop=_mean(em[1]),
        em_two_hop=_mean(em[2]),
        decomposed=_mean([_asks_hop_by_hop(q, t) for q, t in two_hop]),
        candidate_shares={name: first[name] / max(1, first.total()) for name in pool.names},
        faults=dict(Counter(filter(None, faults)).most_common(5)),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _asks_hop_by_hop(question: WorldQuestion, trajectory: Trajectory) -> bool:
    first = question.hops[0]
    return bool(trajectory.routes) and trajectory.routes[0].query == hop_query(first.verb, first.entity)


def copies_exactly(question: WorldQuestion, trajectory: Trajectory) -> bool:
    """Whether the queries are the question, or its hops in order, and the answer is the name in the last reply."""
    actions = [turn.action for turn in trajectory.turns[:-1]]
    queries = [action.query for action in actions if isinstance(action, Search)]
    routes = trajectory.routes
    if not routes or len(queries) != len(routes):
        return False
    expected = [question.text]
    if queries[0] != question.text:
        expected, entity = [], question.hops[0].entity
        for hop, route in zip(question.hops, routes, strict=False):
            expected.append(hop_query(hop.verb, entity))
            entity = answer_in(route.reply, route.query)
    return queries == expected and trajectory.answer == answer_in(routes[-1].reply, routes[-1].query)
