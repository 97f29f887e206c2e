"""Money: exact sums, the budget, and books that balance whatever happens."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.errors import BudgetSpent
from router_r1.pool import exact_usd, spend
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.ledger import Account, Ledger
from router_r1.routing.sharding import shard_candidates
from tests.integration.routing.conftest import RESET, Request, always, completion, pool_at, response

USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
ONE = Decimal("0.000019")  # (10 * 0.5 + 7 * 2.0) / 1e6
QUICK = RetryPolicy(max_attempts=3, backoff_s=0.001, backoff_max_s=0.002)


def test_the_sum_of_a_million_routes_is_exact():
    [candidate] = pool_at("http://h/v1", price={"input": 0.1, "output": 0.7}).candidates
    ledger = Ledger([candidate.name])
    for i in range(1_000_000):
        ledger.charge(candidate.name, spend(candidate, i % 1000, 3))
    prompt_tokens = 1000 * sum(range(1000))
    micro_usd = prompt_tokens * Decimal("0.1") + 3_000_000 * Decimal("0.7")
    assert ledger.spent_usd == ledger.accounts[candidate.name].spend_usd == micro_usd / 1_000_000


PRICES = st.decimals(min_value=0, max_value=1000, places=4).map(float)


@given(st.lists(st.tuples(PRICES, PRICES, st.integers(0, 100_000), st.integers(0, 100_000)), max_size=30))
def test_one_routes_float_is_the_exact_amount_again(routes):
    for price_in, price_out, prompt, completed in routes:
        [candidate] = pool_at("http://h/v1", price={"input": price_in, "output": price_out}).candidates
        exact = spend(candidate, prompt, completed)
        assert exact * 10**10 == int(exact * 10**10)  # four decimals per 1M tokens
        assert exact_usd(float(exact)) == exact


async def test_prompt_and_completion_tokens_are_charged_at_their_own_prices(endpoint):
    """What is really spent counts the prompt too; the raw cost of the reward does not."""
    async with endpoint(always(completion("yes", USAGE))) as server, RouteService(pool_at(server.base_url)) as service:
        route = await service.route("Small-1B", "?")
    assert exact_usd(route.spend_usd) == service.ledger.spent_usd == ONE
    assert route.raw_cost == 14.0  # the paper's unit knows completion tokens only


# ---------------------------------------------------------------- budget


async def test_a_budget_that_is_spent_ends_the_run_with_the_figures_and_sends_nothing_more(endpoint):
    config = RoutingConfig(budget_usd=0.00006)
    async with (
        endpoint(always(completion("yes", USAGE))) as server,
        RouteService(pool_at(server.base_url), config=config) as service,
    ):
        for i in range(4):
            await service.route("Small-1B", f"{i}?")
        for _ in range(3):
            with pytest.raises(BudgetSpent) as fault:
                await service.route("Small-1B", "?")
    assert len(server.requests) == 4
    assert str(fault.value) == (
        "budget spent: 0.0000760 of 0.00006 USD after 4 requests for 7 routes (Small-1B 0.0000760); "
        "raise budget_usd to go on"
    )


async def test_what_is_cached_can_be_had_when_the_budget_is_spent(endpoint, tmp_path):
    config = RoutingConfig(budget_usd=0.00001, cache="readwrite", cache_file=str(tmp_path / "c.sqlite"))
    async with (
        endpoint(always(completion("yes", USAGE))) as server,
        RouteService(pool_at(server.base_url), config=config) as service,
    ):
        await service.route("Small-1B", "?")
        assert (await service.route("Small-1B", "?")).reply == "yes"
        with pytest.raises(BudgetSpent):
            await service.route("Small-1B", "another?")


def test_the_books_of_several_services_add_up():
    both = Ledger(["a", "b"], 1.0)
    for amount in ("0.25", "0.75"):
        one = Ledger(["a", "b"])
        one.charge("a", Decimal(amount))
        one.accounts["a"].started = 2
        both.absorb(one)
    assert (both.spent_usd, both.is_spent, both.total().started) == (Decimal("1.00"), True, 4)


def test_candidates_are_sharded_evenly_and_those_of_a_limited_endpoint_stay_together():
    pool = pool_at("http://h/v1", *"abcdefgh")
    assert sorted(shard_candidates(pool, 4).values()) == [0, 0, 1, 1, 2, 2, 3, 3]
    limited = pool.model_copy(update={"endpoint_limits": (_Limits("http://h/v1"),)})
    assert set(shard_candidates(limited, 4).values()) == {0}


class _Limits:
    def __init__(self, base_url: str) -> None:
        self.base_url = base_url


# ---------------------------------------------------------------- whatever happens

FATES = ["good", "good", "slow", "500", "429", "reset", "no text", "401"]
PLANS = st.lists(
    st.tuples(st.sampled_from(FATES), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 20))),
    min_size=1,
    max_size=25,
)  # per route: fate, which query, cancelled after so many milliseconds


@settings(max_examples=25)
@given(PLANS, st.sampled_from(["off", "readwrite"]))
def test_the_books_balance_and_nothing_leaks(endpoint_factory, tmp_path_factory, plan, cache):
    file = tmp_path_factory.mktemp("cache") / "replies.sqlite"
    asyncio.run(_balance(endpoint_factory, plan, RoutingConfig(
        retries=QUICK, breaker=BreakerPolicy(patience_s=0.05, cooldown_s=0.01), cache=cache, cache_file=str(file),
    )))  # fmt: skip


async def _balance(endpoint, plan, config):
    charged = 0

    async def behave(number: int, request: Request) -> bytes | None:
        nonlocal charged
        fate = json.loads(request.query)[0]
        await asyncio.sleep(0.015 if fate == "slow" else 0.001)
        if fate in ("good", "slow", "no text"):
            charged += 1
            return completion(None if fate == "no text" else f"reply to {request.query}", USAGE)
        return RESET if fate == "reset" else response(int(fate), {})

    async with endpoint(behave) as server:
        service = RouteService(pool_at(server.base_url, max_concurrency=4), config=config)
        tasks = [asyncio.create_task(service.route("Small-1B", json.dumps([f, q]))) for f, q, _ in plan]
        loop = asyncio.get_running_loop()
        for task, (_, _, cancelled_ms) in zip(tasks, plan, strict=True):
            if cancelled_ms is not None:
                loop.call_later(cancelled_ms / 1000, task.cancel)
        routes = await asyncio.gather(*tasks, return_exceptions=True)
        assert service.is_idle
        await service.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not {task for task in left if "router_r1" in repr(task.get_coro())}

    account: Account = service.ledger.total()
    done = [route for route in routes if not isinstance(route, BaseException)]
    assert account.started == len(plan) == account.finished + account.failed + account.cancelled
    assert account.cancelled == len(plan) - len(done)
    assert account.finished == sum(not route.failed for route in done)
    assert service.ledger.spent_usd == account.spend_usd <= charged * ONE
    if not account.cancelled:  # a cancelled request may not have arrived, and what it would cost is not known
        assert account.requests == len(server.requests)
        told = sum((exact_usd(route.spend_usd) for route in done), Decimal(0))
        assert service.ledger.spent_usd == told == charged * ONE
    for route in done:
        assert route.failed or route.reply == f"reply to {route.query}"
