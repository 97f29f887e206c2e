"""What veRL's engine is asked for, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient
from vllm.sampling_params import RequestOutputKind

from router_r1.datasets import Question, drawn_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Deal, Price, RoutingPool, Shown
from router_r1.prompts import load_template, render_messages
from router_r1.prompts.cost_words import cost_word
from router_r1.protocol import STOP_STRINGS, Answer, Route, Search, Status, Trajectory, Turn
from router_r1.rewards.rubric import RewardConfig, Rubric, score
from router_r1.rollout.exploration import ExplorationConfig
from router_r1.rollout.loop import RolloutLimits
from router_r1.training import agent_loop, sampler
from tests.doubles.bpe_tokenizers import build_tokenizer
from tests.doubles.rollout_doubles import TableDispatcher

pytestmark = pytest.mark.slow  # importing veRL takes seconds


@dataclass
class Output:
    """The fields of veRL's TokenOutput that matter here."""

    token_ids: list[int]
    log_probs: list[float] | None = None
    stop_reason: str | None = "completed"
    num_preempted: int | None = None
    routed_experts: None = None
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


async def test_what_was_written_for_the_policy_is_part_of_the_prompt_whose_log_probs_the_engine_tells():
    """veRL gives a prompt's from its second token on, and one more for what is to come."""
    told = {"global_steps": 2, "prompt_logprobs": [[-9.0], [-3.5], [-0.5], [0.0]]}
    server = Server(Output([6, 8], [-0.1, -0.2], extra_fields=told))
    policy = agent_loop.EnginePolicy(server, {"temperature": 1.0, "logprobs": True})

    generation = await policy.go_on([1, 2], [7, 5], max_tokens=9, stop=STOP_STRINGS, request_id="r")

    (call,) = server.calls
    assert (call["prompt_ids"], call["sampling_params"]["prompt_logprobs"]) == ([1, 2, 7, 5], 0)
    assert call["sampling_params"]["max_tokens"] == 9
    assert (generation.token_ids, generation.logprobs) == ([7, 5, 6, 8], [-3.5, -0.5, -0.1, -0.2])
    assert (generation.finish, policy.model_versions) == ("stop", {2})


async def test_an_engine_that_tells_no_log_probs_of_a_prompt_is_no_silent_gap():
    policy = agent_loop.EnginePolicy(Server(Output([6], [-0.1])), {})
    with pytest.raises(RuntimeError, match=r"router_r1\.exploration\.dealt=0"):
        await policy.go_on([1, 2], [7, 5], max_tokens=9, stop=STOP_STRINGS, request_id="r")


class Interrupted(FullyAsyncLLMServerClient):
    """veRL's asynchronous client, of an engine that says these things one after another."""

    def __init__(self, *outputs: Output) -> None:
        self.server = Server(*outputs)
        rollout = {"name": "vllm", "full_determinism": False, "response_length": 64}
        super().__init__(OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}}))

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        return "engine", SimpleNamespace(generate=SimpleNamespace(remote=self._asked))

    async def _asked(self, *, sampling_params: dict[str, Any], **call: Any) -> Output:
        return await self.server.generate(sampling_params=dict(sampling_params), **call)  # a copy, as over Ray

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        pass


def told(version: int) -> dict[str, Any]:
    return {"global_steps": version, "prompt_logprobs": [[-9.0], [-3.5], [-0.5], [0.0]]}


async def test_a_dealt_choice_that_a_weight_update_interrupts_goes_on_with_the_new_weights():
    """veRL's client would go on by itself, and forget the log-probs of what was dealt."""
    client = Interrupted(
        Output([6], [-0.1], stop_reason="aborted", extra_fields=told(2)),
        Output([8, 9], [-0.2, -0.3], extra_fields={"global_steps": 3}),
    )
    policy = agent_loop.EnginePolicy(client, {"logprobs": True})

    generation = await policy.go_on([1, 2], [7, 5], max_tokens=9, stop=STOP_STRINGS, request_id="r")

    first, second = client.server.calls
    assert (first["prompt_ids"], second["prompt_ids"]) == ([1, 2, 7, 5], [1, 2, 7, 5, 6])
    assert second["sampling_params"]["max_tokens"] == 8
    assert generation.token_ids == [7, 5, 6, 8, 9]
    assert generation.logprobs == [-3.5, -0.5, -0.1, -0.2, -0.3]
    assert (generation.finish, policy.model_versions) == ("stop", {2, 3})


async def test_a_dealt_choice_that_is_interrupted_before_its_log_probs_were_told_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(agent_loop, "INTERRUPTED_S", 0)
    client = Interrupted(
        Output([], stop_reason="aborted", extra_fields={"global_steps": 2}),
        Output([6], [-0.1], extra_fields=told(3)),
    )
    policy = agent_loop.EnginePolicy(client, {"logprobs": True})

    generation = await policy.go_on([1, 2], [7, 5], max_tokens=9, stop=STOP_STRINGS, request_id="r")

    assert (generation.token_ids, generation.finish) == ([7, 5, 6], "stop")
    assert generation.logprobs == [-3.5, -0.5, -0.1]


