"""`router-r1 plan` as a user types it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from router_r1.cli import main

# Each composes veRL's whole configuration, and most count a model.
pytestmark = pytest.mark.slow

MODEL = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Exit code, output and error of a plan, on a machine without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["plan", *words])
        told = capsys.readouterr()
        assert not (tmp_path / "runs").exists(), "something was started"
        return code, told.out, told.err

    return run


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, facts in (("config.json", MODEL), ("tokenizer_config.json", {})):
        (folder / name).write_text(json.dumps(facts))
    return str(folder)


def test_a_model_of_ones_own_on_gpus_that_are_not_here(plan, model):
    code, out, err = plan("--model", model, "--gpus", "1xRTX4090-24", "actor_rollout_ref.model.lora_rank=32")

    assert (code, err) == (0, "")
    assert f"{model}: 0.494 billion parameters, LoRA of rank 32, a critic of its size" in out
    assert "GiB per GPU, 1xRTX4090-24 (23.5 GiB each)" in out
    assert all(phase in out for phase in ("rollout", "log-probs", "critic update", "policy update", "weight sync"))
    assert "12,288 bytes a token" in out
    assert "it fits with: " in out
    assert "gpu_memory_utilization=" in out


def test_what_cannot_fit_is_shown_and_refused_in_one_line_with_the_nearest_that_can(plan):
    code, out, err = plan("--gpus", "1xA100-40")

    assert code == 2
    assert "policy update" in out
    assert err.startswith("error: command line: --gpus = '1xA100-40': Qwen/Qwen2.5-3B-Instruct does not fit: its ")
    assert err.count("\n") == 1
    assert "the nearest that fits: --gpus " in err


def test_without_gpus_it_tells_what_is_asked_and_how_to_plan_for_some(plan):
    code, out, _ = plan()

    assert code == 0
    assert "router-r1 plan --gpus 4xH100-80" in out
    assert "6,144 in training" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gpus", "many"], "--gpus = 'many': must look like 4xH100-80"),
        (["--gpus", "1x80", "trainer.no_such_key=1"], "no_such_key"),
        (["--gpus", "1x80", "--model", "/no/such"], "/no/such"),
    ],
)
def test_what_is_written_wrong_is_refused(plan, words, told):
    code, _, err = plan(*words)

    assert code == 2
    assert told in err
