"""Operating the server: is it alive, is it ready, what does it count and log, and how does it end."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.serving.conftest import QUESTION, asked, reply_to

KEY = "k-one-0123456789abcdef"
KEYS = {"one": hashlib.sha256(KEY.encode()).digest()}


async def test_metrics_tell_requests_trajectories_tokens_and_money_and_those_of_the_routes(serve):
    async with serve() as served, httpx.AsyncClient() as http:
        await served.client().chat.completions.create(**asked())
        [chunk async for chunk in await served.client().chat.completions.create(**asked(stream=True))]
        with pytest.raises(openai.NotFoundError):
            await served.client().chat.completions.create(**asked(model="made up\n"))
        text = (await http.get(f"{served.url}/metrics")).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def value(name, **labels):
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    assert value("router_r1_serve_requests_total", path="/v1/chat/completions", status="200") == 2
    assert value("router_r1_serve_requests_total", path="/v1/chat/completions", status="404") == 1
    assert value("router_r1_serve_trajectories_total", model="router-r1", outcome="answered") == 2
    assert value("router_r1_serve_first_event_seconds_count", model="router-r1") == 1
    assert value("router_r1_serve_tokens_total", kind="completion") > 0
    assert value("router_r1_serve_spend_usd_total", key="local") == pytest.approx(value("router_r1_spend_usd_total"))
    assert value("router_r1_routes_total", candidate="Newton-8B", outcome="finished") == 2
    assert value("router_r1_serve_in_flight") == value("router_r1_serve_waiting") == 0
    assert "made up" not in text


async def test_where_keys_are_asked_for_metrics_need_one_and_health_does_not(serve):
    async with serve(keys=KEYS) as served, httpx.AsyncClient() as http:
        statuses = {path: (await http.get(f"{served.url}{path}")).status_code for path in ("/metrics", "/healthz")}
        with_key = await http.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    assert statuses == {"/metrics": 401, "/healthz": 200}
    assert with_key.status_code == 200


async def test_the_access_log_has_a_line_per_request_and_no_texts(serve):
    async with serve() as served:
        reply = await served.client().chat.completions.create(**asked())
    (line,) = served.log_lines
    assert (line["method"], line["path"], line["status"], line["key"]) == ("POST", "/v1/chat/completions", 200, "local")
    assert (line["id"], line["model"], line["trajectory"], line["routes"]) == (reply.id, "router-r1", "answered", 1)
    assert line["policy_tokens"] == reply.usage.completion_tokens
    assert line["seconds"] > 0
    assert "Bosen" not in served.log.getvalue()
    assert reply.choices[0].message.content not in served.log.getvalue()


async def test_texts_are_logged_if_they_are_asked_for_and_a_line_stays_a_line(serve):
    async with serve(log_texts=True) as served, httpx.AsyncClient() as http:
        await served.client().chat.completions.create(**asked())
        await http.get(f"{served.url}/v1/nothing%0A%7B%22status%22:200%7D")
    first, second = served.log_lines
    assert (first["question"], first["answer"]) == (QUESTION, reply_to(QUESTION))
    assert second["path"] == '/v1/nothing\n{"status":200}'


# ---------------------------------------------------------------- the end


async def test_at_sigterm_what_is_in_flight_ends_and_what_is_new_gets_503(serve):
    async with serve() as served, httpx.AsyncClient() as http:
        served.policy.gate.clear()
        running = asyncio.create_task(served.client().chat.completions.create(**asked()))
        await served.policy.waits.wait()
        served.server.handle_exit(15, None)
        await asyncio.sleep(0)
        with pytest.raises(openai.InternalServerError) as caught:
            await served.client().chat.completions.create(**asked())
        assert (caught.value.status_code, caught.value.code) == (503, "shutting_down")
        assert caught.value.response.headers["retry-after"] == "5"
        assert (await http.get(f"{served.url}/readyz")).status_code == 503
        assert (await http.get(f"{served.url}/healthz")).status_code == 200
        served.policy.gate.set()
        assert (await running).choices[0].message.content == reply_to(QUESTION)
        async with asyncio.timeout(20):
            await served.ended
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{served.url}/healthz")


async def test_what_does_not_end_in_time_is_cancelled_and_the_server_ends_all_the_same(serve):
    async with serve(drain_s=0.1) as served:
        served.policy.gate.clear()
        running = asyncio.create_task(served.client().chat.completions.create(**asked()))
        await served.policy.waits.wait()
        served.server.drain()
        async with asyncio.timeout(30):
            await served.ended
        with pytest.raises(openai.APIError):
            await running
        assert served.policy.cancelled == 1
        await served.books_balance()


async def test_a_second_signal_ends_it_at_once(serve):
    async with serve(drain_s=3600) as served:
        served.policy.gate.clear()
        running = asyncio.create_task(served.client().chat.completions.create(**asked()))
        await served.policy.waits.wait()
        served.server.drain()
        served.server.drain()
        async with asyncio.timeout(30):
            await served.ended
        running.cancel()