async def test_an_interruption_at_the_last_token_of_the_budget_is_its_end():
    client = Interrupted(Output([6, 8], [-0.1, -0.2], stop_reason="aborted", extra_fields=told(2)))
    policy = agent_loop.EnginePolicy(client, {"logprobs": True})

    generation = await policy.go_on([1, 2], [7, 5], max_tokens=2, stop=STOP_STRINGS, request_id="r")

    assert (generation.token_ids, generation.finish) == ([7, 5, 6, 8], "length")


@pytest.mark.parametrize(
    ("mode", "engine", "is_whole"),
    [("sync", "vllm", True), ("colocate_async", "vllm", False), ("sync", "sglang", False)],
)
def test_only_a_trainer_that_never_interrupts_vllm_asks_for_whole_outputs(mode, engine, is_whole):
    config = {"trainer": {"v1": {"trainer_mode": mode}}, "actor_rollout_ref": {"rollout": {"name": engine}}}
    params = agent_loop.whole_outputs(OmegaConf.create(config))
    assert params == ({"output_kind": RequestOutputKind.FINAL_ONLY} if is_whole else {})


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
        Output([5], extra_fields={"global_steps": 4, "min_global_steps": 3, "max_global_steps": 4}, num_preempted=2),
        Output([6], extra_fields={"global_steps": 5}, num_preempted=-1),
    ]
    policy = agent_loop.EnginePolicy(Server(*outputs), {})
    for _ in range(2):
        await policy.generate([1], max_tokens=3, stop=STOP_STRINGS, request_id="r")

    assert (policy.model_versions, policy.preemptions) == ({3, 4, 5}, 2), (
        "the first generation began with version 3 and was interrupted"
    )


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


# ---------------------------------------------------------------- a row that deals its candidates


TOKENIZER = build_tokenizer()


class Services(TableDispatcher):
    """The run's shared actors, in process."""

    pool = RoutingPool(
        name="three",
        candidates=tuple(
            Candidate(name=n, model=n, price=Price(input=0, output=1), descriptor=f"d{n}", base_url="http://h/v1")
            for n in ("A-7B", "B-7B", "C-7B")
        ),
    )

    async def cost(self, trajectory: Trajectory, *, train: bool) -> float:
        return 0.5


