"""A reply in OpenAI's form: whole, or as the chunks of a stream.

Beyond that form, a message and a delta have `reasoning_content`, and the response and single chunks have `router_r1`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from router_r1.protocol import Route
from router_r1.serving.answering import Outcome, Prepared
from router_r1.serving.live import Event, RouteEnded, RouteStarted, Wrote

DONE = b"data: [DONE]\n\n"


def completion(asked: Prepared, outcome: Outcome) -> dict[str, Any]:
    """The response to a request that does not stream."""
    message = {
        "role": "assistant",
        "content": outcome.content,
        "reasoning_content": outcome.reasoning,
        "refusal": None,
    }
    return {
        "id": asked.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model.id,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": outcome.finish_reason}],
        "usage": _usage(outcome),
        "router_r1": _trajectory(asked, outcome),
    }


class Chunks:
    """The chunks of one stream.

    Args:
        wants_usage: a last chunk holds the usage, and all others say that they hold none.
    """

    def __init__(self, asked: Prepared, *, wants_usage: bool) -> None:
        self._asked, self._wants_usage = asked, wants_usage
        self._created = int(time.time())

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def event(self, event: Event) -> bytes:
        match event:
            case Wrote(text):
                return self._chunk({"reasoning_content": text})
            case RouteStarted(number, candidate, query):
                started = {"event": "route_started", "number": number, "candidate": candidate, "query": query}
                return self._chunk({}, router_r1=started)
            case RouteEnded(number, route):
                return self._chunk({}, router_r1={"event": "route_ended", "number": number, **_route(route)})

    def end(self, outcome: Outcome) -> Iterator[bytes]:
        if outcome.content:
            yield self._chunk({"content": outcome.content})
        yield self._chunk(
            {},
            finish_reason=outcome.finish_reason,
            router_r1={"event": "ended", **_trajectory(self._asked, outcome)},
        )
        if self._wants_usage:
            yield sse({**self._head(), "choices": [], "usage": _usage(outcome)})
        yield DONE

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._asked.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._asked.model.id,
        }

    def _chunk(self, delta: dict[str, str], *, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._wants_usage else {}
        return sse({**self._head(), "choices": [choice], **usage, **more})


def sse(data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON has no line break in it, and half a surrogate pair, which a candidate may send,
    becomes the escape that JSON has for it."""
    return f"data: {json.dumps(data)}\n\n".encode()


def _usage(outcome: Outcome) -> dict[str, int]:
    read, written = outcome.prompt_tokens, outcome.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _trajectory(asked: Prepared, outcome: Outcome) -> dict[str, Any]:
    arm = {"arm": asked.model.arm} if asked.model.arm else {}
    return {
        "trajectory_id": asked.id,
        **arm,
        "status": outcome.status.value,
        "routes": [_route(route) for route in outcome.routes],
        "raw_cost": outcome.raw_cost,
        "spend_usd": outcome.spend_usd,
        "seconds": round(outcome.seconds, 4),
    }


def _route(route: Route) -> dict[str, Any]:
    """What a client is told of a route; the reply itself stands in the reasoning."""
    return {
        "candidate": route.candidate,
        "query": route.query,
        "failed": route.failed,
        "error": route.error,
        "cached": route.cached,
        "prompt_tokens": route.prompt_tokens,
        "completion_tokens": route.completion_tokens,
        "raw_cost": route.raw_cost,
        "spend_usd": route.spend_usd,
        "seconds": round(route.latency_s, 4),
    }
