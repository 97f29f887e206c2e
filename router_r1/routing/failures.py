"""What can go wrong between us and a candidate, told so that a person knows what to do; a key is never told."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import groupby
from urllib.parse import urlsplit

import aiohttp

from router_r1.pool import Candidate, Endpoint
from router_r1.printable import printable
from router_r1.routing.breaker import Outcome

_TRANSIENT = {408, 409, 429}
_REFUSALS = ("http_401", "http_403", "http_404")
"""Kinds of fault that are of the key or of the model, not of the query."""

_SHORTEST_TELLTALE = 8
"""Characters of a key in a row that already count as the key: endpoints echo keys cut or starred out in the middle."""

_LONGEST_BODY = 10_000
_LONGEST_TOLD = 200


class RouteError(Exception):
    """One attempt that brought no reply.

    Attributes:
        kind: `timeout`, `unreachable`, `connection`, `malformed`, `adapter`, `unavailable`, `closed` or
            `http_<status>`; it labels a metric.
        transient: whether another try may succeed.
        elsewhere: whether that try goes to another endpoint, which needs no wait.
        retry_after_s: how long the endpoint asks us to wait before it, in seconds.
        usage: (prompt, completion) tokens that the endpoint charged for the useless reply.
    """

    def __init__(
        self,
        message: str,
        kind: str,
        *,
        transient: bool,
        retry_after_s: float = 0.0,
        usage: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(printable(message))
        self.kind, self.transient, self.retry_after_s, self.usage = kind, transient, retry_after_s, usage
        self.elsewhere = False

    @property
    def outcome(self) -> Outcome:
        """What it says about the endpoint; a refused query says nothing about the next one."""
        if self.kind == "http_429":
            return Outcome.THROTTLED
        if self.kind in _REFUSALS:
            return Outcome.REFUSED
        return Outcome.FAILED if self.transient else Outcome.WORKS


def endpoint_host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.base_url).netloc


def unanswered(candidate: Candidate, endpoint: Endpoint, timeout_s: float) -> RouteError:
    return RouteError(f"{_who(candidate, endpoint)}: no reply within {timeout_s:.3g} s", "timeout", transient=True)


def unconnected(candidate: Candidate, endpoint: Endpoint, error: Exception) -> RouteError:
    """For a connection that was refused, reset or cut short."""
    kind = "unreachable" if isinstance(error, aiohttp.ClientConnectorError) else "connection"
    what = f"the connection failed ({type(error).__name__})"
    return RouteError(f"{_who(candidate, endpoint)}: {what}", kind, transient=True)


def unavailable(candidate: Candidate, last_fault: str) -> RouteError:
    """For a candidate that has been out of order for some time and is not asked."""
    message = f"{candidate.name} is unavailable: it has kept failing, lately so: {last_fault}"
    return RouteError(message, "unavailable", transient=False)


def out_of_time(candidate: Candidate, waited_s: float, last_fault: str) -> RouteError:
    """For a route whose turn did not come within its total bound."""
    message = f"{candidate.name}: no turn came within {waited_s:.3g} s"
    return RouteError(f"{message}, lately: {last_fault}" if last_fault else message, "timeout", transient=False)


def closed() -> RouteError:
    """For a route that was waiting when its service was closed."""
    return RouteError("the route service was closed", "closed", transient=False)


def malformed(
    candidate: Candidate, endpoint: Endpoint, what: str, usage: tuple[int, int] = (0, 0), *, transient: bool = True
) -> RouteError:
    """For a reply with status 200 that holds no text."""
    return RouteError(
        f"{_who(candidate, endpoint)}: malformed reply: {what}", "malformed", transient=transient, usage=usage
    )


def unasked(
    candidate: Candidate, endpoint: Endpoint, method: str, fault: BaseException, secrets: Iterable[str]
) -> RouteError:
    """For an adapter that could not word a request. Nothing was sent, and the next attempt would end the same way."""
    what = f"the adapter's {method}() failed: {told_of(fault, secrets)}"
    return RouteError(f"{_who(candidate, endpoint)}: {what}", "adapter", transient=False)


def told(words: str, secrets: Iterable[str]) -> str:
    """What a user's code or an endpoint says, in one line and without a key."""
    return redact(" ".join(words[:_LONGEST_BODY].split()), *secrets)[:_LONGEST_TOLD]


def told_of(fault: BaseException, secrets: Iterable[str]) -> str:
    """The same of an exception."""
    return told(f"{type(fault).__name__}: {fault}", secrets)


def refused(
    candidate: Candidate,
    endpoint: Endpoint,
    status: int,
    *,
    body: str,
    retry_after: str | None,
    secrets: Iterable[str],
) -> RouteError:
    """For an HTTP status other than 200. 408, 409, 429 and 5xx may pass; the others need a person."""
    message = f"{_who(candidate, endpoint)}: HTTP {status}"
    if remedy := _remedy(endpoint, status):
        message += f": {remedy}"
    # The body of a 401 or 403 can only add the credentials it complains of.
    if status not in (401, 403) and (words := told(body, secrets)):
        message += f"; it says: {words}"
    return RouteError(
        message,
        f"http_{status}",
        transient=status in _TRANSIENT or status >= 500,
        retry_after_s=parse_retry_after(retry_after),
    )


def _who(candidate: Candidate, endpoint: Endpoint) -> str:
    return f"{candidate.name} at {endpoint_host(endpoint)}"


def _remedy(endpoint: Endpoint, status: int) -> str:
    variable = endpoint.api_key_env
    if status == 401 and variable is None:
        return "the endpoint wants a key; name the variable that holds it in api_key_env"
    if status == 401:
        return f"the key was refused; check the environment variable {variable}"
    if status == 403:
        return f"model {endpoint.model} is forbidden; check the rights of the key in {variable or 'api_key_env'}"
    if status == 404:
        return f"not found; check model {endpoint.model} and base_url in the pool file"
    if status in (400, 422):
        return f"the request was refused; check model {endpoint.model}, temperature and max_tokens in the pool file"
    return ""


def parse_retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3): a number or an HTTP date; 0 if absent."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, OverflowError):  # no date, or one that no calendar of ours has
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def redact(text: str, *secrets: str | None) -> str:
    """`text` with every longer piece of the secrets, and whatever follows the word Bearer, starred out."""
    text = re.sub(r"(?i)\b(bearer|basic)\s+\S+", r"\1 ***", text)
    for secret in secrets:
        text = _without(text, secret) if secret else text
    return text


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A reply without the key. Ordinary words, and keys that are made up and look like one, are left alone."""
    for secret in secrets:
        text = _without(text, secret) if len(secret) > _SHORTEST_TELLTALE else text
    return text


def _without(text: str, key: str) -> str:
    size = min(len(key), _SHORTEST_TELLTALE)
    pieces = {key[i : i + size] for i in range(len(key) - size + 1)}
    if not any(piece in text for piece in pieces):
        return text
    hidden = {i + k for i in range(len(text) - size + 1) if text[i : i + size] in pieces for k in range(size)}
    runs = groupby(enumerate(text), key=lambda item: item[0] in hidden)
    return "".join("***" if is_key else "".join(ch for _, ch in run) for is_key, run in runs)
