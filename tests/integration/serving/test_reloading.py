"""The pool file, read again while the server answers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import asynccontextmanager

import openai
import pytest
import yaml

from router_r1.serving.reloading import pool_reloading
from tests.integration.serving.conftest import QUESTION, asked, reply_to


def write_pool(path, base_url, **prices):
    """A pool of these candidates, at these prices in USD per 1M tokens."""
    candidates = [
        {"name": name, "model": name.lower(), "price": {"input": price, "output": price}, "descriptor": "expert"}
        for name, price in ((name.replace("_", "-"), price) for name, price in prices.items())
    ]
    path.write_text(yaml.safe_dump({"name": "p", "defaults": {"base_url": base_url}, "candidates": candidates}))


@pytest.fixture
def pool_path(tmp_path, simulated_pool):
    path = tmp_path / "pool.yaml"
    write_pool(path, simulated_pool, Newton_8B=0.2, Atlas_8B=0.2)
    return path


@pytest.fixture
def reloadable(serve, pool_path):
    """`async with reloadable() as (served, reloading):`"""

    @asynccontextmanager
    async def opened(*, check_candidates=False, **options):
        async with (
            serve(pool_path=pool_path, **options) as served,
            pool_reloading(served.app.answering, check_candidates=check_candidates) as reloading,
        ):
            yield served, reloading

    return opened


async def names(served):
    return [card.id for card in (await served.client().models.list()).data if card.id.startswith("candidate:")]


async def test_models_and_prices_follow_the_file_and_the_books_go_on(reloadable, pool_path, simulated_pool):
    async with reloadable(check_candidates=True) as (served, reloading):
        first = await served.client().chat.completions.create(**asked())
        write_pool(pool_path, simulated_pool, Newton_8B=20.0, Omni_72B=0.9)
        assert await reloading.reload()
        assert await names(served) == ["candidate:Newton-8B", "candidate:Omni-72B"]
        second = await served.client().chat.completions.create(**asked())
        assert second.choices[0].message.content == first.choices[0].message.content == reply_to(QUESTION)
        assert second.router_r1["raw_cost"] == pytest.approx(100 * first.router_r1["raw_cost"])
        with pytest.raises(openai.NotFoundError):
            await served.client().chat.completions.create(**asked(model="candidate:Atlas-8B"))
        spent = first.router_r1["spend_usd"] + second.router_r1["spend_usd"]
        ledger = served.app.answering.router.routes.ledger
        assert float(ledger.spent_usd) == pytest.approx(spent)
        assert float(served.app.answering.spend.spent_usd("local")) == pytest.approx(spent)
        assert ledger.accounts["Newton-8B"].finished == 2
        assert set(ledger.accounts) == {"Newton-8B", "Atlas-8B", "Omni-72B"}


async def test_a_trajectory_in_flight_ends_with_the_pool_that_its_prompt_offers(reloadable, pool_path, simulated_pool):
    async with reloadable() as (served, reloading):
        served.policy.gate.clear()
        running = asyncio.create_task(served.client().chat.completions.create(**asked()))
        await served.policy.waits.wait()
        write_pool(pool_path, simulated_pool, Omni_72B=0.9)
        assert await reloading.reload()
        served.policy.gate.set()
        (route,) = (await running).router_r1["routes"]
        assert (route["candidate"], route["failed"]) == ("Newton-8B", False)
        after = await served.client().chat.completions.create(**asked())  # the policy asks for it all the same
        assert "there is no candidate named 'Newton-8B'" in after.choices[0].message.reasoning_content
        await served.books_balance()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_text("name: p\ncandidates: 3\n"), "candidates"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "pool.yaml"),
        (lambda path: path.unlink(), "pool.yaml"),
        (lambda path: write_pool(path, "http://127.0.0.1:1/v1", Newton_8B=0.2), "Newton-8B"),
    ],
    ids=["no pool", "no text", "gone", "nobody answers there"],
)
async def test_a_pool_that_is_wrong_is_refused_and_logged_and_the_old_one_goes_on(
    reloadable, pool_path, damage, told, caplog
):
    async with reloadable(check_candidates=True) as (served, reloading):
        before = await names(served)
        damage(pool_path)
        with caplog.at_level(logging.ERROR, "router_r1.serving.reloading"):
            assert not await reloading.reload()
        assert told in caplog.text
        assert "the old one goes on" in caplog.text
        assert await names(served) == before
        reply = await served.client().chat.completions.create(**asked())
        assert reply.choices[0].message.content == reply_to(QUESTION)


async def test_a_pool_without_a_candidate_that_an_arm_of_the_split_asks_is_refused(
    reloadable, pool_path, simulated_pool, caplog
):
    async with reloadable(split="router-r1=0.5,candidate:Atlas-8B=0.5") as (served, reloading):
        before, router = await names(served), served.app.answering.router
        write_pool(pool_path, simulated_pool, Newton_8B=0.2)
        assert not await reloading.reload()
        assert "--split = 'candidate:Atlas-8B'" in caplog.text
        assert await names(served) == before
        assert served.app.answering.router is router


async def test_a_pool_that_the_server_serves_itself_is_not_read_again(serve, caplog):
    async with serve() as served, pool_reloading(served.app.answering, check_candidates=False) as reloading:
        assert not await reloading.reload()
    assert "start the server anew" in caplog.text


async def test_a_signal_is_enough_and_one_that_comes_meanwhile_is_not_lost(reloadable, pool_path, simulated_pool):
    async with reloadable() as (served, reloading):
        loop, changed = asyncio.get_running_loop(), served.app.answering.change_router
        reloads: asyncio.Queue[object] = asyncio.Queue()

        def count(router):
            changed(router)
            reloads.put_nowait(router)

        served.app.answering.change_router = count
        loop.add_signal_handler(signal.SIGHUP, reloading.ask)
        try:
            async with asyncio.timeout(20):
                os.kill(os.getpid(), signal.SIGHUP)
                await reloads.get()
                write_pool(pool_path, simulated_pool, Omni_72B=0.9)
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGHUP)
                await reloads.get()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
        assert await names(served) == ["candidate:Omni-72B"]