class WritingServer:
    """An engine that asks whomever it was made to name, else Nova, and answers with what it is told."""

    async def generate(self, *, request_id: str, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Output:
        context = TOKENIZER.decode(prompt_ids)
        if "<information>" in context:
            text = "<think> I know. </think> <answer> Paris </answer>"
        elif context.endswith("<search>"):
            text = " Nova: Who? </search>"
        else:
            _, asked, written = context.rpartition("<search> ")
            text = ": Who? </search>" if asked and written else "<think> Hm. </think> <search> Nova: Who? </search>"
        end = min((text.index(s) + len(s) for s in sampling_params["stop"] if s in text), default=len(text))
        ids = TOKENIZER.encode(text[:end], add_special_tokens=False)
        asked = "prompt_logprobs" in sampling_params
        return Output(
            ids, [-0.5] * len(ids), extra_fields={"prompt_logprobs": [[-2.0]] * len(prompt_ids)} if asked else {}
        )


def loop_of(
    monkeypatch: pytest.MonkeyPatch,
    services: Services,
    exploration: ExplorationConfig,
    reward: RewardConfig | None = None,
) -> Any:
    """A loop with the parts that veRL gives it replaced at their edges: engine, shared actors, chat template."""
    monkeypatch.setattr(agent_loop, "connect", lambda: services)
    loop = object.__new__(agent_loop.RouterAgentLoop)
    loop.loop, loop.tokenizer, loop.server_manager = asyncio.get_running_loop(), TOKENIZER, WritingServer()
    loop.continuous_token_builder = SimpleNamespace(build_initial_tokens=lambda _: TOKENIZER.encode("Who?"))
    loop.config = OmegaConf.create(
        {
            "trainer": {"total_training_steps": 4, "v1": {"trainer_mode": "sync"}},
            "actor_rollout_ref": {"rollout": {"name": "vllm"}},
        }
    )
    loop._limits, loop._rubric, loop._exploration = (
        RolloutLimits(),
        Rubric.from_config(reward or RewardConfig()),
        exploration,
    )
    return loop


DEAL = Deal((Shown("Nova", "C-7B"), Shown("Lyra", "A-7B")))


def row_of(**extra: Any) -> dict[str, Any]:
    return {
        "extra_info": {"split": "train", "index": 0, **extra},
        "raw_prompt": [],
        "reward_model": {"ground_truth": {"target": ["Paris"]}},
        "ability": "qa",
        "data_source": "nq",
        "uid": "g",
        "session_id": 0,
        "global_steps": 1,
    }


async def test_a_dealt_row_is_asked_by_shown_names_and_told_of_by_the_pools_own(monkeypatch):
    services = Services()
    loop = loop_of(monkeypatch, services, ExplorationConfig())

    output = await loop.run({}, **row_of(candidates=DEAL.as_rows()))

    assert "<search> Nova: Who? </search>" in TOKENIZER.decode(output.response_ids)
    assert services.asked == [("C-7B", "Who?")]
    assert output.extra_fields["first_candidate"] == "C-7B"
    metrics = output.extra_fields["reward_extra_info"]
    assert {key: value for key, value in metrics.items() if key.startswith("candidate/")} == {
        "candidate/A-7B": 0.0,
        "candidate/B-7B": 0.0,
        "candidate/C-7B": 1.0,
    }
    assert (output.reward_score, metrics["invalid_searches"]) == (1.0, 0.0)


@pytest.mark.parametrize("extra", [{}, {"candidates": None}])
async def test_a_row_without_a_deal_is_asked_by_the_pools_own_names(monkeypatch, extra):
    """With the column or, in a file of an earlier version, without it."""
    services = Services()
    loop = loop_of(monkeypatch, services, ExplorationConfig())

    output = await loop.run({}, **row_of(**extra))

    assert services.asked == []
    assert output.extra_fields["reward_extra_info"]["invalid_searches"] == 1.0


async def test_exploration_forces_those_whom_the_question_was_dealt_as_its_prompt_shows_them(monkeypatch):
    services = Services()
    loop = loop_of(monkeypatch, services, ExplorationConfig(dealt=1.0, choice="{name}"))

    texts = []
    for place in range(4):
        row = row_of(candidates=DEAL.as_rows()) | {"session_id": place}
        texts.append(TOKENIZER.decode((await loop.run({}, **row)).response_ids))

    assert sorted(text.partition("<search> ")[2].partition(":")[0] for text in texts) == [
        "Lyra",
        "Lyra",
        "Nova",
        "Nova",
    ]
    assert sorted(candidate for candidate, _ in services.asked) == ["A-7B", "A-7B", "C-7B", "C-7B"]


async def test_a_row_that_deals_somebody_whom_the_pool_lacks_is_refused(monkeypatch):
    loop = loop_of(monkeypatch, Services(), ExplorationConfig())

    with pytest.raises(ConfigError, match=r"^train row 0: candidates\[0\]\.candidate = 'Z-9B'"):
        await loop.run({}, **row_of(candidates=[{"name": "Nova", "candidate": "Z-9B"}]))


async def test_rows_of_a_data_file_are_scored_by_their_own_weight_and_asked_of_their_own_deal(monkeypatch, tmp_path):
    """Two questions with alphas of 0 and 0.95, both right at a cost term of 0.5; Nova is another candidate for each."""
    deals = [DEAL, Deal((Shown("Lyra", "C-7B"), Shown("Nova", "B-7B")))]
    rows = [
        drawn_row(
            Question(f"train_{index}", "Who?", ("Paris",)),
            data_source="nq",
            split="train",
            index=index,
            render=partial(render_messages, load_template("qwen"), Services.pool),
            deal=lambda _, index: deals[index],
            cost_weights=(0.0, 0.95),
        )
        for index in range(2)
    ]
    write_parquet(rows, tmp_path / "train.parquet")
    services = Services()
    loop = loop_of(monkeypatch, services, ExplorationConfig(), RewardConfig(cost_coe="sampled"))

    outputs = [
        await loop.run({}, **row, raw_prompt=[], uid="g", session_id=0, global_steps=1)
        for row in pq.read_table(tmp_path / "train.parquet").to_pylist()
    ]

    assert services.asked == [("C-7B", "Who?"), ("B-7B", "Who?")]
    rewards = {output.extra_fields["cost_weight"]: output.reward_score for output in outputs}
    assert rewards == pytest.approx({0.0: 1.0, 0.95: 0.05 + 0.95 * 0.5})
    assert [output.extra_fields["question_index"] for output in outputs] == [0, 1]
    for row in rows:
        (message,) = row["prompt"]
        assert f"counts here: {cost_word(row['extra_info']['cost_weight'])} (" in message["content"]
        assert "Nova" in message["content"]


async def test_a_trajectory_is_generated_by_the_quickest_client(monkeypatch):
    loop = loop_of(monkeypatch, Services(), ExplorationConfig())
    quick, loop.server_manager = loop.server_manager, object()
    monkeypatch.setattr(agent_loop, "quickest", {loop.server_manager: quick}.__getitem__)

    output = await loop.run({}, **row_of(candidates=DEAL.as_rows()))

    assert "Paris" in TOKENIZER.decode(output.response_ids)
