"""What is sent to a candidate: one HTTP request, as its adapter words it, and what identifies its reply."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict

from router_r1.pool import Candidate, Endpoint, Message
from router_r1.routing import failures
from router_r1.routing.adapters import ProviderAdapter, adapter_path

_SHORTEST_SECRET = 8
"""Characters; a header that depends on the key but is shorter does not give it away."""


@dataclass(frozen=True)
class Request:
    """One request to a candidate. What holds the key is left out of its repr."""

    candidate: Candidate
    endpoint: Endpoint
    adapter: ProviderAdapter
    messages: Sequence[Message]
    url: str
    headers: CIMultiDict[str] = field(repr=False)
    content: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """What must show nowhere: the key, and headers that were made of it."""


def build_request(
    adapter: ProviderAdapter, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message], key: str | None
) -> Request:
    """The request that asks a candidate at one of its endpoints.

    Raises:
        RouteError: the adapter raised something, or gave what cannot be sent.
    """
    secrets: tuple[str, ...] = (key,) if key else ()
    method = "headers"
    try:
        own_headers = adapter.headers(key)
        headers = CIMultiDict(_sendable(own_headers))
        secrets += _made_of_key(adapter, own_headers) if key else ()
        method = "body"
        content = json.dumps(_mapping("body", adapter.body(candidate, endpoint, messages))).encode()
    except (Exception, SystemExit) as fault:
        raise failures.unasked(candidate, endpoint, method, fault, secrets) from None
    headers.update(candidate.extra_headers)
    path = adapter_path(adapter).replace("{model}", quote(endpoint.model or candidate.model, safe=""))
    return Request(
        candidate=candidate,
        endpoint=endpoint,
        adapter=adapter,
        messages=messages,
        url=f"{endpoint.base_url}{path}",
        headers=headers,
        content=content,
        secrets=secrets,
    )


def _mapping(method: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{method}() gave no mapping but {type(given).__name__}")
    return dict(given)


def _sendable(headers: Any) -> dict[str, str]:
    for name, value in _mapping("headers", headers).items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError("headers() gave a name that is none")
        if not isinstance(value, str) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise ValueError(f"headers() gave a value of {name} that is no single line of ASCII")
    return dict(headers)


def _made_of_key(adapter: ProviderAdapter, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The headers' values that would be others without the key."""
    try:
        plain = set(adapter.headers(None).values())
    except Exception:  # an adapter that cannot do without a key
        plain = set()
    return tuple(value for value in headers.values() if value not in plain and len(value) >= _SHORTEST_SECRET)


def request_identity(candidate: Candidate, messages: Sequence[Message]) -> Mapping[str, Any]:
    """Everything a reply depends on, for the key of a cache: endpoints, model, messages, adapter, every parameter."""
    identity = {
        "endpoints": sorted([endpoint.base_url, endpoint.model] for endpoint in candidate.all_endpoints),
        "messages": messages,
        "temperature": candidate.temperature,
        "max_tokens": candidate.max_tokens,
        "extra_body": candidate.extra_body,
        "extra_headers": candidate.extra_headers,
        "keep_reasoning": candidate.keep_reasoning,
    }
    # Left out where it is the default, so that replies kept before there were adapters are found again.
    return identity if candidate.adapter == "openai" else identity | {"adapter": candidate.adapter}
