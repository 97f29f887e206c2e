"""What the operator sees: an access log of JSON lines, and Prometheus metrics.

Neither holds a key, and no text of a question or an answer unless the log is asked for them; metrics are labelled with
names of models and paths that the server has, never with what a client wrote.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from router_r1.serving.answering import Answering, Outcome, Prepared
from router_r1.serving.connections import Receive, Send, notes_of
from router_r1.serving.models import ServedModel

_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8)
_PATHS = ("/v1/chat/completions", "/v1/feedback", "/v1/models", "/openapi.json", "/healthz", "/readyz", "/metrics")


class ServingMetrics:
    """The metrics of one server, in a registry of their own; those of its routes are added when they are shown."""

    def __init__(self, answering: Answering) -> None:
        self._routes = answering.router.routes.metrics.registry
        self.registry = registry = CollectorRegistry()
        prefix = "router_r1_serve"
        self.requests = Counter(f"{prefix}_requests", "HTTP requests", ["path", "status"], registry=registry)
        self._trajectories = Counter(
            f"{prefix}_trajectories", "Trajectories by how they ended", ["model", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}_trajectory_seconds", "Wall time", ["model"], registry=registry, buckets=_SECONDS
        )
        self.first_event = Histogram(
            f"{prefix}_first_event_seconds",
            "Until a stream's first text",
            ["model"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._tokens = Counter(f"{prefix}_tokens", "Tokens by kind", ["model", "kind"], registry=registry)
        self._spend = Counter(f"{prefix}_spend_usd", "USD spent on routes", ["key"], registry=registry)
        self._arms = Counter(
            f"{prefix}_arms", "Trajectories of a split by how they ended", ["arm", "outcome"], registry=registry
        )
        self._kept = Counter(
            f"{prefix}_kept", "Trajectories by what became of them in the store", ["outcome"], registry=registry
        )
        for outcome in ("kept", "dropped", "failed"):
            self._kept.labels(outcome)
        places = answering.places
        in_flight = Gauge(f"{prefix}_in_flight", "Trajectories that are worked on", registry=registry)
        in_flight.set_function(lambda: places.held)
        waiting = Gauge(f"{prefix}_waiting", "Requests that wait for their turn", registry=registry)
        waiting.set_function(lambda: places.waiting)

    def ended(self, model: ServedModel, outcome: str) -> None:
        """A trajectory has ended, in whatever way."""
        self._trajectories.labels(model.name, outcome).inc()
        if model.arm:
            self._arms.labels(model.arm, outcome).inc()

    def kept(self, outcome: str, number: int) -> None:
        """Trajectories were handed to the store, and this became of them."""
        self._kept.labels(outcome).inc(number)

    def answered(self, asked: Prepared, outcome: Outcome) -> None:
        """A request was answered."""
        self.ended(asked.model, outcome.status.value)
        model, key = asked.model.name, asked.key
        self._seconds.labels(model).observe(outcome.seconds)
        self._tokens.labels(model, "prompt").inc(outcome.prompt_tokens)
        self._tokens.labels(model, "completion").inc(outcome.completion_tokens)
        self._spend.labels(key).inc(outcome.spend_usd)

    def shown(self) -> bytes:
        """All of them in Prometheus's text format."""
        return bytes(generate_latest(self.registry)) + bytes(generate_latest(self._routes))


def access_logger(file: Path | None) -> logging.Logger:
    """Where the lines of the access log go; a full disk costs lines, never a request."""
    logger = logging.Logger("router_r1.access", logging.INFO)
    handler = logging.StreamHandler(sys.stderr) if file is None else logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger


class Observed:
    """An ASGI application whose requests are counted and logged.

    Attributes:
        in_flight: HTTP requests whose responses are not yet at their end.
    """

    def __init__(
        self,
        app: Callable[[dict[str, Any], Receive, Send], Awaitable[None]],
        metrics: ServingMetrics,
        logger: logging.Logger,
    ) -> None:
        self._app, self._metrics, self._logger = app, metrics, logger
        self.in_flight = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.monotonic()

        async def note_status(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.in_flight += 1
        try:
            await self._app(scope, receive, note_status)
        finally:
            self.in_flight -= 1
            notes = notes_of(scope)
            self._end(scope, notes.pop("status", status), time.monotonic() - started, notes)

    def _end(self, scope: dict[str, Any], status: int, seconds: float, notes: dict[str, Any]) -> None:
        path = scope["path"] if scope["path"] in _PATHS else "other"
        self._metrics.requests.labels(path, str(status)).inc()
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(seconds, 4),
            **notes,
        }
        self._logger.info("%s", json.dumps(line))
