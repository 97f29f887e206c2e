"""What the loop needs from whatever generates the policy's tokens, and what it needs from whatever answers routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, runtime_checkable

from router_r1.protocol import Route
from router_r1.rollout.sampling import Sampling

Finish = Literal["stop", "length", "abort"]
"""How a generation ended: by itself or at a stop string, at its token budget, or given up by the engine."""


@dataclass(frozen=True)
class Generation:
    """One uninterrupted generation."""

    token_ids: list[int]
    """[num_tokens], exactly as sampled, stop string and end-of-sequence token included."""
    finish: Finish
    """A stop string or the end of sequence; `max_tokens` reached; given up by the engine."""
    logprobs: list[float] = field(default_factory=list)
    """[num_tokens], or empty if not asked for."""


class Policy(Protocol):
    """A policy back end. Sampling parameters (temperature, top_p, seed) belong to the back end, budgets to the loop."""

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """Continue `token_ids` by at most `max_tokens` tokens, up to the first stop string (kept in the output).

        Args:
            token_ids: [context_length], the prompt and all turns and observations so far.
            max_tokens: most tokens to sample, at least 1.
            stop: strings that end the generation.
            request_id: the same for all turns of one trajectory, so that an engine may reuse its prefix cache.
        """
        ...


@runtime_checkable
class StreamingPolicy(Policy, Protocol):
    """A policy that can be watched while it writes."""

    async def stream(
        self,
        token_ids: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
        told: Callable[[Sequence[int]], None],
    ) -> Generation:
        """As `generate`, with the same result.

        Args:
            told: is given the new tokens as soon as they are sampled; all that it is given are the generation's.
        """
        ...


@runtime_checkable
class AdjustablePolicy(Policy, Protocol):
    """A policy that can sample otherwise for single trajectories."""

    def with_sampling(self, sampling: Sampling) -> Self:
        """The same policy, sampling as it is told here; the original goes on as before."""
        ...


@runtime_checkable
class MortalPolicy(Policy, Protocol):
    """A policy whose engine may die for good."""

    @property
    def is_alive(self) -> bool:
        """False once it will never answer again."""
        ...


class Dispatcher(Protocol):
    """Answers routes: `routing.RouteService`, or a handle to one in another process."""

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        """Ask a candidate. Never raises for what its endpoint does: a route may fail.

        Args:
            candidate: its canonical name.
            query: the sub-query, as the policy wrote it.
            trajectory_id: whose route it is, for a trace.

        Raises:
            BudgetSpent: the run's budget is spent; nothing was sent.
            ConfigError: the candidate's API key is missing.
        """
        ...
