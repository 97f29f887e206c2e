"""The candidates of a pool of recorded replies, as the pool server has them answer (`sim.server.app.Speaker`).

Invariants:

- a known question is answered by what the candidate once said to it, and charged with the tokens that this took,
  however little of it is shown;
- any other is answered by `IGNORANCE`, a reply like any other. It is no fault of an endpoint: a route that failed would
  be tried again, would close the endpoint for others, and would stop a training that has too many of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router_r1.pool import RoutingPool
from router_r1.recorded.conclusion import conclusion_of
from router_r1.recorded.pools import load_recorded_pool
from router_r1.routing.replies import estimate_tokens
from router_r1.sim.server.app import Said
from router_r1.sim.world.candidates import IGNORANCE

CONCLUSION = "The answer is {number}."
"""What a reply is shown as of which only the conclusion is."""


class RecordedSpeaker:
    """The candidates of a pool, asked what they were asked before. At a temperature the samples take turns.

    The most tokens of a request are not looked at: a reply is as long as it was.

    Raises:
        ConfigError: as `load_recorded_pool`.
    """

    def __init__(self, pool: RoutingPool) -> None:
        assert pool.recorded is not None
        self.recorded = load_recorded_pool(pool)
        self.models: Mapping[str, str] = {candidate.model.casefold(): candidate.name for candidate in pool.candidates}
        self._shows_conclusion = pool.recorded.shown == "conclusion"

    def latency_s(self, candidate: str, query: str, sample: int) -> float:
        return 0.0

    def say(self, candidate: str, query: str, prompt: Sequence[str], sample: int, max_tokens: int | None) -> Said:
        question = self.recorded.find(query)
        if question is None:
            return Said(IGNORANCE, estimate_tokens(*prompt), estimate_tokens(IGNORANCE))
        said = question.sample(candidate, max(0, sample - 1))
        return Said(self._shown(said.text), said.prompt_tokens, said.completion_tokens)

    def _shown(self, reply: str) -> str:
        number = conclusion_of(reply) if self._shows_conclusion else None
        return reply if number is None else CONCLUSION.format(number=number)
