"""A model is counted exactly from its `config.json`, and nothing is downloaded for it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from router_r1.errors import ConfigError
from router_r1.training.sizing.known_models import KNOWN_MODELS
from router_r1.training.sizing.model_size import model_size
from tests.unit.training.sizing.jobs import LLAMA_3B, QWEN_3B, size_of

SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}


@pytest.fixture
def folder(tmp_path):
    def write(**changes: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps(SMALL | changes))
        return str(tmp_path)

    return write


def test_a_small_model_counted_by_hand(folder):
    """Per layer: q 8x8, k and v 8x4, o 8x8, three MLP matrices 8x20, two norms of 8."""
    layer = 64 + 2 * 32 + 64 + 3 * 160 + 2 * 8

    size = size_of(folder())

    assert size.layer_parameters == layer
    assert size.parameters == 2 * layer + 8 + 2 * 800  # a last norm; embeddings and head
    assert size.value_parameters == 2 * layer + 8 + 800 + 8 + 1  # no head, but a row with a bias for the value
    assert (size.kv_width, size.kv_bytes) == (4, 2 * 2 * 4 * 2)
    assert size.lora_parameters(3) == 3 * 2 * (16 + 12 + 12 + 16 + 3 * 28)


def test_tied_embeddings_count_once(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"tie_word_embeddings": True}))

    tied = size_of(str(tmp_path))

    assert tied.is_tied
    assert tied.parameters == 2 * tied.layer_parameters + 8 + 800


@pytest.mark.parametrize(
    ("model", "parameters", "kv_bytes"),
    [
        # Qwen2.5-3B: 151936 x 2048 + 36 x (2048 x 2048 x 2 + 2 x 2048 x 256 + 2048 + 2 x 256 + 3 x 2048 x 11008
        # + 2 x 2048) + 2048; its q, k, v have biases. The audit's KV cache: 36,864 bytes a token.
        (QWEN_3B, 3_085_938_688, 36_864),
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 12_288),
        (LLAMA_3B, 3_212_749_824, 114_688),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 57_344),
    ],
)
def test_models_that_are_known_without_a_download_have_their_published_size(model, parameters, kv_bytes):
    size = size_of(model)

    assert (size.parameters, size.kv_bytes) == (parameters, kv_bytes)


def test_a_critic_is_counted_as_transformers_would_build_it(folder):
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    config = AutoConfig.from_pretrained(folder(), num_labels=1)
    with torch.device("meta"):
        critic = AutoModelForTokenClassification.from_config(config)

    assert size_of(folder()).value_parameters == sum(p.numel() for p in critic.parameters())


def test_an_adapter_is_counted_as_peft_would_build_it(folder):
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder()))
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))

    assert size_of(folder()).lora_parameters(4) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nobody/no-such-model", "config.json is not on this machine; give a folder, or fetch it: hf download nobody/"),
        ("/no/such/folder", "config.json is not on this machine"),
    ],
)
def test_a_model_that_is_not_here_is_refused_without_asking_the_hub(model, told):
    with pytest.raises(ConfigError, match="is not on this machine") as refused:
        model_size(model, "configuration", "model.path")

    assert str(refused.value).startswith(f"configuration: model.path = '{model}': ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"model_type": "no_such_type"}, "cannot be used"), ({"architectures": None, "model_type": None}, "cannot")],
)
def test_an_architecture_that_transformers_does_not_have_is_refused(folder, changes, told):
    with pytest.raises(ConfigError, match=told):
        size_of(folder(**changes))


CARDS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 0.49,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54,
    "Qwen/Qwen2.5-3B-Instruct": 3.09,
    "Qwen/Qwen2.5-7B-Instruct": 7.61,
    "meta-llama/Llama-3.2-1B-Instruct": 1.23,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
}
"""Billions of parameters, as the models' cards tell them."""


@pytest.mark.parametrize("model", KNOWN_MODELS)
def test_a_known_model_has_the_parameters_that_its_card_tells(model):
    assert size_of(model).parameters / 1e9 == pytest.approx(CARDS[model], abs=0.01)
