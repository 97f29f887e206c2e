"""Replies on disk and single flight: nothing is asked twice, nothing is lost, a damaged file stops nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from router_r1.cli import main
from router_r1.pool import Price, RoutingPool
from router_r1.routing import RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.cache import CacheFile, Entry
from router_r1.routing.replies import Reply
from tests.integration.routing.conftest import always, completion, pool_at, response

USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
QUICK = RetryPolicy(max_attempts=2, backoff_s=0.005, backoff_max_s=0.01)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "replies.sqlite"


def cached(file, mode="readwrite", **settings) -> RoutingConfig:
    return RoutingConfig(cache=mode, cache_file=str(file), retries=QUICK, **settings)


async def echo(number, request):
    return completion(f"reply {number} to {request.query}", USAGE)


async def test_a_second_identical_run_makes_no_request_and_gets_the_same_routes_for_nothing(endpoint, file):
    async with endpoint(echo) as server:
        runs = []
        for _ in range(2):
            async with RouteService(pool_at(server.base_url), config=cached(file)) as service:
                runs.append([await service.route("Small-1B", f"{i}?") for i in range(10)])
                spent = service.ledger.spent_usd
    first, second = runs
    assert len(server.requests) == 10
    for paid, free in zip(first, second, strict=True):
        assert (paid.cached, free.cached) == (False, True)
        assert (paid.attempts, free.attempts) == (1, 0)
        assert paid.spend_usd > 0
        unpaid = {"cached": True, "attempts": 0, "spend_usd": 0.0, "latency_s": free.latency_s}
        assert free == replace(paid, **unpaid)  # raw cost and tokens included: the policy learns the same
    assert spent == 0


@pytest.mark.parametrize(
    ("mode", "requests", "kept"), [("off", 2, 0), ("read", 2, 0), ("write", 2, 1), ("readwrite", 1, 1)]
)
async def test_the_mode_says_whether_replies_are_looked_up_and_kept(endpoint, file, mode, requests, kept):
    async with endpoint(echo) as server, RouteService(pool_at(server.base_url), config=cached(file, mode)) as service:
        for _ in range(2):
            await service.route("Small-1B", "?")
    assert len(server.requests) == requests
    assert len(CacheFile(file).stats() if mode != "off" else []) == kept
    assert file.exists() == (mode != "off")


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 9},
        {"extra_body": {"top_p": 0.5}},
        {"keep_reasoning": True},
        {"extra_headers": {"X-Version": "2"}},
    ],
)
async def test_every_parameter_is_part_of_the_key(endpoint, file, change):
    async with endpoint(echo) as server:
        for settings in ({}, change):
            async with RouteService(pool_at(server.base_url, **settings), config=cached(file)) as service:
                await service.route("Small-1B", "?")
    assert len(server.requests) == 2


async def test_the_same_words_to_another_model_or_endpoint_are_another_question(endpoint, file):
    async with endpoint(echo) as one, endpoint(echo) as two:
        for server in (one, two):
            async with RouteService(pool_at(server.base_url, "A", "B"), config=cached(file)) as service:
                for name in "AB":
                    await service.route(name, "?")
    assert (len(one.requests), len(two.requests)) == (2, 2)


async def test_at_a_temperature_every_route_is_asked(endpoint, file):
    pool_settings = {"temperature": 0.7}
    async with (
        endpoint(echo) as server,
        RouteService(pool_at(server.base_url, **pool_settings), config=cached(file)) as service,
    ):
        routes = await asyncio.gather(*(service.route("Small-1B", "?") for _ in range(5)))
    assert len({route.reply for route in routes}) == 5


async def test_a_failed_route_is_not_kept(endpoint, file):
    behave = always(response(400, {}), completion("yes", USAGE))
    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=cached(file)) as service:
        assert (await service.route("Small-1B", "?")).failed
        assert (await service.route("Small-1B", "?")).reply == "yes"


# ---------------------------------------------------------------- single flight


async def test_identical_routes_in_flight_share_one_request_and_one_of_them_pays(endpoint, file):
    async with endpoint(echo) as server, RouteService(pool_at(server.base_url), config=cached(file)) as service:
        routes = await asyncio.gather(*(service.route("Small-1B", "?") for _ in range(8)))
        account = service.ledger.accounts["Small-1B"]
    assert len(server.requests) == 1
    assert len({route.reply for route in routes}) == 1
    assert Counter(route.spend_usd > 0 for route in routes) == {True: 1, False: 7}
    assert all(route.raw_cost == 14.0 for route in routes)
    assert (account.shared, account.started, account.finished) == (7, 8, 8)
    assert account.saved_usd == 7 * account.spend_usd


async def test_one_model_at_two_prices_gives_each_candidate_a_route_of_its_own(endpoint, file):
    async with endpoint(echo) as server:
        pool = pool_at(server.base_url)
        (cheap, *_) = pool.candidates
        dear = cheap.model_copy(update={"name": "Dear", "aliases": (), "price": Price(input=1.0, output=100.0)})
        twins = RoutingPool(name="twins", candidates=(cheap, dear))
        async with RouteService(twins, config=cached(file)) as service:
            routes = await asyncio.gather(*(service.route(name, "?") for name in (cheap.name, "Dear")))
    assert [(route.candidate, route.raw_cost) for route in routes] == [(cheap.name, 14.0), ("Dear", 700.0)]


async def test_a_shared_call_outlives_the_one_who_started_it(endpoint, file):
    asked, release = asyncio.Event(), asyncio.Event()

    async def behave(number, request):
        asked.set()
        await release.wait()
        return completion("yes", USAGE)

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=cached(file)) as service:
        first, second = (asyncio.create_task(service.route("Small-1B", "?")) for _ in range(2))
        await asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        release.set()
        route = await second
    assert (route.reply, route.cached, len(server.requests)) == ("yes", False, 1)
    assert route.spend_usd > 0  # somebody has to


async def test_a_call_that_nobody_waits_for_any_more_is_given_up(endpoint, file):
    asked = asyncio.Event()

    async def behave(number, request):
        if number == 0:
            asked.set()
            await asyncio.Event().wait()
        return completion("yes", USAGE)

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=cached(file)) as service:
        routes = [asyncio.create_task(service.route("Small-1B", "?")) for _ in range(3)]
        await asked.wait()
        for route in routes:
            route.cancel()
        await asyncio.gather(*routes, return_exceptions=True)
        assert service.ledger.accounts["Small-1B"].cancelled == 3
        assert (await service.route("Small-1B", "?")).reply == "yes"
        assert len(server.requests) == 2


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("damage", ["not a database", "half", "another format"])
async def test_a_damaged_cache_is_set_aside_with_a_warning_and_the_run_goes_on(endpoint, file, caplog, damage):
    async with endpoint(echo) as server:
        async with RouteService(pool_at(server.base_url), config=cached(file)) as service:
            for i in range(200):
                await service.route("Small-1B", f"{i}?")
        if damage == "not a database":
            file.write_bytes(b"x" * 100)
        elif damage == "half":
            data = file.read_bytes()
            file.write_bytes(data[:8192] + os.urandom(len(data) - 8192))
        else:
            with sqlite3.connect(file) as database:
                database.execute("PRAGMA user_version = 99")
        async with RouteService(pool_at(server.base_url), config=cached(file)) as service:
            routes = [await service.route("Small-1B", f"{i}?") for i in range(200)]
    assert not any(route.failed for route in routes)
    assert "was set aside" in caplog.text
    assert list(file.parent.glob("replies.sqlite.corrupt-*"))
    assert sum(row[2] for row in CacheFile(file).stats()) > 0


async def test_a_cache_that_cannot_be_written_costs_a_warning(endpoint, tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    caplog.set_level(logging.WARNING)
    config = cached(tmp_path / "folder")
    async with endpoint(echo) as server, RouteService(pool_at(server.base_url), config=config) as service:
        for i in range(3):
            assert not (await service.route("Small-1B", f"{i}?")).failed
    assert caplog.text.count("cannot be used") == 1


WRITER = """
import sys, time
from router_r1.routing.cache import CacheFile, Entry
from router_r1.routing.replies import Reply
path, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
file, end, count = CacheFile(path), time.monotonic() + seconds, 0
while time.monotonic() < end:
    key = f"{name}-{count}"
    file.put(Entry(key, "http://h/v1", "m", "q", Reply("text of " + key, 1, 2, False)))
    assert file.get(key).text == "text of " + key
    count += 1
