"""Out of order: circuit breaker, fail-over between endpoints, adaptive limit; all over real sockets."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from router_r1.pool import Candidate, Endpoint, EndpointLimits, Price, RoutingPool
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from tests.integration.routing.conftest import RESET, Held, always, completion, pool_at, response

USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
GOOD = completion("yes", USAGE)
ONE_ATTEMPT = RetryPolicy(max_attempts=1)
QUICK = RetryPolicy(backoff_s=0.005, backoff_max_s=0.01)


def pool_with(*endpoints: Endpoint, **settings) -> RoutingPool:
    values = {"timeout_s": 5.0, "price": Price(input=0.5, output=2.0), "descriptor": "d", "model": "small"} | settings
    return RoutingPool(
        name="test",
        candidates=(Candidate(name="Small-1B", base_url=endpoints[0].base_url, endpoints=endpoints, **values),),
    )


# ---------------------------------------------------------------- circuit breaker


async def test_a_candidate_that_keeps_failing_is_left_alone_and_the_policy_is_told_so(endpoint):
    config = RoutingConfig(retries=ONE_ATTEMPT, breaker=BreakerPolicy(cooldown_s=60.0, patience_s=0.0))
    async with (
        endpoint(always(response(500, {}))) as server,
        RouteService(pool_at(server.base_url), config=config) as s,
    ):
        routes = [await s.route("Small-1B", f"{i}?") for i in range(30)]
    assert len(server.requests) == 10  # as many as the breaker wants to see
    assert all(route.failed for route in routes)
    assert [route.attempts for route in routes[10:]] == [0] * 20
    assert routes[-1].error.startswith(
        "Small-1B is unavailable: it has kept failing, lately so: Small-1B at 127.0.0.1:"
    )
    assert s.ledger.accounts["Small-1B"].failed_share == 1.0


async def test_a_short_outage_is_waited_out_with_one_trial_request_at_a_time(endpoint):
    repaired, tried = asyncio.Event(), asyncio.Event()

    async def behave(number, request):
        if number == 25:
            tried.set()
        return GOOD if repaired.is_set() else response(503, {})

    config = RoutingConfig(
        retries=RetryPolicy(max_attempts=12, backoff_s=0.005, backoff_max_s=0.01),
        breaker=BreakerPolicy(cooldown_s=0.05, cooldown_max_s=0.1),
    )
    async with endpoint(behave) as server, RouteService(pool_at(server.base_url), config=config) as service:
        routes = [asyncio.create_task(service.route("Small-1B", f"{i}?")) for i in range(20)]
        await asyncio.wait_for(tried.wait(), 20)
        before = len(server.requests)
        repaired.set()
        done = await asyncio.gather(*routes)
    assert not any(route.failed for route in done)
    assert len(server.requests) - before <= 20 + 1  # nothing was stormed: one more per route, and the trial


async def test_an_overloaded_endpoint_and_a_refused_query_do_not_open_the_breaker(endpoint):
    config = RoutingConfig(retries=ONE_ATTEMPT)
    for status in (429, 400, 422):
        async with (
            endpoint(always(*[response(status, {})] * 30, GOOD)) as server,
            RouteService(pool_at(server.base_url), config=config) as service,
        ):
            routes = [await service.route("Small-1B", f"{i}?") for i in range(31)]
        assert routes[-1].reply == "yes", status


async def test_one_sick_candidate_says_nothing_about_another_at_the_same_endpoint(endpoint):
    async def behave(number, request):
        return response(500, {}) if request.body["model"] == "org/sick" else GOOD

    config = RoutingConfig(retries=ONE_ATTEMPT, breaker=BreakerPolicy(patience_s=0.0))
    async with endpoint(behave) as server, RouteService(pool_at(server.base_url, "Sick", "Well"), config=config) as s:
        for i in range(20):
            await s.route("Sick", f"{i}?")
        assert (await s.route("Well", "?")).reply == "yes"


# ---------------------------------------------------------------- several endpoints


async def test_requests_are_spread_over_endpoints_by_weight(endpoint):
    behave = always(GOOD)
    async with endpoint(behave) as a, endpoint(behave) as b:
        pool = pool_with(Endpoint(base_url=a.base_url, weight=3.0), Endpoint(base_url=b.base_url, model="other-id"))
        async with RouteService(pool) as service:
            for i in range(40):
                await service.route("Small-1B", f"{i}?")
    assert (len(a.requests), len(b.requests)) == (30, 10)
    assert {r.body["model"] for r in a.requests} == {"small"}
    assert {r.body["model"] for r in b.requests} == {"other-id"}


@pytest.mark.parametrize("fault", [response(500, {}), response(401, {}), response(404, {}), RESET])
async def test_a_route_that_fails_at_one_endpoint_is_answered_by_the_other(endpoint, fault):
    async with endpoint(always(fault)) as bad, endpoint(always(GOOD)) as good:
        pool = pool_with(Endpoint(base_url=bad.base_url, weight=9.0), Endpoint(base_url=good.base_url))
        async with RouteService(pool, config=RoutingConfig(retries=QUICK)) as service:
            routes = [await service.route("Small-1B", f"{i}?") for i in range(30)]
    assert all(route.reply == "yes" and route.attempts <= 2 for route in routes)


async def test_where_every_endpoint_refuses_the_key_there_is_one_request_to_each(endpoint):
    async with endpoint(always(response(401, {}))) as a, endpoint(always(response(403, {}))) as b:
        pool = pool_with(Endpoint(base_url=a.base_url), Endpoint(base_url=b.base_url))
        async with RouteService(pool, config=RoutingConfig(retries=QUICK)) as service:
            route = await service.route("Small-1B", "?")
    assert route.failed
    assert (len(a.requests), len(b.requests)) == (1, 1)


async def test_candidates_of_one_endpoint_share_its_limit(endpoint):
    held = Held(3, GOOD)
    async with endpoint(held) as server, endpoint(always(GOOD)) as elsewhere:
        candidates = *pool_at(server.base_url, "A", "B").candidates, *pool_at(elsewhere.base_url, "Other").candidates
        limits = EndpointLimits(base_url=server.base_url, max_concurrency=3)
        pool = RoutingPool(name="test", candidates=candidates, endpoint_limits=(limits,))
        async with RouteService(pool) as service:
            routes = [asyncio.create_task(service.route(name, f"{i}?")) for name in "AB" for i in range(10)]
            await held.full.wait()
            await service.route("Other", "?")  # by its reply a fourth would have been sent too, were one let through
            assert len(server.requests) == 3
            held.release.set()
            await asyncio.gather(*routes)
    assert (len(server.requests), server.most_in_flight) == (20, 3)


async def test_extra_headers_and_body_fields_are_sent(endpoint):
    settings = {"extra_headers": {"X-Title": "router"}, "extra_body": {"reasoning_effort": "low", "top_p": 0.9}}
    async with endpoint(always(GOOD)) as server, RouteService(pool_at(server.base_url, **settings)) as service:
        await service.route("Small-1B", "?")
    [request] = server.requests
    assert request.headers["x-title"] == "router"
    assert (request.body["reasoning_effort"], request.body["top_p"]) == ("low", 0.9)


# ---------------------------------------------------------------- 429


async def test_an_endpoint_that_keeps_answering_429_is_asked_less_until_it_does_not(endpoint):
    async def behave(number, request):
        if server.in_flight > 4:
            return response(429, {}, retry_after="0.02")
        await asyncio.sleep(0.01)  # what it takes to answer: only requests that overlap are too many
        return GOOD

    config = RoutingConfig(retries=RetryPolicy(max_attempts=50, backoff_s=0.02, backoff_max_s=0.1))
    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, max_concurrency=64), config=config) as s,
    ):
        routes = await asyncio.gather(*(s.route("Small-1B", f"{i}?") for i in range(300)))
    assert not any(route.failed for route in routes)
    attempts = Counter(request.query for request in server.requests)
    assert len(server.requests) < 2 * 300, attempts.most_common(3)
