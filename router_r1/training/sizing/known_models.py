"""The `config.json` of the models that the experiments and the documents name, as far as their size depends on it.

For a plan on a machine that has not downloaded the model yet. A folder, or a file in the hub's cache, wins. They were
written down without the files at hand; the parameters that they come to are those of the model cards, which a test
compares.
"""

from __future__ import annotations

from typing import Any

_QWEN = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "architectures": ["Qwen2ForCausalLM"],
}
_LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "architectures": ["LlamaForCausalLM"],
}


def _shape(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


KNOWN_MODELS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": _QWEN | _shape(896, 4864, 24, 14, 2),
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN | _shape(1536, 8960, 28, 12, 2),
    "Qwen/Qwen2.5-3B-Instruct": _QWEN | _shape(2048, 11008, 36, 16, 2),
    "Qwen/Qwen2.5-7B-Instruct": _QWEN
    | _shape(3584, 18944, 28, 28, 4)
    | {"vocab_size": 152064, "tie_word_embeddings": False},
    "meta-llama/Llama-3.2-1B-Instruct": _LLAMA | _shape(2048, 8192, 16, 32, 8) | {"head_dim": 64},
    "meta-llama/Llama-3.2-3B-Instruct": _LLAMA | _shape(3072, 8192, 28, 24, 8),
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA | _shape(4096, 14336, 32, 32, 8) | {"tie_word_embeddings": False},
}
"""Hub id -> what of its `config.json` its size depends on."""
