"""With one engine, requests go to it past veRL's load balancer; with several, it says whom to ask."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from router_r1.training import engine_client

llm_server = pytest.importorskip("verl.workers.rollout.llm_server")
balancing = pytest.importorskip("verl.workers.rollout.router")
replica = pytest.importorskip("verl.workers.rollout.replica")

pytestmark = pytest.mark.slow  # importing veRL takes seconds

CONFIG = OmegaConf.create({"actor_rollout_ref": {"rollout": {"name": "vllm", "full_determinism": False}}})


class Actor:
    """An object whose methods are called as an actor's are; remembers the calls."""

    def __init__(self, behind: Any) -> None:
        self._behind, self.calls = behind, list[str]()

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            self.calls.append(name)
            done = asyncio.get_running_loop().create_future()
            done.set_result(getattr(self._behind, name)(*args, **kwargs))
            return done

        return SimpleNamespace(remote=remote)


class Engine:
    def __init__(self, name: str) -> None:
        self.name, self.asked = name, list[list[int]]()

    def generate(self, *, prompt_ids: list[int], **_: Any) -> Any:
        self.asked.append(prompt_ids)
        return replica.TokenOutput(token_ids=[7], extra_fields={"global_steps": 3})


@pytest.fixture(autouse=True)
def rays_get_reads_what_is_done(monkeypatch):
    monkeypatch.setattr(engine_client, "ray", SimpleNamespace(get=lambda future: future.result()))
    engine_client._quickest.cache_clear()
    yield
    engine_client._quickest.cache_clear()


def served_by(*engines: Engine, client_cls: type | None = None) -> tuple[Any, Actor]:
    """veRL's client of these engines, and its load balancer, the real one."""
    balancer = Actor(balancing.GlobalRequestLoadBalancer({engine.name: Actor(engine) for engine in engines}))
    client = (client_cls or llm_server.LLMServerClient)(CONFIG, load_balancer_handle=balancer)
    return client, balancer


async def test_one_engine_is_asked_without_asking_the_balancer_and_answers_the_same():
    engine = Engine("only")
    client, balancer = served_by(engine)
    by_verl = await client.generate("a", prompt_ids=[1, 2], sampling_params={})

    quick = engine_client.quickest(client)
    before = len(balancer.calls)
    answers = [await quick.generate("a", prompt_ids=[1, 2], sampling_params={}) for _ in range(3)]

    assert len(balancer.calls) == before
    assert engine.asked == [[1, 2]] * 4
    assert answers == [by_verl] * 3
    assert answers[0].extra_fields["max_global_steps"] == 3


async def test_to_have_found_it_leaves_nothing_in_flight_and_is_done_once():
    client, balancer = served_by(Engine("only"))
    quick = engine_client.quickest(client)
    looked_up = list(balancer.calls)

    assert balancer._behind.get_total_inflight() == 0
    assert engine_client.quickest(client) is quick
    assert balancer.calls == looked_up


async def test_of_several_engines_the_balancer_says_which():
    engines = [Engine("one"), Engine("two")]
    client, _ = served_by(*engines)

    assert engine_client.quickest(client) is client
    for question in range(40):
        await client.generate(str(question), prompt_ids=[question], sampling_params={})
    assert all(engine.asked for engine in engines)


async def test_a_trainer_that_changes_its_engines_as_it_runs_keeps_its_own_client():
    client, balancer = served_by(Engine("only"), client_cls=llm_server.FullyAsyncLLMServerClient)
    assert engine_client.quickest(client) is client
    assert not balancer.calls
