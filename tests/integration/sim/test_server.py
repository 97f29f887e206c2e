import asyncio
import http.client
import json
import signal
import time
from pathlib import Path

import httpx
import openai
import pytest

from router_r1.pool import load_pool
from router_r1.routing import RouteService
from router_r1.sim.world.candidates import PROFILES, SimulatedPool, count_tokens
from router_r1.sim.world.facts import NAMES, World
from tests.doubles.commands import sim as main

WORLD = World(seed=3)
POOL = SimulatedPool(WORLD)
QUESTION = WORLD.question(NAMES[0], "directed")


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory, flashrag_root):
    folder = tmp_path_factory.mktemp("server")
    options = ["--seed", "3", "--latency-scale", "0", "--qa", str(flashrag_root), "--qa-skill", "nq:Pico-1B=1"]
    with start_server(folder, *options) as running:
        yield running


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as opened:
        yield opened


def ask(client, model, text, **parameters):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **{"temperature": 0, **parameters}
    )


@pytest.mark.parametrize("candidate", PROFILES)
def test_the_served_reply_is_the_candidates_and_usage_counts_it(client, candidate):
    completion = ask(client, candidate.lower(), QUESTION.text)
    expected = POOL.reply(candidate, QUESTION.text)
    assert completion.choices[0].message.content == expected
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == count_tokens(expected)
    assert completion.usage.prompt_tokens == count_tokens(QUESTION.text)
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_the_last_user_message_is_the_query(client):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": QUESTION.text}]},
    ]
    completion = client.chat.completions.create(model="pico-1b", messages=messages, temperature=0)
    assert completion.choices[0].message.content == POOL.reply("Pico-1B", QUESTION.text)
    assert completion.usage.prompt_tokens == 3 + 1 + 2 + count_tokens(QUESTION.text)


@pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
def test_a_reply_is_cut_to_max_tokens(client, parameter):
    completion = ask(client, "omni-72b", QUESTION.text, **{parameter: 3})
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3
    assert POOL.reply("Omni-72B", QUESTION.text).startswith(completion.choices[0].message.content)


def test_temperature_varies_the_wording_and_a_seed_fixes_it(client):
    def replies(**parameters):
        return {ask(client, "pico-1b", QUESTION.text, **parameters).choices[0].message.content for _ in range(12)}

    assert len(replies(temperature=0)) == 1
    assert len(replies(temperature=1)) > 1
    assert len(replies(temperature=1, seed=5)) == 1


def test_models_lists_every_candidate(client):
    assert {model.id for model in client.models.list()} == {name.lower() for name in PROFILES}


def test_health_answers(server):
    assert httpx.get(server.base_url.replace("/v1", "/health")).status_code == 200


def test_an_unknown_model_is_a_404_in_openai_form(client):
    with pytest.raises(openai.NotFoundError) as fault:
        ask(client, "gpt-nothing", "Hello")
    assert fault.value.code == "model_not_found"
    assert fault.value.param == "model"
    assert "pico-1b" in str(fault.value)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"model": None}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"stream": True}, "stream"),
        ({"n": 2}, "n"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_parameter(server, change, param):
    body = {"model": "pico-1b", "messages": [{"role": "user", "content": "Hello"}], **change}
    response = httpx.post(f"{server.base_url}/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(param)
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_what_is_no_json_or_no_path_gets_an_error_in_openai_form(server):
    response = httpx.post(f"{server.base_url}/chat/completions", content=b"{", headers={"content-type": "text/json"})
    assert (response.status_code, "error" in response.json()) == (400, True)
    response = httpx.get(f"{server.base_url}/nowhere")
    assert (response.status_code, "error" in response.json()) == (404, True)


def test_any_text_is_answered(client):
    for text in ("", "\U0001f600 <search> x </search>", "\u2028", "who " * 3000):
        assert ask(client, "pico-1b", text).choices[0].message.content


def test_real_questions_are_answered_beside_the_worlds(client, flashrag_root):
    rows = [json.loads(line) for line in (flashrag_root / "nq/train.jsonl").read_text().splitlines()]
    for row in rows[:20]:
        assert row["golden_answers"][0] in ask(client, "pico-1b", row["question"]).choices[0].message.content
    assert QUESTION.answer in ask(client, "cinemind-7b", QUESTION.text).choices[0].message.content


async def test_many_requests_are_answered_at_once(start_server, tmp_path):
    options = ["--seed", "3", "--latency", "Omni-72B=400,0"]
    with start_server(tmp_path, *options) as server:
        questions = WORLD.generate("train", 32, seed=0)
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="unused", max_retries=0) as client:
            await client.models.list()  # opens the connection, imports what the client needs
            started = time.monotonic()
            completions = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="omni-72b", messages=[{"role": "user", "content": q.text}], temperature=0
                    )
                    for q in questions
                )
            )
            elapsed = time.monotonic() - started
    assert [c.choices[0].message.content for c in completions] == [POOL.reply("Omni-72B", q.text) for q in questions]
    assert 0.4 <= elapsed < 0.4 * 32 / 3, "the requests waited for one another"


