"""Several servers behind one address: Ray Serve with replicas on this machine, each a process of its own."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import time

import httpx
import openai
import pytest

from router_r1.errors import ConfigError
from router_r1.sim.tiny_policy import SHIPPED_POLICY

pytest.importorskip("ray.serve", reason="ray[serve] is not installed", exc_type=ImportError)
ray = pytest.importorskip("ray")

from router_r1.serving import ray_serve  # noqa: E402

KEY = "k-one-0123456789abcdef"


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"one: {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    return str(path)


def options(keys, **more):
    policy = {"model_path": str(SHIPPED_POLICY), "pool": "sim", "template": "tiny"}
    return {**policy, "backend": "tests.doubles.speaking_policy:open_telling_process", "client_keys": keys, **more}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"client_keys": None}, "client_keys.*is needed"),
        ({"port": "80"}, "port = '80': is up to Ray Serve"),
        ({"num_replicas": "0"}, "num_replicas = '0'"),
        ({"max_concurrent": "none"}, "max_concurrent"),
        ({"colour": "red"}, "colour"),
        ({"method": "direct"}, "chosen by each request"),
    ],
)
def test_what_is_wrong_is_refused_before_a_replica_is_started(keys, changes, told):
    given = {name: value for name, value in options(keys, **changes).items() if value is not None}
    with pytest.raises(ConfigError, match=told):
        ray_serve.app(given)


def test_each_replica_has_its_share_of_money_and_rates_and_all_of_the_places():
    given = {"requests_per_minute": "9", "spend_per_day_usd": "3", "budget_usd": "10", "max_concurrent": "7"}
    serving, router = ray_serve._options(given, 2)
    assert (serving.requests_per_minute, serving.spend_per_day_usd, router.routing.budget_usd) == (4, 1.5, 5.0)
    assert serving.max_concurrent == 7


@pytest.mark.slow
def test_two_replicas_answer_behind_one_address_and_a_dead_one_is_replaced(keys, project_root):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(project_root), os.environ.get("PYTHONPATH", "")]),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # 5 s are few for its imports on a busy machine
    }
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    try:
        ray.serve.start(http_options={"host": "127.0.0.1", "port": port})
        ray.serve.run(ray_serve.app(options(keys, num_replicas="2")))
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/v1/models").status_code == 401
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=5, timeout=60)

        def answered_by(stream: bool) -> int:
            reply = client.chat.completions.create(
                model="router-r1", messages=[{"role": "user", "content": "Who?"}], stream=stream
            )
            text = (
                "".join(c.choices[0].delta.content or "" for c in reply) if stream else reply.choices[0].message.content
            )
            return int(re.fullmatch(r"process (\d+)", text)[1])

        def both() -> set[int]:
            found: set[int] = set()
            while len(found) < 2:  # the test's own time limit ends this
                found |= {answered_by(stream) for stream in (False, True)}
            return found

        first = both()
        dead = min(first)
        os.kill(dead, signal.SIGKILL)
        while True:
            try:
                later = both()
            except openai.APIError:  # what was on its way to the dead one
                time.sleep(0.2)
                continue
            if dead not in later:
                break
        assert len(later | first) == 3
    finally:
        ray.serve.shutdown()
        ray.shutdown()
