"""The engine back ends: vLLM in process, and vLLM's own server over HTTP, on one tiny checkpoint."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from router_r1.errors import ConfigError
from router_r1.protocol import Search, Status
from router_r1.rollout import vllm_environment
from router_r1.rollout.http_policy import http_policy
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.model_folder import check_model_path, load_tokenizer, stored_dtype
from router_r1.rollout.sampling import Sampling
from router_r1.rollout.tokens import encode_prompt
from router_r1.rollout.vllm_policy import vllm_policy
from tests.doubles.rollout_doubles import TableDispatcher
from tests.doubles.vllm_server import serving
from tests.unit.rollout.test_loop import POOL

STOPS = ("</search>", "</answer>")


@pytest.mark.parametrize("path", ["/no/such/model", "./none", "nothing"])
async def test_a_model_that_is_not_there_is_refused_before_vllm_is_imported(path):
    before = "vllm" in sys.modules
    with pytest.raises(ConfigError, match=r"model_path = .*does not exist"):
        async with vllm_policy(path):
            pass
    assert ("vllm" in sys.modules) == before


def test_a_folder_without_a_model_and_a_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        check_model_path("policy", "model_path", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="tokenizer"):
        check_model_path("policy", "model_path", tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        check_model_path("policy", "model_path", tmp_path / "config.json")
    check_model_path("policy", "model_path", "Qwen/Qwen2.5-3B-Instruct")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_dtype_is_read_off_the_weights_as_most_of_them_are_stored(tmp_path, dtype):
    import torch
    from safetensors.torch import save_file

    stored = {name: torch.zeros(2, dtype=getattr(torch, dtype)) for name in "ab"} | {"steps": torch.zeros(1).double()}
    save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    assert stored_dtype(tmp_path) == dtype


def test_the_dtype_of_weights_that_are_elsewhere_or_quantized_is_not_known(tmp_path):
    import torch
    from safetensors.torch import save_file

    assert stored_dtype("Qwen/Qwen2.5-3B-Instruct") is None
    save_file({}, tmp_path / "model.safetensors")
    assert stored_dtype(tmp_path) is None
    save_file({"a": torch.zeros(2, dtype=torch.int8)}, tmp_path / "model.safetensors")
    assert stored_dtype(tmp_path) is None


def test_weights_that_were_cut_short_are_told_by_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(ConfigError, match=r"model\.safetensors: is no whole safetensors file"):
        stored_dtype(tmp_path)


@pytest.mark.parametrize("values", [{"temperature": -0.1}, {"temperature": 2.1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_sampling_out_of_range_is_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Sampling(**values)


def test_what_the_user_has_set_in_the_environment_stays(monkeypatch):
    for name in vllm_environment.ALWAYS | vllm_environment.CPU:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    vllm_environment.prepare(cpu=True)
    try:
        assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"
        assert os.environ["TORCHDYNAMO_DISABLE"] == "1"
        assert os.environ["VLLM_LOGGING_STREAM"] == "ext://sys.stderr"
    finally:
        for name in vllm_environment.ALWAYS | vllm_environment.CPU:
            monkeypatch.delenv(name, raising=False)


def test_training_and_inference_without_gpus_run_vllm_alike(project_root):
    platform = yaml.safe_load((project_root / "verl" / "platform" / "cpu.yaml").read_text())
    training = platform["ray_kwargs"]["ray_init"]["runtime_env"]["env_vars"]
    assert {name: training.get(name) for name in vllm_environment.CPU} == vllm_environment.CPU


# ---------------------------------------------------------------- with an engine


@pytest.fixture(scope="module")
def served(tiny_checkpoint: Path, tmp_path_factory):
    """vLLM's own server; yields its address."""
    with serving(tiny_checkpoint, "tiny", tmp_path_factory.mktemp("served")) as url:
        yield url


