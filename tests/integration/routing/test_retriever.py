"""A retriever as a candidate: served, asked over HTTP, and paid nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.processes import stop
from router_r1.routing import RouteService
from router_r1.routing.adapters import NOTHING_FOUND, RetrieverAdapter

pytest.importorskip("sklearn")

CORPUS = ["Rome\nRome is the capital of Italy.", "Paris\nParis is the capital of France.", "Oslo lies in Norway."]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("retriever")
    corpus, port_file = folder / "corpus.jsonl", folder / "port"
    corpus.write_text("".join(json.dumps({"contents": text}) + "\n" for text in CORPUS))
    command = ["-m", "router_r1", "sim", "retrieve", "--corpus", corpus, "--port", "0", "--port-file", port_file]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, *map(str, command)], env=env, stderr=subprocess.PIPE, text=True)
    try:
        while not port_file.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{int(port_file.read_text())}"
    finally:
        stop(process)


def retriever(url: str, **settings) -> RoutingPool:
    settings = {"price": Price(input=0, output=0), "descriptor": "finds passages", **settings}
    candidate = Candidate(name="Wiki", model="bm25", base_url=url, adapter="retriever", **settings)
    return RoutingPool(name="p", candidates=[candidate])


async def reply(pool: RoutingPool, query: str):
    async with RouteService(pool) as service:
        return await service.route("Wiki", query)


async def test_the_best_passages_are_the_reply_and_cost_nothing(url):
    route = await reply(retriever(url, extra_body={"topk": 2}), "What is the capital of France?")
    assert route.reply == "(1) Paris Paris is the capital of France. (2) Rome Rome is the capital of Italy."
    assert (route.failed, route.raw_cost, route.spend_usd) == (False, 0, 0)
    assert route.usage_estimated


async def test_one_passage_has_no_number(url):
    route = await reply(retriever(url, extra_body={"topk": 1}), "Norway?")
    assert route.reply == "Oslo lies in Norway."


async def test_that_nothing_is_found_is_a_reply(url):
    route = await reply(retriever(url), "Zanzibar")
    assert (route.reply, route.failed, route.attempts) == (NOTHING_FOUND, False, 1)


async def test_it_can_be_asked_without_scores_and_for_several_queries(url):
    async with httpx.AsyncClient() as client:
        body = {"queries": ["Norway", "Zanzibar"], "topk": 1}
        answer = await client.post(f"{url}/retrieve", json=body)
        assert answer.json() == {"result": [[{"id": "2", "contents": CORPUS[2]}], []]}
        bad = await client.post(f"{url}/retrieve", json={"queries": ["a"], "topk": 0})
        assert bad.status_code == 422


@pytest.mark.parametrize("answer", [{}, {"result": [[{"document": {}}]]}, "no"])
def test_what_is_no_answer_of_a_retriever_fails_the_attempt(answer):
    with pytest.raises(ValueError, match=r"result|valid"):
        RetrieverAdapter().read(answer)
