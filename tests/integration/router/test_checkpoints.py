"""Which folder is the policy, whatever folder was named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from router_r1.checkpoints import find_policy, with_weights
from router_r1.errors import ConfigError


def make_checkpoint(root: Path, step: int, model_folder: Path, *, weights: bool = True) -> Path:
    """`global_step_N` as veRL leaves it."""
    folder = root / f"global_step_{step}"
    huggingface = folder / "actor" / "huggingface"
    huggingface.mkdir(parents=True)
    for file in model_folder.iterdir():
        (huggingface / file.name).write_bytes(file.read_bytes())
    if weights:
        (huggingface / "model.safetensors").write_bytes(b"")
    (folder / "actor" / "model_world_size_1_rank_0.pt").write_bytes(b"")
    return folder


def found(path: Path) -> Path:
    return Path(find_policy("command line", "--model-path", str(path)))


def test_every_folder_above_the_model_will_do(tmp_path, model_folder):
    run = tmp_path / "run"
    make_checkpoint(run / "checkpoints", 9, model_folder)
    newest = make_checkpoint(run / "checkpoints", 10, model_folder)
    policy = newest / "actor" / "huggingface"
    for folder in (policy, newest / "actor", newest, run / "checkpoints"):
        assert found(folder) == policy


def test_a_run_is_its_newest_whole_checkpoint(tmp_path, model_folder):
    run = tmp_path / "run"
    whole = make_checkpoint(run / "checkpoints", 9, model_folder)
    make_checkpoint(run / "checkpoints", 10, model_folder)
    (whole / "cost_window.json").write_text("{}")
    (run / "run.json").write_text("{}")
    assert found(run) == whole / "actor" / "huggingface"


def test_a_hub_id_stays_what_it_is():
    assert find_policy("command line", "--model-path", "Qwen/Qwen2.5-3B-Instruct") == "Qwen/Qwen2.5-3B-Instruct"


def test_folders_without_a_policy_are_refused(tmp_path, model_folder):
    with pytest.raises(ConfigError, match=r"--model-path.*holds no policy"):
        found(tmp_path)
    bare = make_checkpoint(tmp_path, 1, model_folder, weights=False)
    (bare / "actor" / "model_world_size_1_rank_0.pt").unlink()
    with pytest.raises(ConfigError, match="neither weights nor shards"):
        found(bare)
    with pytest.raises(ConfigError, match="does not exist"):
        found(tmp_path / "nowhere")


def test_what_verl_cannot_merge_is_told_and_leaves_nothing_behind(tmp_path, model_folder, monkeypatch):
    """The real merger takes many seconds to start; one that cannot start ends as it does, with a traceback."""
    (tmp_path / "verl").mkdir()
    (tmp_path / "verl" / "__init__.py").write_text("raise FileNotFoundError('fsdp_config.json')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    step = make_checkpoint(tmp_path, 1, model_folder, weights=False)
    with pytest.raises(RuntimeError, match=r"veRL could not merge the shards in .*: FileNotFoundError: fsdp_config"):
        with_weights(str(found(step)))
    assert sorted(f.name for f in (step / "actor").iterdir()) == ["huggingface", "model_world_size_1_rank_0.pt"]


@pytest.mark.slow
def test_shards_are_merged_by_verl_once(tmp_path):
    """A checkpoint with weights as one FSDP rank saves them, and none in Hugging Face format."""
    from safetensors.torch import load_file

    from tests.doubles.tiny_checkpoint import save_tiny_checkpoint

    model = save_tiny_checkpoint(tmp_path / "model", steps=0)
    weights = load_file(model / "model.safetensors")
    step = make_checkpoint(tmp_path, 1, model, weights=False)
    actor = step / "actor"
    (actor / "huggingface" / "model.safetensors").unlink()
    torch.save(weights, actor / "model_world_size_1_rank_0.pt")
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    merged = Path(with_weights(str(found(step))))
    assert merged == actor / "merged"
    after = load_file(merged / "model.safetensors")
    assert all(torch.equal(after[name], weights[name].bfloat16()) for name in after)
    before = (merged / "model.safetensors").stat().st_mtime_ns
    assert Path(with_weights(str(found(step)))) == merged
    assert (merged / "model.safetensors").stat().st_mtime_ns == before