print(count)
"""


def test_two_processes_write_one_cache_without_loss(file):
    command = [sys.executable, "-c", WRITER, str(file)]
    writers = [subprocess.Popen([*command, name, "0.5"], stdout=subprocess.PIPE, text=True) for name in "ab"]
    counts = {name: int(writer.communicate(timeout=100)[0]) for name, writer in zip("ab", writers, strict=True)}
    cache = CacheFile(file)
    for name, count in counts.items():
        assert count > 10
        for i in range(count):
            assert cache.get(f"{name}-{i}").text == f"text of {name}-{i}"
    [(*_, replies, prompt, completed, _, _)] = cache.stats()
    assert (replies, prompt, completed) == (sum(counts.values()), sum(counts.values()), 2 * sum(counts.values()))


async def test_a_locked_cache_holds_up_no_route_and_nothing_is_lost(endpoint, file):
    """As while another process prunes it."""
    CacheFile(file).stats()  # makes it
    config = RoutingConfig(cache="readwrite", cache_file=str(file))
    async with endpoint(always(completion("yes", USAGE))) as server:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            service = RouteService(pool_at(server.base_url), config=config)
            async with asyncio.timeout(20):
                routes = [await service.route("Small-1B", query) for query in ("a?", "b?", "a?")]
            other.execute("ROLLBACK")
        await service.aclose()
    assert [(route.reply, route.cached) for route in routes] == [("yes", False), ("yes", False), ("yes", True)]
    assert len(server.requests) == 2
    assert sum(row[2] for row in CacheFile(file).stats()) == 2


# ---------------------------------------------------------------- the command


@pytest.fixture
def filled(file):
    cache = CacheFile(file)
    for i in range(6):
        model = "old-model" if i < 2 else "new-model"
        cache.put(Entry(f"k{i}", "http://h/v1", model, f"question {i}?", Reply(f"answer {i}", 10, 3, False)))
    cache.close()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE replies SET created = created - 40 * 86400 WHERE model = 'old-model'")
    return file


def run(*words) -> int:
    return main(["cache", *map(str, words)])


def test_stats_counts_replies_and_tokens_by_model(filled, capsys):
    assert run("stats", "--file", filled) == 0
    shown = capsys.readouterr().out
    cells = shown.split("new-model")[1].replace("│", " ").split()
    assert cells[:3] == ["4", "40", "12"]


def test_a_file_from_elsewhere_shows_its_names_as_text(file, capsys):
    cache = CacheFile(file)
    cache.put(Entry("k", "http://h/v1", "[red]model\x1b[2J", "?", Reply("!", 10, 3, False)))
    cache.close()
    assert run("stats", "--file", file) == 0
    shown = capsys.readouterr().out
    assert "[red]model" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("which", "left"), [(["--older-than", 30], 4), (["--model", "new-model"], 2), (["--all"], 0), (["--model", "x"], 6)]
)
def test_prune_deletes_what_is_named(filled, which, left):
    assert run("prune", "--file", filled, *which) == 0
    assert sum(row[2] for row in CacheFile(filled).stats()) == left


def test_prune_without_a_choice_deletes_nothing(filled, capsys):
    assert run("prune", "--file", filled) == 2
    assert "--older-than" in capsys.readouterr().err
    assert sum(row[2] for row in CacheFile(filled).stats()) == 6


def test_export_writes_a_line_per_reply(filled, tmp_path):
    assert run("export", "--file", filled, "--out", tmp_path / "out.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {(line["query"], line["text"]) for line in lines} == {(f"question {i}?", f"answer {i}") for i in range(6)}


def test_a_cache_that_is_not_there_is_told_and_not_made(tmp_path, capsys):
    assert run("stats", "--file", tmp_path / "none.sqlite") == 2
    assert "nothing was cached" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
