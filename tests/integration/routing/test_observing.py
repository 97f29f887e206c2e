"""What a run leaves behind to look at: traces, metrics; and the preflight before it. No key in any of them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request

import pytest

from router_r1.errors import ConfigError
from router_r1.routing import RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.preflight import preflight
from tests.integration.routing.conftest import RESET, always, completion, pool_at, response

KEY, SECRET = "ROUTER_R1_TEST_KEY", "made-up-Qm9ndXNLZXlGb3JUZXN0cw"
USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
QUICK = RetryPolicy(max_attempts=2, backoff_s=0.005, backoff_max_s=0.01)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_every_route_leaves_one_line_that_says_what_came_of_it(endpoint, tmp_path):
    file = tmp_path / "traces" / "routes.jsonl"
    config = RoutingConfig(
        retries=QUICK, trace_file=str(file), cache="readwrite", cache_file=str(tmp_path / "c.sqlite")
    )
    hanging = asyncio.Event()

    async def behave(number, request):
        if request.query == "hang?":
            hanging.set()
            await asyncio.Event().wait()
        return response(500, {}) if request.query == "bad?" else completion("yes", USAGE)

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=config) as service:
        for query in ("good?", "good?", "bad?"):
            await service.route("Small-1B", query, trajectory_id=f"t-{query}")
        task = asyncio.create_task(service.route("Small-1B", "hang?"))
        await hanging.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finished, cached, failed, _ = lines(file)
    assert [line["status"] for line in lines(file)] == ["finished", "cached", "failed", "cancelled"]
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    want = {
        "trajectory": "t-good?",
        "candidate": "Small-1B",
        "endpoint": host,
        "error": "",
        "attempts": 1,
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "usage_estimated": False,
        "raw_cost": 14.0,
        "spend_usd": 1.9e-05,
    }
    assert finished | want == finished
    assert finished["latency_s"] > 0
    assert "query" not in finished
    assert (cached["attempts"], cached["spend_usd"], cached["raw_cost"]) == (0, 0, 14.0)
    assert (failed["attempts"], "HTTP 500" in failed["error"]) == (2, True)


async def test_what_was_asked_and_replied_is_nobody_elses_to_read(endpoint, tmp_path):
    trace, cache = tmp_path / "trace.jsonl", tmp_path / "cache.sqlite"
    config = RoutingConfig(
        trace_file=str(trace), trace_texts=True, trace_max_mb=0.0005, cache="readwrite", cache_file=str(cache)
    )
    async with (
        endpoint(always(completion("yes", USAGE))) as server,
        RouteService(pool_at(server.base_url), config=config) as service,
    ):
        for i in range(10):
            await service.route("Small-1B", f"{i}?")
        kept = [*tmp_path.glob("trace.jsonl*"), *tmp_path.glob("cache.sqlite*")]
        modes = {path.name: path.stat().st_mode & 0o777 for path in kept if not path.name.endswith(".lock")}
    assert len(modes) >= 4  # rotated traces, and what SQLite has beside its file
    assert set(modes.values()) == {0o600}


async def test_texts_are_traced_only_where_asked_for_and_the_file_is_rotated(endpoint, tmp_path):
    file = tmp_path / "routes.jsonl"
    config = RoutingConfig(trace_file=str(file), trace_texts=True, trace_max_mb=0.002)
    async with (
        endpoint(always(completion("oui \ud83d\ude00", USAGE))) as server,
        RouteService(pool_at(server.base_url), config=config) as service,
    ):
        for i in range(30):
            await service.route("Small-1B", f"où {i}?\nline")
    files = sorted(tmp_path.glob("routes.jsonl*"))
    assert 2 <= len(files) <= 6
    assert all(f.stat().st_size <= 2000 for f in files)
    assert lines(file)[-1]["query"] == "où 29?\nline"


async def test_metrics_are_served_to_prometheus(endpoint):
    config = RoutingConfig(metrics_port=0, retries=QUICK)
    behave = always(response(500, {}), completion("yes", USAGE))
    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=config) as service:
        for i in range(3):
            await service.route("Small-1B", f"{i}?")
        url = f"http://127.0.0.1:{service.metrics.port}/metrics"
        text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    for line in (
        'router_r1_routes_total{candidate="Small-1B",outcome="finished"} 3.0',
        f'router_r1_requests_total{{candidate="Small-1B",endpoint="{host}",outcome="http_500"}} 1.0',
        'router_r1_tokens_total{candidate="Small-1B",kind="prompt"} 30.0',
        'router_r1_route_seconds_count{candidate="Small-1B"} 3.0',
        'router_r1_in_flight{candidate="Small-1B"} 0.0',
    ):
        assert line in text


async def test_no_key_is_traced_measured_or_cached(endpoint, monkeypatch, tmp_path):
    """Given an endpoint that repeats the key in all it says."""
    monkeypatch.setenv(KEY, SECRET)

    async def behave(number, request):
        said = request.headers["authorization"]
        return completion("yes", USAGE) if number % 2 else response(500, {"error": said})

    config = RoutingConfig(
        retries=QUICK,
        trace_file=str(tmp_path / "routes.jsonl"),
        trace_texts=True,
        metrics_port=0,
        cache="readwrite",
        cache_file=str(tmp_path / "c.sqlite"),
    )
    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, api_key_env=KEY), config=config) as service,
    ):
        await service.route("Small-1B", "?")
        url = f"http://127.0.0.1:{service.metrics.port}/metrics"
        metrics = (await asyncio.to_thread(urllib.request.urlopen, url)).read()
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {SECRET}"}
    for written in (metrics, *(file.read_bytes() for file in tmp_path.iterdir())):
        assert SECRET.encode() not in written


# ---------------------------------------------------------------- preflight


@pytest.mark.parametrize("answer", [completion("yes", USAGE), completion(None), response(429, {})])
async def test_a_preflight_is_one_small_request_per_candidate(endpoint, answer):
    async with endpoint(always(answer)) as server:
        await preflight(pool_at(server.base_url, "A", "B"), timeout_s=1.0)
    assert {request.body["model"] for request in server.requests} == {"org/a", "org/b"}
    assert all(request.body["max_tokens"] <= 8 for request in server.requests)


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, f"check the environment variable {KEY}"), (404, "check model org/b and base_url")]
)
async def test_a_wrong_key_or_model_ends_the_preflight_at_once_although_others_hang(
    endpoint, monkeypatch, status, remedy
):
    monkeypatch.setenv(KEY, SECRET)

    async def behave(number, request):
        if request.body["model"] == "org/a":
            await asyncio.Event().wait()
        return response(status, {})

    started = time.monotonic()
    async with endpoint(behave) as server:
        with pytest.raises(ConfigError) as fault:
            await preflight(pool_at(server.base_url, "A", "B", api_key_env=KEY))
    assert time.monotonic() - started < 5
    assert str(fault.value).startswith("test: candidates[1]: B at 127.0.0.1:")
    assert remedy in str(fault.value)
    assert "\n" not in str(fault.value)


async def test_a_transient_fault_is_tried_again_and_one_that_stays_is_told(endpoint):
    async with endpoint(always(RESET, response(503, {}), completion("yes", USAGE))) as server:
        await preflight(pool_at(server.base_url), timeout_s=20.0)
    async with endpoint(always(response(503, {}))) as server:
        with pytest.raises(ConfigError, match=r"HTTP 503.*--skip-preflight"):
            await preflight(pool_at(server.base_url), timeout_s=0.5)