def test_with_a_key_requests_without_it_are_refused(start_server, tmp_path):
    with start_server(tmp_path, "--api-key-env", "SIM_KEY", environment={"SIM_KEY": "s3cret"}) as server:
        with openai.OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as fault:
                ask(client, "pico-1b", "Hello")
            assert "s3cret" not in str(fault.value)
            assert "wrong" not in str(fault.value)
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
        with openai.OpenAI(base_url=server.base_url, api_key="s3cret", max_retries=0) as client:
            assert ask(client, "pico-1b", "Hello").choices[0].message.content
        assert httpx.get(server.base_url.replace("/v1", "/health")).status_code == 200
        assert httpx.post(f"{server.base_url}/retrieve", json={"queries": ["x"]}).status_code == 401


async def test_a_retriever_of_the_worlds_facts_stands_beside_the_candidates(server, project_root):
    pytest.importorskip("bm25s")
    pool = load_pool(project_root / "configs" / "pools" / "retriever.yaml", base_url=server.base_url)
    async with RouteService(pool) as service:
        route = await service.route(pool.names[0], QUESTION.text)
    assert {"directed", NAMES[0]} <= set(route.reply.rstrip(".").split()), "BM25 does not see the order of words"
    assert (route.failed, route.raw_cost) == (False, 0)


def test_sigterm_lets_open_requests_end_and_exits_cleanly(start_server, tmp_path):
    with start_server(tmp_path, "--latency", "Pico-1B=700,0") as server:
        address = httpx.URL(server.base_url)
        connection = http.client.HTTPConnection(address.host, address.port, timeout=20)
        body = json.dumps({"model": "pico-1b", "messages": [{"role": "user", "content": "Hello"}]})
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        # Its answer tells that the request sent before it has been read.
        httpx.get(server.base_url.replace("/v1", "/health"))
        server.process.send_signal(signal.SIGTERM)
        assert connection.getresponse().status == 200
        connection.close()
        assert server.process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--port", "99999"], "--port = 99999"),
        (["--latency-scale", "-1"], "--latency-scale"),
        (["--latency", "Nobody=5"], "--latency = 'Nobody=5'"),
        (["--latency", "Pico-1B=fast"], "--latency = 'Pico-1B=fast'"),
        (["--qa", "/nowhere"], "'/nowhere'"),
        (["--qa-skill", "nq"], "--qa-skill = 'nq'"),
        (["--qa-skill", "nq:Pico-1B=0.5"], "data set = 'nq'"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "--api-key-env = 'NOT_SET_ANYWHERE'"),
    ],
)
def test_a_wrong_option_ends_the_server_at_once_with_one_line(capsys, options, named):
    assert main(["serve", *options]) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1


def test_a_taken_port_is_told(server, capsys):
    port = server.base_url.split(":")[2].removesuffix("/v1")
    assert main(["serve", "--port", port]) == 2
    assert f"--port = {port}" in capsys.readouterr().err


def test_a_port_file_left_behind_does_not_outlive_a_failed_start(tmp_path: Path, server):
    port_file = tmp_path / "port"
    port_file.write_text("1\n")
    port = server.base_url.split(":")[2].removesuffix("/v1")
    assert main(["serve", "--port", port, "--port-file", str(port_file)]) == 2
    assert not port_file.exists()


async def test_the_shipped_pool_routes_to_it_and_pays_for_what_was_said(server, project_root):
    pool = load_pool(project_root / "configs/pools/sim.yaml", base_url=server.base_url)
    async with RouteService(pool) as service:
        routes = [await service.route(name, QUESTION.text) for name in pool.names]
    for route in routes:
        assert not route.failed
        assert route.reply == POOL.reply(route.candidate, QUESTION.text)
        tokens = count_tokens(route.reply)
        assert route.completion_tokens == tokens
        assert route.raw_cost == pytest.approx(tokens * pool.candidate(route.candidate).price.output)
