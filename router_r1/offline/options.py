"""What a user can say of a comparison of methods: in the one loop, or on recorded scores alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES
from router_r1.methods.encoders import WORDS
from router_r1.methods.routers import ROUTERS
from router_r1.offline.bounds import BOUND_ROUTERS

ALL, DEFAULT_BASELINE = "all", "tfidf-ridge"
_WHERE = "command line"


class ComparisonOptions(BaseModel):
    """Several methods side by side: in the loop with a policy (`benchmark.contest`), or without any endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scores: Path | None = None
    """Scores of candidates on questions, parquet (`router-r1 scores`), that routers are fitted on. Without a policy,
    pool or --data, routers are compared on these scores alone."""
    methods: str = ALL
    """NAME,NAME,... (docs/methods.md); on scores alone, what they must beat is always in the table (default: all)."""
    seeds: int = Field(default=3, ge=1)
    """On scores alone: how many times the questions are parted and the routers fitted."""
    alphas: str = "0,.2,.4,.6,.8,1"
    """Cost weights at which they choose, each in [0, 1]; the first tables and the tests are of the first one. With a
    policy the default is --cost-weight alone."""
    test_share: float = Field(default=0.3, gt=0, lt=1)
    """On scores alone: share of the questions that is tested."""
    encoder: str = WORDS
    """What makes vectors of questions: words, or a sentence embedding model (a folder, or an id on the hub)."""
    baseline: str | None = None
    """On scores alone: the method that the others are told beside (default: tfidf-ridge, if it is there)."""
    shuffle_labels: bool = False
    """On scores alone: give each training question the scores of another one, a control that nothing leaks."""
    paper: Literal["qwen", "llama"] | None = None
    """With a policy: show the tables of the Router-R1 paper for this base model in the report, ours beside them."""

    def check_in_loop(self) -> None:
        """See that nothing is asked for that only a comparison on scores alone has.

        Raises:
            ConfigError: something is.
        """
        for key in ("seeds", "test_share", "baseline", "shuffle_labels"):
            if key in self.model_fields_set:
                remedy = "goes with --scores alone: without a policy, a pool or --data"
                raise ConfigError(_WHERE, f"--{key.replace('_', '-')}", getattr(self, key), remedy)

    def check_alone(self) -> None:
        """See that nothing is asked for that only a comparison with a policy has.

        Raises:
            ConfigError: something is.
        """
        if self.paper:
            raise ConfigError(_WHERE, "--paper", self.paper, "needs answers: name a policy, a pool or --data as well")

    def cost_weights(self) -> list[float]:
        """The numbers of `alphas`.

        Raises:
            ConfigError: one is no cost weight, or stands there twice.
        """
        found: list[float] = []
        for written in self.alphas.split(","):
            try:
                weight = float(written)
            except ValueError:
                weight = -1.0
            if not 0 <= weight <= 1:
                raise ConfigError(_WHERE, "--alphas", written, "is no cost weight; write numbers from 0 to 1: 0,.5,1")
            if weight in found:
                raise ConfigError(_WHERE, "--alphas", written, "stands there twice")
            found.append(weight)
        return found

    def fitted(self) -> list[str]:
        """The names of `methods`, routers and cascades, after those that are always in the table: bounds and the
        baseline.

        Raises:
            ConfigError: there is none of that name.
        """
        known = [*ROUTERS, *CASCADES]
        if self.methods == ALL:
            return known
        always = [name for name in (*BOUND_ROUTERS, self.baseline) if name in known]
        found = list(dict.fromkeys([*always, *(name.strip() for name in self.methods.split(","))]))
        for name in found:
            if name not in known:
                remedy = f"is no fitted router; there are: {', '.join(known) or 'none'}, or all of them by: {ALL}"
                raise ConfigError(_WHERE, "--methods", name, remedy)
        return found
