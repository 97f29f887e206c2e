"""The work of an update, as the formulas have it, beside what veRL's own passes allocate on fake tensors.

Not seen by this: FSDP's buffers, CUDA's own, compiled kernels, fragmentation.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

pytest.importorskip("verl")
pytest.importorskip("torch")

from router_r1.training.sizing import memory
from router_r1.training.sizing.known_models import KNOWN_MODELS
from tests.unit.training.sizing.jobs import LLAMA_3B, QWEN_3B, job, size_of

pytestmark = pytest.mark.slow

TOKENS = 8192
LAYERS = 4


@pytest.mark.parametrize("model", [QWEN_3B, LLAMA_3B])
@pytest.mark.parametrize(
    ("passes", "settings"),
    [
        ({}, {}),
        ({"fused": True}, {"fuses_logits": True}),
        ({"fused": True, "entropy": True}, {"fuses_logits": True, "has_entropy_in_update": True}),
        ({"entropy": True}, {"has_entropy_in_update": True, "compiles": False}),
        ({"is_critic": True}, {}),
    ],
    ids=["plain", "fused", "fused-entropy", "entropy", "critic"],
)
def test_the_formulas_are_within_a_tenth_of_what_the_passes_allocate(model, passes, settings):
    from transformers import AutoConfig

    from tests.unit.training.sizing.fake_passes import peak_bytes

    size = replace(size_of(model), num_layers=LAYERS)
    config = AutoConfig.for_model(**copy.deepcopy(KNOWN_MODELS[model]) | {"num_hidden_layers": LAYERS})
    some = job(token_budget=TOKENS, critic_token_budget=TOKENS, **settings)
    work = memory._critic_work if passes.get("is_critic") else memory._update_work

    measured = peak_bytes(config, TOKENS, **passes)

    assert work(size, some) - memory._sharding(size) == pytest.approx(measured, rel=0.1)
