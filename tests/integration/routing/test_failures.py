"""What the route service makes of endpoints that fail: attempts, waits, messages, and no key anywhere."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.pool import check_api_keys
from router_r1.protocol import Route
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.adapters import OpenAIAdapter
from router_r1.routing.failures import RouteError, parse_retry_after, redact
from router_r1.routing.preflight import preflight
from router_r1.routing.replies import read_reply
from router_r1.routing.requests import build_request
from tests.integration.routing.conftest import RESET, always, completion, pool_at, response

KEY = "ROUTER_R1_TEST_KEY"
QUICK = RetryPolicy(max_attempts=4, backoff_s=0.005, backoff_max_s=0.01)
USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
GOOD = completion("yes", USAGE)

MALFORMED = {
    "no JSON": response(200, b"<html>busy</html>", content_type="text/html"),
    "cut JSON": response(200, b'{"choices": [{"mess'),
    "deep JSON": response(200, b"[" * 100_000),
    "no UTF-8": response(200, b'{"choices": "\xff"}'),
    "empty body": response(200, b""),
    "null": response(200, None),
    "a list": response(200, []),
    "no choices key": response(200, {"usage": USAGE}),
    "no choices": response(200, {"choices": [], "usage": USAGE}),
    "null choices": response(200, {"choices": None}),
    "null choice": response(200, {"choices": [None]}),
    "null message": response(200, {"choices": [{"message": None}]}),
    "null content": completion(None, USAGE),
    "blank content": completion(" \n", USAGE),
    "content of another type": completion({"text": "yes"}, USAGE),
}
BROKEN = {
    "reset": RESET,
    "cut short": b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\n{",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\nconnection: close\r\n\r\n",
}


IMPATIENT = BreakerPolicy(cooldown_s=0.01)


async def ask(base_url: str, policy: RetryPolicy = QUICK, **settings) -> Route:
    config = RoutingConfig(retries=policy, breaker=IMPATIENT)
    async with RouteService(pool_at(base_url, **settings), config=config) as service:
        return await service.route("Small-1B", "Who?")


@pytest.mark.parametrize("fault", [*MALFORMED, *BROKEN])
async def test_a_useless_reply_or_a_broken_connection_is_tried_again(endpoint, fault):
    async with endpoint(always((MALFORMED | BROKEN)[fault], GOOD)) as server:
        route = await ask(server.base_url)
    assert (route.reply, route.failed, route.attempts) == ("yes", False, 2)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_a_transient_status_is_tried_again(endpoint, status):
    async with endpoint(always(response(status, {"error": "busy"}), GOOD)) as server:
        assert (await ask(server.base_url)).attempts == 2


@pytest.mark.parametrize("fault", [*MALFORMED, *BROKEN])
async def test_a_fault_that_stays_makes_a_failed_route_after_four_attempts(endpoint, fault):
    """Null content, no choices, and all else that is no reply costs one route, not the batch."""
    async with endpoint(always((MALFORMED | BROKEN)[fault])) as server:
        route = await ask(server.base_url)
    assert (route.failed, route.reply, route.attempts) == (True, "", 4)
    assert len(server.requests) == 4
    assert route.error.startswith("Small-1B at 127.0.0.1:")
    assert (route.raw_cost, route.prompt_tokens, route.completion_tokens) == (0, 0, 0)


CHARGED = {
    "null content": completion(None, USAGE),
    "content of another type": completion({"text": "yes"}, USAGE),
    "content in parts": completion([{"type": "text", "text": "yes"}], USAGE),
    "null message": response(200, {"choices": [{"message": None}], "usage": USAGE}),
    "choices of another type": response(200, {"choices": "yes", "usage": USAGE}),
}


@pytest.mark.parametrize("fault", CHARGED)
async def test_a_reply_without_text_that_was_charged_is_spent_money(endpoint, fault):
    charge = (10 * 0.5 + 7 * 2.0) / 1e6
    async with endpoint(always(CHARGED[fault])) as server:
        assert (await ask(server.base_url)).spend_usd == pytest.approx(4 * charge)
    async with endpoint(always(CHARGED[fault], GOOD)) as server:
        route = await ask(server.base_url)
    assert route.spend_usd == pytest.approx(2 * charge)
    assert (route.raw_cost, route.prompt_tokens, route.completion_tokens) == (14.0, 10, 7)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "check model org/small-1b"),
        (401, f"check the environment variable {KEY}"),
        (403, f"check the rights of the key in {KEY}"),
        (404, "check model org/small-1b and base_url"),
        (422, "check model org/small-1b"),
        (402, "it says: "),
    ],
)
async def test_a_permanent_status_fails_at_once_and_tells_the_remedy(endpoint, monkeypatch, status, remedy):
    """A wrong key does not get right by asking again: no second attempt, and the route says what would help."""
    monkeypatch.setenv(KEY, "nvapi-verysecret")
    async with endpoint(always(response(status, {"error": {"message": "no"}}))) as server:
        route = await ask(server.base_url, policy=RetryPolicy(), api_key_env=KEY)
    assert len(server.requests) == 1
    assert (route.failed, route.attempts, route.spend_usd) == (True, 1, 0)
    assert route.latency_s < 2
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    assert route.error.startswith(
        f"Small-1B at {host}: HTTP {status}: " if status != 402 else f"Small-1B at {host}: HTTP"
    )
    assert remedy in route.error


async def test_an_endpoint_that_wants_a_key_where_none_is_named_says_so(endpoint):
    async with endpoint(always(response(401, {}))) as server:
        assert "api_key_env" in (await ask(server.base_url)).error


async def test_retry_after_is_honoured_before_the_next_try(endpoint):
    async with endpoint(always(response(429, {}, retry_after="0.3"), GOOD)) as server:
        assert (await ask(server.base_url)).attempts == 2
    first, second = (request.time for request in server.requests)
    assert 0.3 <= second - first < 2


async def test_a_very_long_retry_after_is_cut(endpoint):
    policy = RetryPolicy(backoff_s=0.005, backoff_max_s=0.01, retry_after_max_s=0.2)
    async with endpoint(always(response(503, {}, retry_after="86400"), GOOD)) as server:
        assert (await ask(server.base_url, policy=policy)).attempts == 2
    first, second = (request.time for request in server.requests)
    assert 0.2 <= second - first < 2


async def test_a_wait_that_ends_after_the_total_bound_is_not_begun(endpoint):
    policy = RetryPolicy(total_s=1.0, retry_after_max_s=30)
    async with endpoint(always(response(429, {}, retry_after="20"))) as server:
        route = await ask(server.base_url, policy=policy, timeout_s=1.0)
    assert (route.failed, route.attempts) == (True, 1)
    assert route.latency_s < 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("nan", 0),
        ("inf", 0),
        ("soon", 0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", 10),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 +1200", 0),
        ("1" * 5000, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header, seconds):
    assert parse_retry_after(header, datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds


DATE_LIKE = st.from_regex(
    r"(Mon, )?[0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9]{1,3}:[0-9]{2}(:[0-9]{2})? [-+A-Z0-9]{1,6}"
)


@given(st.text(max_size=60) | DATE_LIKE | st.floats().map(str) | st.integers().map(str))
def test_any_retry_after_is_a_wait(header):
    assert 0 <= parse_retry_after(header) < float("inf")


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_retry_after_beyond_the_calendar_makes_a_failed_route(endpoint, status):
    bad = response(status, {}, retry_after="Fri, 31 Dec 9999 23:59:59 -1200")
    async with endpoint(always(bad)) as server:
        route = await ask(server.base_url)
        with suppress(ConfigError):  # what a preflight may raise, and nothing else
            await preflight(pool_at(server.base_url), timeout_s=0.2)
    assert f"HTTP {status}" in route.error


HEADER = st.binary(max_size=40).filter(lambda raw: not set(raw) & set(b"\r\n"))
NAMES = [b"content-encoding", b"transfer-encoding", b"content-type", b"retry-after", b"set-cookie", b"location", b"x"]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(NAMES) | HEADER, HEADER), max_size=4), st.sampled_from([200, 302, 401, 429, 503])
)
def test_any_headers_make_a_route(endpoint_factory, headers, status):
    """Whatever an endpoint sends before its body: a reply or a failed route, never an exception."""
    body = GOOD.partition(b"\r\n\r\n")[2]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n" % (status, len(body))

    async def run() -> Route:
        async with endpoint_factory(always(head + lines + b"\r\n" + body)) as server:
            policy = RetryPolicy(max_attempts=2, backoff_s=0.0, retry_after_max_s=0.0)
            return await ask(server.base_url, policy=policy, timeout_s=0.2)

    route = asyncio.run(run())
    assert route.failed == bool(route.error)


async def test_a_hanging_endpoint_times_out_and_the_route_ends_within_its_bound(endpoint):
    """One endpoint that never answers must not hold up a whole batch."""

    async def hang(number, request):
        await asyncio.Event().wait()

    async with endpoint(hang) as server:
        policy = RetryPolicy(backoff_s=0.005, backoff_max_s=0.01, total_s=0.8)
        route = await ask(server.base_url, policy=policy, timeout_s=0.5)
    assert route.failed
    assert route.attempts == 2
    within = re.search(r"no reply within ([\d.]+) s$", route.error)
    assert within, route.error
    assert float(within[1]) <= 0.3  # the last attempt gets what is left of the bound
    assert 0.7 <= route.latency_s < 3


async def test_a_trickle_of_bytes_does_not_outlive_the_timeout():
    stopped = asyncio.Event()

    async def trickle(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            stopped.set()
        finally:
            writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        route = await ask(url, policy=RetryPolicy(max_attempts=1), timeout_s=0.2)
        await asyncio.wait_for(stopped.wait(), 5)
    assert "no reply within 0.2 s" in route.error


async def test_an_endpoint_that_is_not_there_fails_after_its_attempts():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        route = await ask(f"http://127.0.0.1:{port}/v1")
    assert (route.failed, route.attempts) == (True, 4)
    assert route.error == f"Small-1B at 127.0.0.1:{port}: the connection failed (ClientConnectorError)"


# ---------------------------------------------------------------- secrets

SECRET = "made-up-Qm9ndXNLZXlGb3JUZXN0cw"


def echo(request) -> str:
    return request.headers["authorization"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 200])
async def test_no_key_reaches_an_error_a_log_or_a_repr(endpoint, monkeypatch, caplog, status):
    """Given an endpoint that repeats the header, the bare key, and pieces of it; all logs at DEBUG."""

    async def behave(number, request):
        key = echo(request).removeprefix("Bearer ")
        body = {"error": {"message": f"bad {echo(request)}; {key[:14]}****; ****{key[-10:]}", "key": key}}
        return response(status, json.dumps(body).encode(), x_request_id="r1")

    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    async with endpoint(behave) as server:
        pool = pool_at(server.base_url, api_key_env=KEY)
        check_api_keys(pool)
        async with RouteService(pool, config=RoutingConfig(retries=QUICK)) as service:
            route = await service.route("Small-1B", "Who?")
            shown = [repr(service), repr(vars(service)), repr(pool), route.error, repr(route)]
    assert echo(server.requests[0]) == f"Bearer {SECRET}"
    assert route.failed
    assert route.error in caplog.text
    for text in (*shown, caplog.text):
        assert not shares_a_piece(text)


async def test_a_key_in_a_reply_is_starred_out_before_anybody_sees_it(endpoint, monkeypatch, tmp_path):
    """A debugging proxy that answers 200 with the headers it was sent."""

    async def behave(number, request):
        return completion(f"You sent {echo(request)}. Basic facts: Bearer is a city.", USAGE)

    monkeypatch.setenv(KEY, SECRET)
    files = {"cache_file": str(tmp_path / "cache.sqlite"), "trace_file": str(tmp_path / "trace.jsonl")}
    config = RoutingConfig(cache="readwrite", trace_texts=True, **files)
    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, api_key_env=KEY), config=config) as service,
    ):
        route = await service.route("Small-1B", "Who?")
    assert route.reply == "You sent Bearer ***. Basic facts: Bearer is a city."
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Basic facts" in kept
    assert not shares_a_piece(kept.decode("utf-8", "replace"))


async def test_a_made_up_key_that_is_a_word_is_left_in_replies(endpoint, monkeypatch):
    monkeypatch.setenv(KEY, "EMPTY")
    async with endpoint(always(completion("The set is EMPTY.", USAGE))) as server:
        assert (await ask(server.base_url, api_key_env=KEY)).reply == "The set is EMPTY."


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_an_error_body_moves_no_cursor_and_turns_no_writing_direction(endpoint, caplog, status):
    caplog.set_level(logging.DEBUG)
    body = "no\x1b[2J\x07\x9b31m \u202eegassem\u2066 way".encode()
    async with endpoint(always(response(status, body))) as server:
        route = await ask(server.base_url)
    assert "egassem" in route.error
    for text in (route.error, caplog.text):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def shares_a_piece(text: str, size: int = 8) -> bool:
    return any(SECRET[i : i + size] in text for i in range(len(SECRET) - size + 1))


@given(st.text(), st.integers(0, len(SECRET)), st.integers(0, len(SECRET)), st.text())
def test_every_longer_piece_of_a_key_is_starred_out(before, start, end, after):
    assert not shares_a_piece(redact(before + SECRET[start:end] + SECRET + after, SECRET))


@given(st.text(alphabet="xyz ", max_size=50))
def test_text_without_the_key_is_left_as_it_is(text):
    assert redact(text, SECRET) == text
    assert redact(text, None) == text


# ---------------------------------------------------------------- any body at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.text() | JSON.map(json.dumps))
def test_any_body_is_a_reply_or_a_route_error(body):
    [candidate] = pool_at("http://h/v1").candidates
    request = build_request(OpenAIAdapter(), candidate, candidate.all_endpoints[0], candidate.messages("Who?"), None)
    with suppress(RouteError):
        reply = read_reply(body, request)
        assert reply.text.strip()
        assert reply.prompt_tokens >= 0
        assert reply.completion_tokens >= 0