async def roll_all(policy, tokenizer):
    from tests.doubles.tiny_checkpoint import CAPITALS, prompt_of

    replies = {f"What is the capital of {country}?": f"It is {city}." for country, city in CAPITALS.items()}
    limits = RolloutLimits(max_turn_tokens=80, max_obs_length=40, max_model_len=policy.max_model_len)
    return await asyncio.gather(
        *(
            run_trajectory(
                encode_prompt(tokenizer, [{"role": "user", "content": prompt_of(country)}]),
                policy=policy,
                dispatcher=TableDispatcher(replies),
                pool=POOL,
                tokenizer=tokenizer,
                limits=limits,
                request_id=country,
            )
            for country in CAPITALS
        )
    )


@pytest.mark.slow
async def test_greedy_trajectories_agree_between_the_engine_in_process_and_behind_http(
    tiny_checkpoint, served, tmp_path
):
    as_verl_saves_it = tmp_path / "huggingface"  # weights in float32, and a configuration that says otherwise
    shutil.copytree(tiny_checkpoint, as_verl_saves_it)
    config = json.loads((as_verl_saves_it / "config.json").read_text())
    assert config["dtype"] == "float32"
    (as_verl_saves_it / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    tokenizer = load_tokenizer(tiny_checkpoint)
    sampling = Sampling(logprobs=True)
    async with http_policy(served, sampling=sampling) as policy:
        assert (policy.model, policy.root, policy.max_model_len) == ("tiny", str(tiny_checkpoint), 1024)
        over_http = await roll_all(policy, tokenizer)
        await _stream(policy, tokenizer)
    others = set(psutil.Process().children(recursive=True))
    async with vllm_policy(str(as_verl_saves_it), sampling=sampling, max_model_len=4096) as policy:
        assert policy.max_model_len == 1024
        in_process = await roll_all(policy, tokenizer)
        await _stream(policy, tokenizer)
        sampled = await _sample(policy, tokenizer)
        many = await _sample_many(policy, tokenizer)
    assert any(t.status is Status.ANSWERED and t.routes for t in in_process), [t.text for t in in_process]
    for there, here in zip(over_http, in_process, strict=True):
        assert (there.response_ids, there.status) == (here.response_ids, here.status)
        assert there.response_logprobs == pytest.approx(here.response_logprobs, abs=1e-4)
        assert len(here.response_logprobs) == len(here.response_ids)
        for turn in here.turns:
            if isinstance(turn.action, Search):
                assert turn.text.endswith("</search>")
                assert tokenizer.decode(turn.token_ids) == turn.text
    assert sampled
    assert all(1 <= len(ids) <= 4 for ids in many)
    left = set(psutil.Process().children(recursive=True)) - others
    assert not [process for process in left if "VLLM" in process.name()]


async def _stream(policy, tokenizer):
    """A turn that is told while it is sampled is the same turn."""
    prompt = tokenizer.encode("Question: What is the capital of France?")
    told = []
    asked = {"max_tokens": 12, "stop": STOPS}
    whole = await policy.generate(prompt, request_id="whole", **asked)
    streamed = await policy.stream(prompt, request_id="stream", told=told.append, **asked)
    assert (streamed.token_ids, streamed.finish) == (whole.token_ids, whole.finish)
    assert streamed.logprobs == pytest.approx(whole.logprobs, abs=1e-4)
    assert [token for tokens in told for token in tokens] == whole.token_ids
    assert len(told) > 1


async def _sample_many(policy, tokenizer):
    """More seeded prompts at once than one batch holds: a prompt that is cut in two ended the engine."""
    policy.sampling = Sampling(temperature=1.0, seed=1)
    prompt = tokenizer.encode("Who wrote Emma? " * 8)
    draws = [policy.generate(prompt, max_tokens=4, stop=STOPS, request_id=f"many-{i}") for i in range(300)]
    return [generation.token_ids for generation in await asyncio.gather(*draws)]


async def _sample(policy, tokenizer):
    """Two draws under one seed agree, and those of other seeds or trajectories need not: returns whether all is so."""
    prompt = tokenizer.encode("<|im_start|>")

    async def draw(seed, request_id):
        policy.sampling = Sampling(temperature=2.0, seed=seed)
        return (await policy.generate(prompt, max_tokens=40, stop=STOPS, request_id=request_id)).token_ids

    first = await draw(1, "a")
    return first == await draw(1, "a") and first != await draw(2, "a") and first != await draw(1, "b")
