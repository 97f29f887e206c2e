"""Faults of the simulated endpoint: which request fails, and how.

Invariant: what happens to the k-th request for the same words to the same model depends on the seed, the model, the
words and k only, never on the order in which requests arrive. A test can therefore say beforehand which request fails.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from router_r1.errors import ConfigError, config_error
from router_r1.sim.world.facts import uniform


class Fault(StrEnum):
    """What may happen to a request instead of a good reply."""

    RATE_LIMIT = "rate_limit"  # 429 with Retry-After
    SERVER_ERROR = "server_error"  # 500
    UNAUTHORIZED = "unauthorized"  # 401
    RESET = "reset"  # the connection is reset (RST) before any byte
    HANG = "hang"  # nothing comes until the client gives up
    TRICKLE = "trickle"  # the right reply, one byte at a time
    TRUNCATED = "truncated"  # the first half of the JSON
    WRONG_TYPE = "wrong_type"  # 200 with an HTML page
    NO_CHOICES = "no_choices"  # an empty list of choices, with usage
    NULL_CONTENT = "null_content"  # a choice without text, with usage
    NO_USAGE = "no_usage"  # the right reply without its token counts


class FaultPlan(BaseModel):
    """How often each fault happens: the content of a --faults file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = 0
    """Another seed lets other requests fail."""
    shares: dict[Fault, float] = Field(default_factory=dict)
    """Fault -> share of all requests, in [0, 1]; at most 1 together."""
    retry_after_s: float = Field(default=1.0, ge=0)
    """What a 429 asks for, in seconds; sent rounded up to 1 ms."""
    trickle_s: float = Field(default=0.05, ge=0)
    """Seconds between two bytes of a trickle."""
    models: tuple[str, ...] = ()
    """Model ids whose requests may fail; none named: all."""

    @model_validator(mode="after")
    def _shares_are_shares(self) -> FaultPlan:
        if any(share < 0 for share in self.shares.values()) or math.fsum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("shares must not be negative, nor more than 1 together")
        return self

    def fault(self, model: str, query: str, attempt: int) -> Fault | None:
        """What happens to request number `attempt` (from 0) for `query` to `model`; None: a good reply."""
        if self.models and model not in self.models:
            return None
        draw = uniform(self.seed, "fault", model, query, attempt)
        for fault, share in sorted(self.shares.items()):
            if draw < share:
                return fault
            draw -= share
        return None


def load_faults(path: str | Path) -> FaultPlan:
    """Read a fault file, YAML or JSON.

    Raises:
        ConfigError: it cannot be read or something in it is wrong.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        reason = getattr(fault, "strerror", None) or type(fault).__name__
        raise ConfigError(
            path, "", None, f"cannot be read ({reason}); give a YAML or JSON file with seed and shares"
        ) from None
    try:
        return FaultPlan.model_validate(raw)
    except ValidationError as fault:
        raise config_error(path, fault) from None


class FaultInjector:
    """Counts requests and lets some of them fail as a plan says."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._attempts: Counter[tuple[str, str]] = Counter()

    def next_fault(self, model: str, query: str) -> Fault | None:
        """The fault of the request that has just come in."""
        attempt = self._attempts[model, query]
        self._attempts[model, query] += 1
        return self.plan.fault(model, query, attempt)

    async def respond(self, fault: Fault, request: Request, completion: dict[str, Any]) -> Response:
        """The response of a request with this fault; `completion` is what it would have been."""
        if fault in (Fault.RESET, Fault.HANG):
            if fault is Fault.RESET:
                _reset(request)
            await _client_gone(request)
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # nobody is left to read it
        if fault is Fault.TRICKLE:
            return StreamingResponse(self._trickle(json.dumps(completion).encode()), media_type="application/json")
        if fault in _ERRORS:
            headers = {"retry-after": f"{self.plan.retry_after_s:.3f}"} if fault is Fault.RATE_LIMIT else None
            status, message = _ERRORS[fault]
            error = {"message": message, "type": "simulated_fault", "param": None, "code": fault.value}
            return JSONResponse({"error": error}, status_code=status, headers=headers)
        return _spoilt(fault, completion)

    async def _trickle(self, body: bytes) -> AsyncIterator[bytes]:
        for i in range(len(body)):
            yield body[i : i + 1]
            await asyncio.sleep(self.plan.trickle_s)


_ERRORS = {
    Fault.RATE_LIMIT: (HTTPStatus.TOO_MANY_REQUESTS, "Rate limit reached"),
    Fault.SERVER_ERROR: (HTTPStatus.INTERNAL_SERVER_ERROR, "The server had an error"),
    Fault.UNAUTHORIZED: (HTTPStatus.UNAUTHORIZED, "Incorrect API key provided"),
}


def _spoilt(fault: Fault, completion: dict[str, Any]) -> Response:
    """A response with status 200 that is not what a client may expect."""
    if fault is Fault.WRONG_TYPE:
        return Response("<html><body>Please wait</body></html>", media_type="text/html")
    if fault is Fault.TRUNCATED:
        body = json.dumps(completion).encode()
        return Response(body[: len(body) // 2], media_type="application/json")
    if fault is Fault.NO_CHOICES:
        return JSONResponse({**completion, "choices": []})
    if fault is Fault.NULL_CONTENT:
        choice = {**completion["choices"][0], "message": {"role": "assistant", "content": None}}
        return JSONResponse({**completion, "choices": [choice]})
    assert fault is Fault.NO_USAGE
    return JSONResponse({key: value for key, value in completion.items() if key != "usage"})


def _reset(request: Request) -> None:
    """Close the connection so that the kernel sends RST: linger for no time at all, then abort."""
    transport: asyncio.Transport = request.scope["state"]["transport"]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
