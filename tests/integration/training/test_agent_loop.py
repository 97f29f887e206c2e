"""What veRL's engine is asked for, and what becomes of its answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.protocol import STOP_STRINGS, Answer, Route, Search, Status, Trajectory, Turn
from router_r1.rewards.rubric import score
from router_r1.training import agent_loop, sampler

pytestmark = pytest.mark.slow  # importing veRL takes seconds


@dataclass
class Output:
    """The fields of veRL's TokenOutput that matter here."""

    token_ids: list[int]
    log_probs: list[float] | None = None
    stop_reason: str | None = "completed"
    num_preempted: int | None = None
    extra_fields: dict[str, Any] = field(default_factory=dict)


class Server:
    """Stands where veRL's rollout server client does; remembers its calls."""

    def __init__(self, *outputs: Output) -> None:
        self.outputs, self.calls = list(outputs), []

    async def generate(self, **call: Any) -> Output:
        self.calls.append(call)
        return self.outputs.pop(0)


async def test_sampling_parameters_reach_the_engine_unchanged_with_budget_and_stop_strings():
    """Greedy validation must not become sampling on the way, nor decoding run past a tag."""
    server = Server(Output([5, 6], [-0.1, -0.2]))
    policy = agent_loop.EnginePolicy(server, {"temperature": 0, "top_p": 1.0, "top_k": -1, "logprobs": True})

    generation = await policy.generate([1, 2, 3], max_tokens=7, stop=STOP_STRINGS, request_id="r1")

    (call,) = server.calls
    assert call["prompt_ids"] == [1, 2, 3]
    assert call["request_id"] == "r1"
    params = call["sampling_params"]
    assert params | {"temperature": 0, "top_p": 1.0, "top_k": -1, "logprobs": True, "max_tokens": 7} == params
    assert params["stop"] == list(STOP_STRINGS)
    assert params["include_stop_str_in_output"] is True
    assert params["skip_special_tokens"] is False
    assert (generation.token_ids, generation.logprobs) == ([5, 6], [-0.1, -0.2])


async def test_a_forced_token_is_the_only_one_that_the_engine_may_write():
    """Among raw log-probs, its own is the policy's although nothing else was allowed."""
    server = Server(Output([7], [-3.5], extra_fields={"global_steps": 2}))
    policy = agent_loop.EnginePolicy(server, {"temperature": 1.0, "logprobs": True})

    generation = await policy.force([1, 2], 7, request_id="r")

    params = server.calls[0]["sampling_params"]
    assert (params["allowed_token_ids"], params["max_tokens"], params["stop"]) == ([7], 1, [])
    assert (generation.token_ids, generation.logprobs, policy.model_version) == ([7], [-3.5], 2)


async def test_the_given_parameters_are_not_changed_by_a_generation():
    """veRL's server pops keys from the dictionary it gets, and the next turn needs them again."""
    given = {"temperature": 1.0}
    server = Server(Output([5]), Output([6]))
    policy = agent_loop.EnginePolicy(server, given)
    for _ in range(2):
        await policy.generate([1], max_tokens=3, stop=STOP_STRINGS, request_id="r")
        server.calls[-1]["sampling_params"].clear()

    assert given == {"temperature": 1.0}


@pytest.mark.parametrize(
    ("output", "finish"),
    [
        (Output([5, 6]), "stop"),
        (Output([5, 6, 7]), "length"),
        (Output([], stop_reason="aborted"), "abort"),
    ],
)
async def test_a_generation_says_how_it_ended(output, finish):
    policy = agent_loop.EnginePolicy(Server(output), {})

    assert (await policy.generate([1], max_tokens=3, stop=STOP_STRINGS, request_id="r")).finish == finish


async def test_model_versions_and_preemptions_are_kept_for_the_trainer():
    outputs = [
        Output([5], extra_fields={"global_steps": 4}, num_preempted=2),
        Output([6], extra_fields={"global_steps": 5}, num_preempted=-1),
    ]
    policy = agent_loop.EnginePolicy(Server(*outputs), {})
    for _ in range(2):
        await policy.generate([1], max_tokens=3, stop=STOP_STRINGS, request_id="r")

    assert (policy.model_versions, policy.preemptions) == ([4, 5], 2)


async def test_a_fault_of_the_engine_is_not_turned_into_an_answer():
    """It ends the run: an empty answer in its place would be trained on."""

    class Broken:
        async def generate(self, **call: Any) -> Output:
            raise RuntimeError("engine is dead")

    with pytest.raises(RuntimeError, match="engine is dead"):
        await agent_loop.EnginePolicy(Broken(), {}).generate([1], max_tokens=3, stop=(), request_id="r")


def test_a_worker_imports_a_users_terms_once_and_not_once_per_trajectory(tmp_path):
    """veRL makes one RouterAgentLoop per trajectory."""
    file = tmp_path / "own.py"
    file.write_text("def own(em): return em")
    settings = json.dumps({"metric": "f1", "terms": {"own": f"{file}:own"}, "weights": {"own": 2.0}})

    rubric = agent_loop.process_rubric(settings)
    file.unlink()

    assert agent_loop.process_rubric(settings) is rubric
    assert (list(rubric.terms), rubric.weights, rubric.config.metric) == (["own"], {"own": 2.0}, "f1")
    assert agent_loop.process_rubric("{}") is not rubric


# ---------------------------------------------------------------- what the sampler is told


def asking(*candidates: str) -> Trajectory:
    turns = [
        Turn([1], [], "", Search(name, "who?"), route=Route(name, "who?", "Me"), observation="Me", observation_ids=[2])
        for name in candidates
    ]
    return Trajectory([1], [*turns, Turn([3], [], "<answer> Me </answer>", Answer("Me"))], Status.ANSWERED)


def test_the_measures_of_a_step_come_out_of_what_the_agent_loop_tells_of_its_trajectories():
    price = Price(input=0, output=0)
    made = [Candidate(name=n, model=n, price=price, descriptor=n, base_url="http://h/v1") for n in ("A-7B", "B-7B")]
    pool = RoutingPool(name="two", candidates=tuple(made))
    loop = object.__new__(agent_loop.RouterAgentLoop)  # its parts are an engine's
    policy = agent_loop.EnginePolicy(Server(), {})
    extra = []
    for kind, asked in (("film", ["A-7B", "A-7B"]), ("music", ["B-7B", "A-7B"]), ("film", [])):
        trajectory = asking(*asked)
        reward = score(trajectory, ["Me"], pool=pool, cost=0.5)
        facts, timing = {"kind": kind}, {"rollout": 1.0, "compute_score": 0.0}
        output = loop._output(trajectory, facts, reward.reward, reward.as_metrics(), policy, timing)
        extra.append(output.extra_fields)

    metrics = sampler.routing_metrics("train", extra, ["nq"] * 3)

    assert (metrics["train/top_share"], metrics["train/kind_information"]) == (0.75, 1.0)
