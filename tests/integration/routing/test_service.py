"""The route service against real sockets: replies, accounting, limits, clients."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool
from router_r1.protocol import Route
from router_r1.routing import RetryPolicy, RouteService, RoutingConfig
from tests.integration.routing.conftest import Held, always, completion, pool_at, response

KEY = "ROUTER_R1_TEST_KEY"
QUICK = RetryPolicy(backoff_s=0.005, backoff_max_s=0.01)
USAGE = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


async def ask(base_url: str, query: str = "Who?", policy: RetryPolicy = QUICK, **settings) -> Route:
    async with RouteService(pool_at(base_url, **settings), config=RoutingConfig(retries=policy)) as service:
        return await service.route("Small-1B", query)


async def test_a_reply_comes_back_with_its_tokens_cost_and_spend(endpoint):
    async with endpoint(always(completion("Jane Austen", USAGE))) as server:
        route = await ask(server.base_url, "Who wrote Emma?", temperature=0.3, max_tokens=99)
    assert 0 < route.latency_s < 5
    assert route == Route(
        candidate="Small-1B",
        query="Who wrote Emma?",
        reply="Jane Austen",
        prompt_tokens=10,
        completion_tokens=7,
        raw_cost=14.0,
        spend_usd=pytest.approx((10 * 0.5 + 7 * 2.0) / 1e6),
        latency_s=route.latency_s,
    )
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": "org/small-1b",
        "messages": [{"role": "user", "content": "Who wrote Emma?"}],
        "temperature": 0.3,
        "max_tokens": 99,
    }


@pytest.mark.parametrize(
    "query", ["What does 3:1 mean at 12:30?", "{braces} 100 % \\n", "東京はどこ?\nnew line", "\ud800?"]
)
async def test_a_query_arrives_whole(endpoint, query):
    """Nothing in a sub-query, neither quotes nor braces nor line breaks, is lost on its way to the candidate."""
    async with endpoint(always(completion("yes", USAGE))) as server:
        route = await ask(server.base_url, query)
    assert not route.failed
    assert server.requests[0].query == query.replace("\ud800", "?")


@pytest.mark.parametrize("said", ["<think> hm </think>\n Paris", "hm </think> Paris", "<think></think>Paris", "Paris"])
async def test_reasoning_is_not_passed_on_but_paid(endpoint, said):
    async with endpoint(always(completion(said, USAGE))) as server:
        route = await ask(server.base_url)
    assert (route.reply, route.completion_tokens) == ("Paris", 7)


async def test_reasoning_is_passed_on_where_the_pool_file_asks_for_it(endpoint):
    message = {"content": "Paris", "reasoning_content": "hm"}
    responses = completion("<think> hm </think>\n Paris", USAGE), response(200, {"choices": [{"message": message}]})
    async with endpoint(always(*responses)) as server:
        said = [(await ask(server.base_url, keep_reasoning=True)).reply for _ in responses]
    assert said == ["<think> hm </think>\n Paris", "<think>hm</think>\nParis"]


async def test_reasoning_that_fills_max_tokens_is_a_fault_that_another_try_cannot_mend(endpoint):
    async with endpoint(always(completion("<think> hm, let me see", USAGE))) as server:
        route = await ask(server.base_url)
    assert (route.failed, len(server.requests)) == (True, 1)
    assert "raise max_tokens" in route.error
    assert route.spend_usd == pytest.approx((10 * 0.5 + 7 * 2.0) / 1e6)


@pytest.mark.parametrize(
    ("usage", "prompt", "completed"),
    [
        (None, 3, 2),
        ({}, 3, 2),
        ("much", 3, 2),
        ({"prompt_tokens": -4, "completion_tokens": 7}, 3, 2),
        ({"prompt_tokens": 40}, 40, 2),
        ({"completion_tokens": 0}, 3, 2),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 3, 2),
    ],
)
async def test_without_usage_the_reply_is_kept_and_its_tokens_are_estimated(endpoint, usage, prompt, completed):
    """A reply that has come is not lost for want of a count: what it cost is estimated, and marked so."""
    async with endpoint(always(completion("Austen", usage))) as server:
        route = await ask(server.base_url, "Who? When?")
    assert (route.reply, route.failed, route.usage_estimated) == ("Austen", False, True)
    assert (route.prompt_tokens, route.completion_tokens) == (prompt, completed)
    assert route.spend_usd == pytest.approx((prompt * 0.5 + completed * 2.0) / 1e6)


async def test_half_of_a_surrogate_pair_spoils_no_reply(endpoint):
    async with (
        endpoint(always(completion("yes \ud83d", USAGE))) as server,
        RouteService(pool_at(server.base_url)) as service,
    ):
        route = await service.route("Small-1B", "Who?")
    assert (route.reply, route.attempts) == ("yes \ud83d", 1)


async def test_a_usage_key_that_is_absent_counts_as_none(endpoint):
    body = {"choices": [{"message": {"content": "Austen"}}]}
    async with endpoint(always(response(200, body))) as server:
        assert (await ask(server.base_url)).usage_estimated


async def test_no_more_routes_are_in_flight_than_the_candidate_allows(endpoint):
    held = Held(3, completion("yes", USAGE))
    async with endpoint(held) as server, endpoint(always(completion("yes", USAGE))) as elsewhere:
        [limited] = pool_at(server.base_url, max_concurrency=3).candidates
        pool = RoutingPool(name="both", candidates=(limited, *pool_at(elsewhere.base_url, "Other").candidates))
        async with RouteService(pool) as service:
            routes = [asyncio.create_task(service.route("Small-1B", f"{i}?")) for i in range(12)]
            await held.full.wait()
            await service.route("Other", "?")  # by its reply a fourth would have been sent too, were one let through
            assert len(server.requests) == 3
            held.release.set()
            done = await asyncio.gather(*routes)
    assert not any(route.failed for route in done)
    assert server.most_in_flight == 3


async def test_candidates_do_not_wait_for_each_others_slots(endpoint):
    release = asyncio.Event()

    async def behave(number, request):
        if request.body["model"] == "org/slow":
            await release.wait()
        return completion("yes", USAGE)

    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, "Slow", "Fast", max_concurrency=1)) as service,
    ):
        slow = asyncio.create_task(service.route("Slow", "?"))
        assert not (await service.route("Fast", "?")).failed
        assert not slow.done()
        release.set()
        assert not (await slow).failed


async def test_fifty_routes_in_flight_advance_independently(endpoint):
    gates = {f"{i}?": asyncio.Event() for i in range(50)}
    arrived = asyncio.Event()

    async def behave(number, request):
        if server.in_flight == 50:
            arrived.set()
        await gates[request.query].wait()
        return completion(f"reply to {request.query}", USAGE)

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url, max_concurrency=50)) as service:
        routes = {query: asyncio.create_task(service.route("Small-1B", query)) for query in gates}
        await asyncio.wait_for(arrived.wait(), 10)
        for query in reversed(gates):  # the last sent is the first to be answered
            gates[query].set()
            assert (await routes[query]).reply == f"reply to {query}"
            assert sum(route.done() for route in routes.values()) == sum(gate.is_set() for gate in gates.values())


async def test_no_trajectory_waits_for_anothers_turn(endpoint):
    """One trajectory's first route hangs until all the others have come to their end."""
    others_done = asyncio.Event()

    async def behave(number, request):
        if request.query == "0.0?":
            await others_done.wait()
        return completion("yes", USAGE)

    async def roll_out(service, number):
        for turn in range(4):
            await service.route("Small-1B", f"{number}.{turn}?")

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url, max_concurrency=10)) as service:
        first = asyncio.create_task(roll_out(service, 0))
        await asyncio.wait_for(asyncio.gather(*(roll_out(service, i) for i in range(1, 50))), 60)
        assert not first.done()
        others_done.set()
        await first


