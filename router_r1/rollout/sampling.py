"""How a policy back end samples. Everything not named here is neutral: no top-k, no min-p, no penalties."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from router_r1.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling parameters of an inference back end; greedy by default.

    A checkpoint's `generation_config.json` never changes them: a server that applied the repetition penalty found there
    would benchmark another policy than the one that was trained.
    """

    temperature: float = 0.0
    """0 = greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """Makes sampling repeatable, as far as the engine's batching allows; None: a new draw every time."""
    logprobs: bool = False
    """Return the log-prob of every sampled token."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise ConfigError("sampling", "temperature", self.temperature, "must be within 0 (greedy) and 2")
        if not 0 < self.top_p <= 1:
            raise ConfigError("sampling", "top_p", self.top_p, "must be above 0 and at most 1")

    def seed_of_turn(self, request_id: str, context_length: int) -> int | None:
        """A seed of its own for every turn of every trajectory, in 32 bits: with one for all, all would draw alike."""
        if self.seed is None:
            return None
        text = f"{self.seed}:{request_id}:{context_length}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


@dataclass(frozen=True, kw_only=True)
class RepeatableSampling(Sampling):
    """One trajectory, sampled alike whatever it is called: for a user who gives a seed, and cannot give a name."""

    def seed_of_turn(self, request_id: str, context_length: int) -> int | None:
        return super().seed_of_turn("", context_length)
