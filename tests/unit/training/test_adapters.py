"""A checkpoint of a policy with an adapter is a plain model."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from router_r1.errors import ConfigError
from router_r1.training import configuration as cfg
from router_r1.training.adapters import merge_adapter, plain_name

RANK, ALPHA = 4, 8


@pytest.fixture
def adapted():
    """A model whose adapter has learned something; peft begins with one that adds nothing."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=32, num_hidden_layers=2, tie_word_embeddings=False, **shape))
    adapted = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", bias="none"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return adapted


def written(adapted, folder, *, files: int = 1):
    """What veRL 0.9.1 writes: the configuration of the base model, its weights in PEFT's names, rank and alpha."""
    place = folder / "huggingface"
    place.mkdir(parents=True)
    adapted.get_base_model().config.save_pretrained(place)
    state = {name: weight.contiguous() for name, weight in adapted.state_dict().items()}
    names = sorted(state, key=lambda name: "lora_" in name)  # an adapter's matrices in another file than their weight
    parts = [names[i * len(names) // files : (i + 1) * len(names) // files] for i in range(files)]
    for number, part in enumerate(parts):
        file = "model.safetensors" if files == 1 else f"model-{number}.safetensors"
        save_file({name: state[name] for name in part}, place / file, metadata={"format": "pt"})
    if files > 1:
        index = {name: f"model-{number}.safetensors" for number, part in enumerate(parts) for name in part}
        (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "lora_train_meta.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA, "task_type": "CAUSAL_LM"}))
    return place


@pytest.mark.parametrize("files", [1, 3])
def test_what_is_loaded_computes_what_was_trained(adapted, tmp_path, files):
    tokens = torch.arange(12).reshape(1, 12)
    place = written(adapted, tmp_path, files=files)

    assert merge_adapter(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(place)

    assert torch.allclose(loaded(tokens).logits, adapted(tokens).logits, atol=1e-4)
    base = copy.deepcopy(adapted).unload()
    assert not torch.allclose(loaded(tokens).logits, base(tokens).logits, atol=1e-2)


def test_a_weight_is_the_base_and_alpha_over_rank_times_the_product(adapted, tmp_path):
    weight = "base_model.model.model.layers.0.self_attn.q_proj.{}.weight"
    state = {name: value.clone() for name, value in adapted.state_dict().items()}
    place = written(adapted, tmp_path)
    merge_adapter(tmp_path)

    down, up = state[weight.format("lora_A.default")], state[weight.format("lora_B.default")]
    expected = state[weight.format("base_layer")] + 2 * up @ down
    merged = load_file(place / "model.safetensors")
    assert torch.allclose(merged["model.layers.0.self_attn.q_proj.weight"], expected, atol=1e-6)
    assert not [name for name in merged if "lora_" in name or "base_" in name]


def test_a_model_without_an_adapter_stays_as_it_is(adapted, tmp_path):
    adapted.unload().save_pretrained(tmp_path / "huggingface")

    assert not merge_adapter(tmp_path)


def test_merging_twice_adds_the_adapter_once(adapted, tmp_path):
    place = written(adapted, tmp_path)
    merge_adapter(tmp_path)
    once = load_file(place / "model.safetensors")

    assert not merge_adapter(tmp_path)
    again = load_file(place / "model.safetensors")
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_a_name_is_that_of_the_base_model():
    assert plain_name("base_model.model.model.norm.weight") == "model.norm.weight"
    assert plain_name("base_model.model.lm_head.weight") == "lm_head.weight"
    assert (
        plain_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.bias") == "model.layers.0.mlp.up_proj.bias"
    )


@pytest.fixture(scope="module")
def default():
    """The default configuration, not resolved yet; composing it takes a second."""
    return cfg.compose_config(["platform=cpu", "experiment=world_cpu"])


def changed(default, **values: object):
    config = copy.deepcopy(default)
    cfg.set_values(config, {"name": "x", "run_dir": "/x"} | {k.replace("__", "."): v for k, v in values.items()})
    return cfg.resolve(config)


def test_one_key_trains_an_adapter_that_is_merged_into_what_the_engine_gets(default):
    model = changed(default, router_r1__lora__rank=32).actor_rollout_ref.model

    assert (model.lora_rank, model.lora_alpha, model.lora.merge) == (32, 32, True)
    other = changed(default, router_r1__lora__rank=32, router_r1__lora__alpha=64)
    assert other.actor_rollout_ref.model.lora_alpha == 64
    assert changed(default).actor_rollout_ref.model.lora_rank == 0


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"router_r1__lora__rank": -1}, "router_r1.lora.rank = -1"),
        ({"router_r1__lora__rank": 8.5}, "router_r1.lora.rank = 8.5"),
        ({"router_r1__lora__rank": 8, "router_r1__lora__alpha": 0}, "router_r1.lora.alpha = 0"),
        ({"router_r1__lora__rank": 8, "actor_rollout_ref__model__lora__merge": False}, "lora.merge = False"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(default, values, key):
    with pytest.raises(ConfigError, match=key):
        cfg.check_settings(changed(default, **values))