async def test_requests_are_spaced_by_the_rate_limit(endpoint):
    async with (
        endpoint(always(completion("yes", USAGE))) as server,
        RouteService(pool_at(server.base_url, rpm=600.0)) as service,
    ):
        await asyncio.gather(*(service.route("Small-1B", "?") for _ in range(4)))
    times = sorted(request.time for request in server.requests)
    assert times[-1] - times[0] >= 0.28


async def test_a_cancelled_route_gives_its_slot_back(endpoint):
    began = asyncio.Event()

    async def behave(number, request):
        if number == 0:
            began.set()
            await asyncio.Event().wait()
        return completion("yes", USAGE)

    async with endpoint(behave) as server, RouteService(pool_at(server.base_url, max_concurrency=1)) as service:
        hanging = asyncio.create_task(service.route("Small-1B", "?"))
        await began.wait()
        assert not service.is_idle
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert service.is_idle
        assert (await service.route("Small-1B", "?")).reply == "yes"


async def test_one_service_keeps_its_connection(endpoint):
    """A client of its own for every request would open, and leave open, a connection for each."""
    async with (
        endpoint(always(completion("yes", USAGE))) as server,
        RouteService(pool_at(server.base_url, "A", "B")) as service,
    ):
        for name in ("A", "B", "A"):
            await service.route(name, "?")
    assert (len(server.requests), server.connections) == (3, 1)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_that_to_the_next_request():
    """A server, or a proxy before it, that sends an answer once more over a connection that is kept for later."""
    sent_again = asyncio.Event()

    async def serve(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
                answer = completion(f"reply to {json.loads(body)['messages'][0]['content']}", USAGE)
                for again in (False, True):
                    writer.write(answer)
                    await writer.drain()
                    await asyncio.sleep(0.02)  # the client has read the first, and put the connection back
                    if again:
                        sent_again.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, RouteService(pool_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")) as service:
        for query in ("first?", "second?", "third?"):
            sent_again.clear()
            assert (await service.route("Small-1B", query)).reply == f"reply to {query}"
            await sent_again.wait()


@pytest.mark.slow  # for the seconds it has to let pass
async def test_an_idle_connection_is_given_up_before_uvicorn_does_it_after_five_seconds(endpoint):
    async with endpoint(always(completion("yes", USAGE))) as server, RouteService(pool_at(server.base_url)) as service:
        await service.route("Small-1B", "?")
        await asyncio.wait_for(server.connection_ended.wait(), 5)
        await service.route("Small-1B", "!")
    assert (len(server.requests), server.connections) == (2, 2)


async def test_two_services_share_neither_address_nor_key(endpoint, monkeypatch):
    """Address and key belong to a service: no global client, and no variable of the environment, is shared."""
    behave = always(completion("yes", USAGE))
    async with endpoint(behave) as first, endpoint(behave) as second:
        services = []
        for server, key in ((first, "key-of-the-first"), (second, "key-of-the-second"), (first, "key-changed-since")):
            monkeypatch.setenv(KEY, key)
            services.append(RouteService(pool_at(server.base_url, api_key_env=KEY)))
            await services[-1].route("Small-1B", "?")
        await asyncio.gather(*(service.aclose() for service in services))
    assert [r.headers["authorization"] for r in first.requests] == [
        "Bearer key-of-the-first",
        "Bearer key-changed-since",
    ]
    assert [r.headers["authorization"] for r in second.requests] == ["Bearer key-of-the-second"]


async def test_candidates_with_keys_of_their_own_are_asked_with_them(endpoint, monkeypatch):
    monkeypatch.setenv("FIRST_KEY", "key-one")
    monkeypatch.setenv("SECOND_KEY", "key-two")
    async with endpoint(always(completion("yes", USAGE))) as server:
        one, two = (
            pool_at(server.base_url, n, api_key_env=f"{n.upper()}_KEY").candidates[0] for n in ("First", "Second")
        )
        pool = RoutingPool(name="both", candidates=(one, two))
        async with RouteService(pool) as service:
            await asyncio.gather(service.route("First", "?"), service.route("Second", "?"))
    assert {r.body["model"]: r.headers["authorization"] for r in server.requests} == {
        "org/first": "Bearer key-one",
        "org/second": "Bearer key-two",
    }


async def test_an_endpoint_without_a_key_is_sent_nobody_elses(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-meant-for-another")
    async with endpoint(always(completion("yes", USAGE))) as server:
        assert not (await ask(server.base_url)).failed
    assert not any("meant-for-another" in value for value in server.requests[0].headers.values())


async def test_a_loopback_endpoint_is_reached_past_the_environments_proxy(endpoint, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with endpoint(always(completion("yes", USAGE))) as server:
        assert (await ask(server.base_url)).reply == "yes"


OUTSIDE = "router-r1.test"
"""A host that is none of this machine's loopback names, so that the environment's proxy is used for it."""


@pytest.fixture
def netrc(monkeypatch, tmp_path):
    """A password file of the user's, for hosts and proxies alike."""
    file = tmp_path / "netrc"
    file.write_text(f"machine {OUTSIDE} login me password open-sesame\ndefault login me password open-sesame\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", [None, "nvapi-verysecret"])
async def test_a_route_goes_by_the_environments_proxy_and_carries_no_password_of_netrc(
    endpoint, monkeypatch, netrc, key
):
    monkeypatch.setenv(KEY, key or "")
    async with endpoint(always(completion("yes", USAGE))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        pool = pool_at(f"http://{OUTSIDE}/v1", api_key_env=KEY if key else None)
        async with RouteService(pool) as service:
            assert (await service.route("Small-1B", "?")).reply == "yes"
    [request] = proxy.requests
    assert request.path == f"http://{OUTSIDE}/v1/chat/completions"
    assert request.headers.get("authorization") == (f"Bearer {key}" if key else None)
    assert b"sesame" not in proxy.raw[0]
    assert "proxy-authorization" not in request.headers


async def test_a_proxy_with_a_password_of_its_own_is_sent_that_one_alone(endpoint, monkeypatch, netrc):
    async with endpoint(always(completion("yes", USAGE))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1").replace("//", "//user:word@"))
        async with RouteService(pool_at(f"http://{OUTSIDE}/v1")) as service:
            assert (await service.route("Small-1B", "?")).reply == "yes"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    assert "authorization" not in proxy.requests[0].headers


async def test_a_key_that_is_unset_is_a_configuration_error(endpoint, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    async with RouteService(pool_at("http://127.0.0.1:9/v1", api_key_env=KEY)) as service:
        with pytest.raises(ConfigError, match=KEY):
            await service.route("Small-1B", "?")


async def test_a_part_of_a_name_reaches_nobody(endpoint):
    """Names match whole: mixtral-8x7b must not ask 8x22b."""
    async with endpoint(always(completion("yes", USAGE))) as server:
        pool = pool_at(server.base_url, "Mixtral-8x22B", "Qwen-7B")
        async with RouteService(pool) as service:
            for name in ("mixtral", "mixtral-8x7b", "qwen", "deepseek-r1-distill-qwen-7b"):
                assert pool.resolve(name) is None
                with pytest.raises(KeyError):
                    await service.route(name, "?")
    assert server.requests == []


async def test_a_candidate_outside_the_pool_is_a_key_error():
    async with RouteService(pool_at("http://127.0.0.1:9/v1")) as service:
        with pytest.raises(KeyError, match="Small-1B"):
            await service.route("small", "?")


async def test_a_closed_service_takes_no_routes(endpoint):
    async with endpoint(always(completion("yes", USAGE))) as server:
        service = RouteService(pool_at(server.base_url))
        await service.route("Small-1B", "?")
        await service.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await service.route("Small-1B", "?")


async def test_latency_holds_the_wait_for_a_slot(endpoint):
    held = Held(1, completion("yes", USAGE))

    async def behave(number, request):
        return await held(number, request) if request.body["model"] == "org/slow" else completion("yes", USAGE)

    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, "Slow", "Fast", max_concurrency=1)) as service,
    ):
        routes = [asyncio.create_task(service.route("Slow", f"{i}?")) for i in range(3)]
        await held.full.wait()
        began = time.monotonic()
        for i in range(50):  # 50 replies' time, in which the second and the third wait
            await service.route("Fast", f"{i}?")
        waited_s = time.monotonic() - began
        held.release.set()
        latencies_s = [route.latency_s for route in await asyncio.gather(*routes)]
    assert min(latencies_s) > waited_s


async def test_routes_in_flight_when_the_service_closes_fail_and_leave_nothing_open(endpoint, tmp_path):
    asked = asyncio.Event()

    async def behave(number, request):
        if number == 2:
            asked.set()
        await asyncio.Event().wait()

    config = RoutingConfig(
        cache="readwrite", cache_file=str(tmp_path / "c.sqlite"), trace_file=str(tmp_path / "t.jsonl"), retries=QUICK
    )
    async with endpoint(behave) as server:
        service = RouteService(pool_at(server.base_url, max_concurrency=3), config=config)
        routes = [asyncio.create_task(service.route("Small-1B", f"{i}?")) for i in range(6)]
        await asked.wait()
        await service.aclose()
        done = await asyncio.wait_for(asyncio.gather(*routes), 30)
    assert all(route.failed for route in done)
    assert len(server.requests) == 3
