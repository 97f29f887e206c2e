"""The simulated endpoint's faults: a plan says which request fails how, and over HTTP that is what happens."""

from __future__ import annotations

import json
import time
from collections import Counter

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.sim.server.faults import Fault, FaultInjector, FaultPlan, load_faults
from tests.doubles.commands import sim as main

PLAN = FaultPlan(seed=5, shares=dict.fromkeys(Fault, 0.08), retry_after_s=2.5, trickle_s=0.002)


def query_for(fault: Fault | None) -> str:
    """A query whose first request to pico-1b has this fault."""
    return next(q for q in (f"who is number {i}" for i in range(10_000)) if PLAN.fault("pico-1b", q, 0) is fault)


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.json").write_text(PLAN.model_dump_json())
    with start_server(folder, "--latency-scale", "0", "--faults", str(folder / "faults.json")) as running:
        yield running


def ask(server, query: str, timeout: float = 10.0) -> httpx.Response:
    body = {"model": "pico-1b", "messages": [{"role": "user", "content": query}], "temperature": 0}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=timeout)


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.RATE_LIMIT, 429), (Fault.SERVER_ERROR, 500), (Fault.UNAUTHORIZED, 401)]
)
def test_an_error_status_comes_in_openai_form(server, fault, status):
    response = ask(server, query_for(fault))
    assert (response.status_code, response.json()["error"]["code"]) == (status, fault.value)
    assert response.headers.get("retry-after") == ("2.500" if status == 429 else None)


def test_a_reset_cuts_the_connection(server):
    with pytest.raises(httpx.ReadError):
        ask(server, query_for(Fault.RESET))


def test_a_hang_lasts_until_the_client_gives_up(server):
    with pytest.raises(httpx.ReadTimeout):
        ask(server, query_for(Fault.HANG), timeout=0.3)


def test_a_trickle_brings_the_right_reply_slowly(server):
    started = time.monotonic()
    response = ask(server, query_for(Fault.TRICKLE))
    assert response.json()["choices"][0]["message"]["content"]
    assert time.monotonic() - started >= 0.002 * len(response.content)


def test_a_truncated_reply_is_no_json(server):
    response = ask(server, query_for(Fault.TRUNCATED))
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_a_reply_of_the_wrong_type_is_a_page(server):
    response = ask(server, query_for(Fault.WRONG_TYPE))
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/html")


def test_empty_choices_null_content_and_missing_usage(server):
    assert ask(server, query_for(Fault.NO_CHOICES)).json()["choices"] == []
    null = ask(server, query_for(Fault.NULL_CONTENT)).json()
    assert null["choices"][0]["message"]["content"] is None
    assert null["usage"]["completion_tokens"] > 0
    without = ask(server, query_for(Fault.NO_USAGE)).json()
    assert "usage" not in without
    assert without["choices"][0]["message"]["content"]


def test_the_same_request_again_meets_the_fate_of_the_second_one(server):
    query = next(
        q
        for q in (f"what of {i}" for i in range(10_000))
        if PLAN.fault("pico-1b", q, 0) is Fault.SERVER_ERROR and PLAN.fault("pico-1b", q, 1) is None
    )
    assert [ask(server, query).status_code for _ in range(2)] == [500, 200]


@given(st.permutations([("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "y")]))
def test_the_order_of_arrival_changes_nothing(order):
    def fates(requests):
        injector = FaultInjector(PLAN)
        return Counter((*request, injector.next_fault(*request)) for request in requests)

    assert fates(order) == fates(sorted(order))


def test_shares_are_kept():
    plan = FaultPlan(shares={Fault.RESET: 0.1, Fault.HANG: 0.02})
    counts = Counter(plan.fault("m", str(i), 0) for i in range(20_000))
    assert counts[Fault.RESET] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts[Fault.HANG] / 20_000 == pytest.approx(0.02, abs=0.005)


def test_only_the_named_models_fail():
    plan = FaultPlan(shares={Fault.RESET: 1.0}, models=("a",))
    assert (plan.fault("a", "q", 0), plan.fault("b", "q", 0)) == (Fault.RESET, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shares: {rate_limt: 0.1}", "rate_limt"),
        ("shares: {reset: 0.7, hang: 0.4}", "more than 1"),
        ("shares: {reset: -0.1}", "negative"),
        ("sead: 3", "sead"),
        ("[", "cannot be read"),
        ("- a", "faults.yaml"),
    ],
)
def test_a_wrong_fault_file_is_told_in_one_line(tmp_path, capsys, text, told):
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="faults"):
        load_faults(file)
    assert main(["serve", "--port", "0", "--faults", str(file)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
