"""`router-r1 serve` as it is typed: what it refuses before it starts anything, and one real engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from router_r1.cli import main
from router_r1.serving.defaults import with_default_policy
from router_r1.settings import RouterOptions
from router_r1.sim.tiny_policy import SHIPPED_POLICY

QUESTION = "Who composed the one who invented Bosen?"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "--host = '0.0.0.0': is not the loopback interface: give API keys"),
        (["--client-keys", "nowhere"], "--client-keys = 'nowhere': cannot be read"),
        (["--method", "direct"], "--method = 'direct': is chosen by each request"),
        (["--port", "70000"], "--port = '70000'"),
        (["--max-concurrent", "0"], "--max-concurrent = '0'"),
        (["--run", "never"], "--run = 'never': is no run"),
        (["--pool", "nowhere"], "nowhere"),
        (["--split", "router-r1=1"], "--split = 'router-r1=1': divides nothing"),
        (["--split", "direct=0.5,zeus=0.5", "--port", "0"], "--split = 'zeus': the model 'zeus' does not exist"),
        (["--methods", "knn", "--port", "0"], "--scores: is needed: knn is fitted on scores"),
        (["--store", ".", "--port", "0"], "cannot be opened: Is a directory"),
        (["--keep-mb", "0"], "--keep-mb = '0'"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_before_anything_is_started(arguments, told, capsys):
    assert main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


def test_a_port_that_is_taken_is_refused_before_the_engine_starts(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_a_damaged_store_is_refused_before_the_engine_starts_and_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "kept.sqlite").write_text("SQLite format 3 this is not")
    assert main(["serve", "--port", "0", "--store", "kept.sqlite"]) == 2
    error = "error: kept.sqlite: cannot be used: file is not a database; move it away, and a new one will be made\n"
    assert capsys.readouterr().err == error
    assert (tmp_path / "kept.sqlite").read_text() == "SQLite format 3 this is not"


def test_before_any_run_the_shipped_policy_is_served_with_its_simulated_pool():
    options = with_default_policy(RouterOptions())
    assert (options.model_path, options.pool, options.template) == (str(SHIPPED_POLICY), "sim", "tiny")


def test_a_policy_that_is_named_is_served_instead():
    for named in (RouterOptions(model_path="m"), RouterOptions(base_url=("u",)), RouterOptions(run="r")):
        assert with_default_policy(named) == named


def test_the_policy_of_the_newest_run_is_served_if_there_is_one(tmp_path):
    (tmp_path / "runs/first/hf").mkdir(parents=True)
    (tmp_path / "runs/first/run.json").write_text(json.dumps({}))
    assert with_default_policy(RouterOptions()) == RouterOptions()


# ---------------------------------------------------------------- a real engine


@pytest.fixture
def starting(tmp_path) -> Iterator[subprocess.Popen]:
    """A server that has only just been started; `port` and `log` are in the test's folder."""
    command = [sys.executable, "-m", "router_r1", "serve", "--port", "0", "--port-file", str(tmp_path / "port")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def server(starting, tmp_path) -> tuple[subprocess.Popen, str]:
    """One that is ready, and where."""
    wait_for(starting, (tmp_path / "port").exists, tmp_path / "log")
    return starting, f"http://127.0.0.1:{int((tmp_path / 'port').read_text())}/v1"


def wait_for(process: subprocess.Popen, condition: Callable[[], object], log: Path) -> None:
    while not condition():  # the test's own time limit ends this
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.05)


def children_of(process: subprocess.Popen) -> list[Any]:
    psutil = pytest.importorskip("psutil")
    return psutil.Process(process.pid).children(recursive=True)


def are_gone(processes: list[Any]) -> bool:
    """Whether they have ended, or do soon: one of multiprocessing's own ends by itself once its parent has."""
    deadline = time.monotonic() + 20
    while any(process.is_running() and process.status() != "zombie" for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_without_an_argument_the_tiny_policy_answers_streams_samples_and_ends_with_0(server, tmp_path):
    process, url = server
    client = openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=120)
    messages = [{"role": "user", "content": QUESTION}]
    whole = client.chat.completions.create(model="router-r1", messages=messages)
    assert whole.choices[0].message.content
    assert whole.router_r1["status"] == "answered"
    assert len(whole.router_r1["routes"]) >= 1
    chunks = list(client.chat.completions.create(model="router-r1", messages=messages, stream=True))
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", "") for chunk in chunks]
    assert "".join(thoughts) == whole.choices[0].message.reasoning_content
    assert len([text for text in thoughts if text]) > whole.usage.completion_tokens / 2  # token by token
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    warm = [
        client.chat.completions.create(model="router-r1", messages=messages, temperature=1.5, seed=seed)
        for seed in (5, 5, 6, 7, 8)
    ]
    first, again, *others = [reply.choices[0].message.reasoning_content for reply in warm]
    assert first == again
    assert any(other != first for other in others)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


@pytest.mark.slow
@pytest.mark.parametrize("how_many", [1, 2], ids=["the pool server runs", "the engine starts"])
def test_sigterm_before_it_is_ready_ends_it_and_whatever_it_has_started(starting, tmp_path, how_many):
    wait_for(starting, lambda: len(children_of(starting)) >= how_many, tmp_path / "log")
    children = children_of(starting)
    starting.send_signal(signal.SIGTERM)
    assert starting.wait(60) in (130, -signal.SIGINT)  # the second: by Python itself, where it was importing something
    assert are_gone(children)
    assert not (tmp_path / "port").exists()


@pytest.mark.slow
def test_when_the_engine_is_killed_requests_get_502_and_the_server_says_that_it_is_dead(server, tmp_path):
    process, url = server
    client = openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=120)
    asked = {"model": "router-r1", "messages": [{"role": "user", "content": QUESTION}]}
    client.chat.completions.create(**asked)
    (engine,) = [child for child in children_of(process) if "EngineCore" in " ".join([child.name(), *child.cmdline()])]
    engine.kill()
    engine.wait(60)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**asked)
    assert (caught.value.status_code, caught.value.code) == (502, "policy_failed")
    address = url.removesuffix("/v1")
    assert [httpx.get(f"{address}/{path}").status_code for path in ("readyz", "healthz")] == [503, 503]
    assert client.chat.completions.create(**(asked | {"model": "candidate:Newton-8B"})).choices[0].message.content
    left = children_of(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    assert are_gone(left)
