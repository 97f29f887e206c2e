"""What this project changes of a checkpoint that veRL wrote."""

import json
import shutil

from transformers import AutoModelForCausalLM

from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.training.checkpoint import forget_attention


def test_a_checkpoint_can_be_loaded_without_the_attention_that_it_was_trained_with(tmp_path):
    folder = tmp_path / "actor" / "huggingface"
    shutil.copytree(SHIPPED_POLICY, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "packed_sdpa"}))

    forget_attention(tmp_path)

    left = json.loads((folder / "config.json").read_text())
    assert left == {key: value for key, value in config.items() if key != "attn_implementation"}
    AutoModelForCausalLM.from_pretrained(folder)
