"""A route ends in time whatever it waits for: quota, refused key, another's pause. None waits for what cannot come."""

from __future__ import annotations

import asyncio
import time

import pytest

from router_r1.pool import Candidate, Endpoint, EndpointLimits, Price, RoutingPool
from router_r1.protocol import Route
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from tests.integration.routing.conftest import RESET, Held, always, completion, pool_at, response

GOOD = completion("yes", {"prompt_tokens": 10, "completion_tokens": 7})
LATER = response(429, {}, retry_after="30")
SHORT = RoutingConfig(
    retries=RetryPolicy(total_s=1.0, backoff_s=0.005, backoff_max_s=0.01),
    breaker=BreakerPolicy(cooldown_s=0.05, cooldown_max_s=0.05),
)
MARGIN_S = 1.0  # of a busy machine; what must not be waited for here is far longer
AT_ONCE_S = 10.0  # far below any pause or patience here, far above what a busy machine needs


async def ask_all(service: RouteService, name: str, count: int) -> list[Route]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*(service.route(name, f"{i}?") for i in range(count)))


def pool_of(*candidates: tuple[str, list[str]], **limits) -> RoutingPool:
    """Candidates by name, each with the addresses it is served at."""
    price = Price(input=0.5, output=2.0)
    return RoutingPool(
        name="test",
        candidates=tuple(
            Candidate(
                name=name,
                model=name.lower(),
                descriptor="d",
                price=price,
                base_url=urls[0],
                endpoints=tuple(Endpoint(base_url=url) for url in urls),
            )
            for name, urls in candidates
        ),
        **limits,
    )


# ---------------------------------------------------------------- a quota that is used up


async def test_every_route_ends_in_time_where_the_quota_is_used_up_and_later_ones_at_once(endpoint):
    """429 for ever, with a Retry-After that outlasts the routes' time."""
    async with (
        endpoint(always(LATER)) as server,
        RouteService(pool_at(server.base_url, timeout_s=0.5), config=SHORT) as service,
    ):
        routes = await ask_all(service, "Small-1B", 64)
        late = []
        for _ in range(5):  # through the times between two trials
            late.append(await service.route("Small-1B", "now?"))
            await asyncio.sleep(0.03)
        account = service.ledger.accounts["Small-1B"]
        assert service.is_idle
    assert all(route.failed and "HTTP 429" in route.error for route in routes)
    assert max(route.latency_s for route in routes) <= 1.0 + MARGIN_S
    for route in late:
        assert (route.failed, route.attempts) == (True, 0)
        assert route.error.startswith("Small-1B is unavailable")
        assert route.latency_s < 0.5
    assert (account.started, account.failed, account.finished) == (69, 69, 0)
    assert account.requests == len(server.requests)


async def test_a_quota_that_is_filled_up_again_is_noticed(endpoint):
    answers = {"now": response(429, {}, retry_after="0.2")}

    async def behave(number, request):
        return answers["now"]

    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, timeout_s=0.5), config=SHORT) as service,
    ):
        routes = await ask_all(service, "Small-1B", 64)
        assert all(route.failed for route in routes)
        answers["now"] = GOOD
        for _ in range(500):  # one of them is the trial
            if not (route := await service.route("Small-1B", "and now?")).failed:
                break
            await asyncio.sleep(0.02)
    assert route.reply == "yes"


async def test_waiting_for_ones_own_limits_costs_no_route_as_long_as_there_are_replies(endpoint):
    """Forty routes, one at a time, take more than twice as long as one route may."""

    async def behave(number, request):
        await asyncio.sleep(0.1)
        return GOOD

    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, timeout_s=1.5, max_concurrency=1), config=SHORT) as service,
    ):
        routes = await ask_all(service, "Small-1B", 40)
    assert not any(route.failed for route in routes)
    assert max(route.latency_s for route in routes) > 3.0


async def test_a_route_that_waits_behind_a_hanging_candidate_ends_in_time(endpoint):
    held = Held(1, GOOD)  # never released
    async with (
        endpoint(held) as server,
        RouteService(pool_at(server.base_url, timeout_s=1.0, max_concurrency=1), config=SHORT) as service,
    ):
        routes = await ask_all(service, "Small-1B", 5)
        assert service.is_idle
    assert all(route.failed for route in routes)
    assert max(route.latency_s for route in routes) <= 1.0 + MARGIN_S


