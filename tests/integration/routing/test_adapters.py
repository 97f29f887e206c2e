"""Candidates whose API is not OpenAI's: an adapter words and reads, and what it does wrong costs its route."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, load_pool
from router_r1.protocol import Route
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.cache import cache_key
from router_r1.routing.preflight import preflight
from router_r1.routing.requests import request_identity
from tests.integration.routing.conftest import RESET, always, completion, pool_at, response

KEY, SECRET = "ROUTER_R1_TEST_KEY", "made-up-Qm9ndXNLZXlGb3JUZXN0cw"
QUICK = RetryPolicy(max_attempts=3, backoff_s=0.005, backoff_max_s=0.01)

ADAPTER = '''
from router_r1.routing.adapters import Completion


class Letters:
    """An API that knows letters and stamps."""

    path = "/letters/{model}?v=2"

    def headers(self, key):
        return {"x-stamp": key} if key else {}

    def body(self, candidate, endpoint, messages):
        return {"letter": messages[-1]["content"], "most": candidate.max_tokens, **candidate.extra_body}

    def read(self, answer):
        if "letter" not in answer:
            raise ValueError("no letter")
        return Completion(answer["letter"], answer.get("in"), answer.get("out"))
'''

LETTER = response(200, {"letter": "Jane Austen", "in": 10, "out": 7})


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        file = tmp_path / "letters.py"
        file.write_text(text)
        return file

    return _write


@pytest.fixture
def adapter(write) -> str:
    """A sound adapter, as a pool file names it."""
    return f"{write(ADAPTER)}:Letters"


async def ask(base_url: str, query: str = "Who wrote Emma?", **settings) -> Route:
    async with RouteService(pool_at(base_url, **settings), config=RoutingConfig(retries=QUICK)) as service:
        return await service.route("Small-1B", query)


# ---------------------------------------------------------------- what is sent and read


@pytest.fixture(params=["a file", "a dotted path"])
def written(request, adapter, tmp_path, monkeypatch) -> str:
    if request.param == "a file":
        return adapter
    (tmp_path / "my_dotted_adapters.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    return "my_dotted_adapters:Letters"


async def test_an_adapter_named_by_a_pool_file_words_the_request_and_reads_the_reply(
    endpoint, tmp_path, monkeypatch, written
):
    monkeypatch.setenv(KEY, SECRET)
    async with endpoint(always(LETTER)) as server:
        file = tmp_path / "pool.yaml"
        file.write_text(
            f"name: p\ndefaults: {{base_url: {server.base_url}, adapter: '{written}', api_key_env: {KEY}}}\n"
            "candidates:\n"
            "  - {name: Small-1B, model: org/a b, price: {input: 0.5, output: 2}, descriptor: d, "
            "extra_headers: {X-Title: router}, extra_body: {ink: blue}}\n"
        )
        async with RouteService(load_pool(file)) as service:
            route = await service.route("Small-1B", "Who wrote Emma?")
    assert (route.reply, route.prompt_tokens, route.completion_tokens, route.attempts) == ("Jane Austen", 10, 7, 1)
    assert (route.raw_cost, route.spend_usd) == (14.0, pytest.approx((10 * 0.5 + 7 * 2.0) / 1e6))
    assert not route.usage_estimated
    [request] = server.requests
    assert request.path == "/v1/letters/org%2Fa%20b?v=2"
    assert request.body == {"letter": "Who wrote Emma?", "most": 512, "ink": "blue"}
    assert (request.headers["x-stamp"], request.headers["x-title"]) == (SECRET, "router")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


async def test_a_file_named_relative_to_the_current_folder_is_found_from_another_one(
    endpoint, adapter, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with endpoint(always(LETTER)) as server:
        pool = pool_at(server.base_url, adapter="letters.py:Letters")
        monkeypatch.chdir("elsewhere")
        async with RouteService(pool) as service:
            assert (await service.route("Small-1B", "?")).reply == "Jane Austen"


async def test_without_one_the_request_is_that_of_the_openai_api_as_before_to_the_byte(endpoint, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    async with endpoint(always(completion("yes"))) as server:
        await ask(
            server.base_url, api_key_env=KEY, extra_headers={"X-A": "b", "User-Agent": "me"}, extra_body={"seed": 1}
        )
        host = server.base_url.removeprefix("http://").removesuffix("/v1")
    body = (
        '{"model": "org/small-1b", "messages": [{"role": "user", "content": "Who wrote Emma?"}], '
        '"temperature": 0.0, "max_tokens": 512, "seed": 1}'
    )
    head, sent = server.raw[0].decode().split("\r\n\r\n")
    assert sent == body
    assert [line for line in head.split("\r\n") if not line.startswith("Accept")] == [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {host}",
        "content-type: application/json",
        "User-Agent: me",
        f"authorization: Bearer {SECRET}",
        "X-A: b",
        f"Content-Length: {len(body)}",
    ]


async def test_a_header_of_the_pool_file_replaces_the_adapters_whatever_its_case(endpoint, write):
    text = ADAPTER.replace('{"x-stamp": key} if key else {}', '{"X-Version": "1"}')
    async with endpoint(always(LETTER)) as server:
        await ask(server.base_url, adapter=f"{write(text)}:Letters", extra_headers={"x-version": "2"})
    assert server.requests[0].headers["x-version"] == "2"
    assert server.raw[0].lower().count(b"x-version") == 1


async def test_an_adapter_may_be_a_ready_object_and_leave_out_its_path(endpoint, write):
    text = ADAPTER.replace('    path = "/letters/{model}?v=2"\n', "") + "\n\nletters = Letters()\n"
    async with endpoint(always(LETTER)) as server:
        assert (await ask(server.base_url, adapter=f"{write(text)}:letters")).reply == "Jane Austen"
    assert server.requests[0].path == "/v1/chat/completions"


async def test_candidates_with_different_adapters_share_the_connections_of_their_endpoint(endpoint, adapter):
    async def behave(number, request):
        return LETTER if "letter" in request.body else completion("yes")

    async with endpoint(behave) as server:
        [one], [other] = (
            pool_at(server.base_url, "A", adapter=adapter).candidates,
            pool_at(server.base_url, "B").candidates,
        )
        async with RouteService(RoutingPool(name="both", candidates=(one, other))) as service:
            routes = [await service.route(name, "?") for name in "ABA"]
    assert [route.reply for route in routes] == ["Jane Austen", "yes", "Jane Austen"]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("counts", "prompt", "completed"),
    [
        ({}, 4, 3),
        ({"in": 40}, 40, 3),
        ({"in": -1, "out": 7}, 4, 3),
        ({"in": "many", "out": None}, 4, 3),
        ({"in": [], "out": 7}, 4, 3),
    ],
)
async def test_tokens_that_are_missing_or_make_no_sense_are_estimated(endpoint, adapter, counts, prompt, completed):
    async with endpoint(always(response(200, {"letter": "Jane Austen", **counts}))) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert (route.reply, route.usage_estimated) == ("Jane Austen", True)
    assert (route.prompt_tokens, route.completion_tokens) == (prompt, completed)


async def test_reasoning_is_cut_from_the_reply_of_any_adapter(endpoint, adapter):
    async with endpoint(always(response(200, {"letter": "<think> hm </think> Paris", "in": 1, "out": 9}))) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert (route.reply, route.completion_tokens) == ("Paris", 9)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (response(200, {"nothing": 1}), "malformed reply: no letter"),
        (response(200, ["letter"]), "malformed reply: the adapter's read() failed: TypeError"),
        (response(200, 7), "malformed reply: the adapter's read() failed: TypeError"),
        (response(200, {"letter": ["yes"]}), "malformed reply: the adapter's read() gave a text that is no string"),
        (response(200, {"letter": " \n"}), "malformed reply: no text"),
        (response(200, b"<html>"), "malformed reply: no JSON"),
    ],
)
async def test_a_malformed_reply_is_tried_again_and_told(endpoint, adapter, answer, told):
    async with endpoint(always(answer, LETTER)) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert (route.reply, route.attempts) == ("Jane Austen", 2)
    async with endpoint(always(answer)) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert (route.failed, route.attempts, len(server.requests)) == (True, 3, 3)
    assert told in route.error
    assert "\n" not in route.error


async def test_an_empty_reply_that_was_charged_is_spent_money(endpoint, adapter):
    async with endpoint(always(response(200, {"letter": "", "in": 10, "out": 7}))) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert route.failed
    assert route.spend_usd == pytest.approx(3 * (10 * 0.5 + 7 * 2.0) / 1e6)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_statuses_retries_and_resets_are_those_of_every_candidate(endpoint, adapter, status):
    async with endpoint(always(response(status, {}), RESET, LETTER)) as server:
        route = await ask(server.base_url, adapter=adapter)
    assert (route.failed, route.attempts) == ((True, 1) if status in (401, 404) else (False, 3))


FAULTS = {
    "read": 'raise KeyError(f"bad {self.key}")',
    "read, ValueError": 'raise ValueError(f"bad {self.key}")',
    "read, exit": "raise SystemExit(self.key)",
    "read, nothing": "return None",
    "body": 'raise KeyError(f"bad {self.key}")',
    "body, ValueError": "raise ValueError(self.key[:12], self.key[-9:])",
    "body, recursion": "return self.body(candidate, endpoint, messages)",
    "body, no JSON": "return {'key': {self.key}}",
    "body, a list": "return [self.key]",
    "headers": 'raise RuntimeError(f"bad {key}")',
    "headers, broken": 'return {"x-stamp": key + "\\r\\nx: y"}',
    "headers, wrong name": 'return {f"x {key}": "y"}',
    "headers, no text": 'return {"x-stamp": [key]}',
    "headers, nothing": "return key",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_an_adapter_raises_costs_its_route_and_shows_no_key(
    endpoint, write, monkeypatch, caplog, tmp_path, fault
):
    method, _, _ = fault.partition(",")
    keeping = 'vars(self).setdefault("key", key)\n        return {"x-stamp"'
    lines = ADAPTER.replace('return {"x-stamp"', keeping).split("\n")
    at = next(i for i, line in enumerate(lines) if f"def {method}(" in line)
    lines.insert(at + 1, f"        {FAULTS[fault]}")
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    breaker = BreakerPolicy(least=3, patience_s=0.0)  # the second route is told what ailed the first
    config = RoutingConfig(retries=QUICK, breaker=breaker, trace_file=str(tmp_path / "t.jsonl"))
    async with endpoint(always(LETTER)) as server:
        broken = pool_at(server.base_url, "Broken", adapter=f"{write(chr(10).join(lines))}:Letters", api_key_env=KEY)
        pool = RoutingPool(name="p", candidates=(*broken.candidates, *pool_at(server.base_url, "Sound").candidates))
        async with RouteService(pool, config=config) as service:
            route = await service.route("Broken", "Who?")
            later = await service.route("Broken", "Who?")
            account = service.ledger.accounts["Broken"]
            shown = [repr(service), repr(vars(service)), repr(route), repr(later), caplog.text]
            shown.append((tmp_path / "t.jsonl").read_text())
    assert route.failed
    assert route.error.startswith("Broken at 127.0.0.1:")
    assert "\n" not in route.error
    sent = len(server.requests)
    assert (route.attempts, sent) == ((3, 3) if method == "read" else (1, 0))
    assert (account.requests, account.failed) == (sent, 2)
    assert later.error.endswith(route.error)
    assert ("unavailable" in later.error) == (method == "read")
    for text in shown:
        assert not any(SECRET[i : i + 8] in text for i in range(len(SECRET) - 7))


async def test_a_key_in_another_form_is_starred_out_of_what_the_endpoint_says_too(endpoint, write, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    text = "import base64\n" + ADAPTER.replace(
        '{"x-stamp": key}', '{"x-stamp": base64.b64encode(key.encode()).decode()}'
    )

    async def behave(number, request):
        return response(400, {"message": f"bad stamp {request.headers['x-stamp']}"})

    async with endpoint(behave) as server:
        route = await ask(server.base_url, adapter=f"{write(text)}:Letters", api_key_env=KEY)
    assert "bad stamp ***" in route.error
    assert base64.b64encode(SECRET.encode()).decode()[:8] not in route.error


# ---------------------------------------------------------------- told before anything is asked


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("Letter", "", "", "has no Letter; it has Letters"),
        ("Letters", "def read", "def reed", "must have a method read: def read(self, answer)"),
        (
            "Letters",
            "candidate, endpoint, messages):",
            "messages):",
            "must be def body(self, candidate, endpoint, messages)",
        ),
        ("Letters", "def read", "async def read", "must not be asynchronous: def read(self, answer)"),
        ("Letters", '"/letters/{model}?v=2"', '"letters"', "path = 'letters' must be text that begins with /"),
        ("Letters", "    path =", "    def __init__(self, city): ...\n    path =", "cannot be made: TypeError"),
        ("Letters", "class Letters", "def broken(:\nclass Letters", "cannot be imported: SyntaxError"),
        ("Completion", "", "", "cannot be made: TypeError"),
    ],
)
async def test_an_adapter_that_cannot_be_used_is_told_when_the_service_is_made(write, name, old, new, told):
    written = f"{write(ADAPTER.replace(old, new, 1))}:{name}"
    good = pool_at("http://127.0.0.1:9/v1", "Good").candidates
    bad = pool_at("http://127.0.0.1:9/v1", "Bad", adapter=written).candidates
    pool = RoutingPool(name="p", candidates=(*good, *bad), source="pool.yaml")
    with pytest.raises(ConfigError) as fault:
        RouteService(pool, config=RoutingConfig(metrics_port=0))
    assert str(fault.value).startswith("pool.yaml: candidates[1].adapter = ")
    assert told in fault.value.remedy
    with pytest.raises(ConfigError, match=r"candidates\[1\]\.adapter"):
        await preflight(pool)


def test_a_name_that_is_no_adapter_is_told_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"candidates\[0\]\.adapter = 'anthropic': is none of openai, retriever; name one, or"
    ):
        RouteService(pool_at("http://127.0.0.1:9/v1", adapter="anthropic"))


async def test_the_preflight_asks_as_the_adapter_words_it_and_tells_what_it_raises(endpoint, adapter, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(ADAPTER.replace("messages[-1]", "messages[7]"))
    async with endpoint(always(LETTER)) as server:
        await preflight(pool_at(server.base_url, adapter=adapter))
        assert server.requests[0].body == {"letter": "Say yes.", "most": 8}
        with pytest.raises(ConfigError, match=r"candidates\[0\]: .*body\(\) failed: IndexError"):
            await preflight(pool_at(server.base_url, adapter=f"{broken}:Letters"))


# ---------------------------------------------------------------- messages and the cache


async def test_the_messages_of_the_pool_file_are_sent_and_counted(endpoint):
    async with endpoint(always(completion("yes"))) as server:
        route = await ask(server.base_url, "Who?", message="Answer: {query}", system="You are {name}.")
    assert server.requests[0].body["messages"] == [
        {"role": "system", "content": "You are Small-1B."},
        {"role": "user", "content": "Answer: Who?"},
    ]
    assert route.query == "Who?"
    assert route.prompt_tokens == 8  # 17 + 12 characters / 4, rounded up


@pytest.mark.parametrize(
    "change",
    [{"message": "{query} "}, {"system": "Be brief."}, {"adapter": "router_r1.routing.adapters:OpenAIAdapter"}],
)
async def test_adapter_and_messages_are_part_of_a_cached_replys_identity(endpoint, tmp_path, change):
    config = RoutingConfig(cache="readwrite", cache_file=str(tmp_path / "c.sqlite"))
    async with endpoint(always(completion("yes"))) as server:
        for settings in ({}, change, {}, change):
            async with RouteService(pool_at(server.base_url, **settings), config=config) as service:
                await service.route("Small-1B", "?")
    assert len(server.requests) == 2


def test_replies_that_were_kept_before_there_were_adapters_are_found_again():
    [candidate] = pool_at("http://127.0.0.1:9/v1").candidates
    key = cache_key(request_identity(candidate, candidate.messages("Who wrote Emma?")))
    assert key == "7463cda6d4d3b80f620f73823c7e124df3ff4b233d3557c140c316e230255ceb"
