"""How a run asks its candidates: the part that is not in the pool file. `docs/routing.md` says what to set, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from router_r1.pool.schema import Record

CacheMode = Literal["off", "read", "write", "readwrite"]


class _Settings(Record):
    """Written in a file or on a command line, which knows words only: a number or a switch may come as text."""

    model_config = ConfigDict(strict=False)


class RetryPolicy(_Settings):
    """Bounds on the attempts of one route.

    Back-off before attempt n + 1 is exponential with full jitter, uniform in
    [0, min(backoff_max_s, backoff_s * 2^(n - 1))] (Brooker, "Exponential Backoff And Jitter", 2015), on top of what the
    endpoint asks for in Retry-After.
    """

    max_attempts: int = Field(default=6, ge=1)
    total_s: float = Field(default=90.0, gt=0)
    """Longest time from being asked to the end, waiting included; a candidate's `timeout_s` is always granted once.

    Until the first request is sent, it runs from the candidate's last reply, if that is later: a long queue for the
    limits of one's own pool file is no fault. A candidate that answers nothing but 429 for so long is out of order.
    """
    backoff_s: float = Field(default=0.5, ge=0)
    backoff_max_s: float = Field(default=8.0, ge=0)
    retry_after_max_s: float = Field(default=30.0, ge=0)
    """A longer Retry-After is cut to this."""


class BreakerPolicy(_Settings):
    """When an endpoint counts as out of order, and for how long (Nygard, "Release It!", 2nd ed., chapter 5)."""

    window: int = Field(default=20, ge=1)
    """Requests looked back at."""
    least: int = Field(default=10, ge=1)
    """Requests needed before the breaker may open."""
    share: float = Field(default=0.5, ge=0, le=1)
    """It opens when more than this share of them failed."""
    cooldown_s: float = Field(default=1.0, gt=0)
    """Seconds before the first trial request; doubled after each trial that fails."""
    cooldown_max_s: float = Field(default=30.0, gt=0)
    patience_s: float = Field(default=30.0, ge=0)
    """Routes wait out the first seconds of an outage; once it is older they are told "unavailable" at once. A refused
    key or model (401, 403, 404) is not waited for."""


class RoutingConfig(_Settings):
    """Settings of a route service."""

    retries: RetryPolicy = RetryPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    cache: CacheMode = "off"
    """Whether replies at temperature 0 are looked up on disk, and kept there."""
    cache_file: str | None = None
    """SQLite file of the cache; None: one for all runs of this user."""
    budget_usd: float | None = Field(default=None, ge=0)
    """Ends the run, or the benchmark, once this much is spent; None for no limit."""
    trace_file: str | None = None
    """One JSON line per route goes here; None for none."""
    trace_texts: bool = False
    """Sub-queries and replies go into the trace as well."""
    trace_max_mb: float = Field(default=100.0, gt=0)
    """The trace file is rotated at this size; the last five are kept."""
    shards: int = Field(default=1, ge=1)
    """Route services of a training run, each a process that asks some of the candidates (`docs/scaling.md`)."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Serve Prometheus metrics on this port of the loopback interface; None for not at all."""

    def for_shard(self, shard: int) -> RoutingConfig:
        """The same with a trace file and a metrics port of its own."""
        changes: dict[str, object] = {}
        if shard and self.trace_file:
            path = Path(self.trace_file)
            changes["trace_file"] = str(path.with_name(f"{path.stem}-{shard}{path.suffix}"))
        if shard and self.metrics_port:
            changes["metrics_port"] = self.metrics_port + shard
        return self.model_copy(update=changes)