@pytest.mark.parametrize("answer", [LATER, response(503, {}), RESET])
async def test_routes_that_wait_end_when_the_service_is_closed(endpoint, answer):
    """Some back off, others queue behind a pause or an open breaker."""
    config = RoutingConfig(retries=RetryPolicy(backoff_s=30, backoff_max_s=30))
    asked = asyncio.Event()

    async def behave(number, request):
        if number == 3:
            asked.set()
        return answer

    async with endpoint(behave) as server:
        service = RouteService(pool_at(server.base_url, max_concurrency=4), config=config)
        routes = [asyncio.create_task(service.route("Small-1B", f"{i}?")) for i in range(64)]
        async with asyncio.timeout(AT_ONCE_S):
            await asked.wait()
            await service.aclose()
            done = await asyncio.gather(*routes)
    assert all(route.failed for route in done)
    assert service.is_idle


# ---------------------------------------------------------------- a refused key or model


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_a_person_must_mend_fails_all_routes_at_once(endpoint, status):
    """No patience, as in an outage: waiting gives nobody a right key."""
    async with endpoint(always(response(status, {}))) as server, RouteService(pool_at(server.base_url)) as service:
        started = time.monotonic()
        routes = await ask_all(service, "Small-1B", 64)
        took = time.monotonic() - started
    assert all(route.failed and f"HTTP {status}" in route.error for route in routes)
    assert took < AT_ONCE_S


async def test_it_fails_routes_that_wait_for_a_rate_limit_too(endpoint):
    """At 60 a minute, those who wait for their turn already would fail one second after another."""
    behave = always(*[response(403, {})] * 2)
    config = RoutingConfig(breaker=BreakerPolicy(least=2))
    async with (
        endpoint(behave) as server,
        RouteService(pool_at(server.base_url, rpm=60, max_concurrency=64), config=config) as service,
    ):
        started = time.monotonic()
        routes = await ask_all(service, "Small-1B", 100)
        took = time.monotonic() - started
    assert all(route.failed for route in routes)
    assert took < AT_ONCE_S


# ---------------------------------------------------------------- another's pause


async def test_a_candidate_that_is_throttled_holds_no_place_of_the_endpoint_it_shares(endpoint):
    paused = asyncio.Event()

    async def behave(number, request):
        if number == 3:
            paused.set()  # as many 429s as it takes
        return LATER if request.body["model"] == "busy" else GOOD

    async with endpoint(behave) as server:
        limits = (EndpointLimits(base_url=server.base_url, max_concurrency=4),)
        pool = pool_of(("Busy", [server.base_url]), ("Healthy", [server.base_url]), endpoint_limits=limits)
        async with RouteService(pool) as service:
            busy = [asyncio.create_task(service.route("Busy", f"{i}?")) for i in range(40)]
            async with asyncio.timeout(AT_ONCE_S):
                await paused.wait()
                routes = await ask_all(service, "Healthy", 40)
            assert not any(task.done() for task in busy)
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            assert service.is_idle
    assert all(route.reply == "yes" for route in routes)


async def test_a_healthy_endpoint_serves_while_the_other_is_throttled(endpoint):
    async with endpoint(always(LATER)) as throttled, endpoint(always(GOOD)) as healthy:
        pool = pool_of(("Both", [throttled.base_url, healthy.base_url]))
        async with RouteService(pool) as service, asyncio.timeout(AT_ONCE_S):
            routes = await ask_all(service, "Both", 200)
    assert all(route.reply == "yes" for route in routes)
    assert len(healthy.requests) == 200
    assert len(throttled.requests) <= 32  # the first ones


async def test_a_route_that_is_throttled_at_one_endpoint_asks_the_other_without_waiting(endpoint):
    async with endpoint(always(LATER)) as throttled, endpoint(always(GOOD)) as healthy:
        pool = pool_of(("Both", [throttled.base_url, healthy.base_url]))
        async with RouteService(pool) as service:
            routes = [await service.route("Both", f"{i}?") for i in range(4)]
    assert [route.attempts for route in routes] == [2, 1, 2, 1]
    assert max(route.latency_s for route in routes) < AT_ONCE_S
