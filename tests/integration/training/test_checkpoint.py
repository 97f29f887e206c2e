"""What this project changes of a checkpoint that veRL wrote."""

import json
import shutil
from types import SimpleNamespace

from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

from router_r1.runs import COST_WINDOW_FILE
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.training import checkpoint
from router_r1.training.stopping import StopNotice


def test_a_saved_checkpoint_can_be_loaded_without_the_attention_that_it_was_trained_with(tmp_path, monkeypatch):
    folder = tmp_path / "actor" / "huggingface"
    shutil.copytree(SHIPPED_POLICY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "packed_sdpa"}))
    window = {"costs": [1.0]}
    hook = object.__new__(checkpoint.CheckpointHook)
    hook._window = SimpleNamespace(state_dict=SimpleNamespace(remote=lambda: window))
    limits = {"max_actor_ckpt_to_keep": 2, "max_critic_ckpt_to_keep": 2}
    hook.config = OmegaConf.create({"run_dir": str(tmp_path), "trainer": {"save_freq": 1, **limits}})
    hook._stop = StopNotice(hook.config)
    monkeypatch.setattr(checkpoint.ray, "get", lambda answer: answer)

    hook.on_save(None, 1, str(tmp_path))

    left = json.loads((folder / "config.json").read_text())
    assert left == {key: value for key, value in config.items() if key != "attn_implementation"}
    assert json.loads((tmp_path / COST_WINDOW_FILE).read_text()) == window
    AutoModelForCausalLM.from_pretrained(folder)
