"""Memory per GPU: by hand, beside an independent estimate, and what must hold of any training."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

from router_r1.training.sizing import memory
from router_r1.training.sizing.gpus import Gpu
from router_r1.training.sizing.memory import GIB
from tests.unit.training.sizing.jobs import LLAMA_3B, QWEN_3B, job, size_of

GPU = Gpu("nominal", 80.0)


def phases(job_, model=QWEN_3B, gpu=GPU):
    return {phase.name: phase for phase in memory.phases(size_of(model), job_, gpu)}


# ---------------------------------------------------------------- by hand


def test_parameters_gradients_and_optimizer_of_a_policy_that_is_shared_by_four_gpus():
    """P = 3,085,938,688 in float32: 4 P of parameters, 4 P of gradients, 8 P of AdamW's moments, a quarter of each."""
    found = phases(job(4))
    quarter = 3_085_938_688 / 4 / GIB

    assert found["rollout"].allocated["policy"] == pytest.approx(12 * quarter)
    assert found["log-probs"].allocated["policy"] == pytest.approx(12 * quarter)
    assert found["policy update"].allocated["policy"] == pytest.approx(16 * quarter)


def test_what_is_offloaded_is_there_only_while_it_is_its_turn():
    found = phases(job(4, offloads_parameters=True, offloads_optimizer=True))
    quarter = 3_085_938_688 / 4 / GIB

    assert "policy" not in found["rollout"].allocated
    assert "critic" not in found["policy update"].allocated
    assert found["log-probs"].allocated["policy"] == pytest.approx(4 * quarter)
    assert found["policy update"].allocated["policy"] == pytest.approx(16 * quarter)


def test_an_adapter_has_gradients_and_moments_of_its_own_alone():
    """Rank 32: 32 x 1,870,848 parameters; all of P is held, none of P is trained."""
    found = phases(job(1, lora_rank=32, has_critic=False, has_reference=False))
    adapter = 32 * 1_870_848

    assert found["policy update"].allocated["policy"] == pytest.approx(
        (4 * (3_085_938_688 + adapter) + 12 * adapter) / GIB
    )


def test_the_kv_cache_is_what_the_engines_share_leaves():
    """0.35 of 80 GiB, less 5.75 of weights, a pass and graphs: 36,864 bytes a token, so 40 long trajectories fit."""
    small = replace(job(4), utilisation=0.35)
    model = size_of(QWEN_3B)
    fixed = 2 * 3_085_938_688 + 16384 * (6 * 11008 + 8 * 2048) + 12 * 512 * 151936

    assert memory.kv_tokens(model, small, GPU) == int((0.35 * 80 * GIB - fixed - 0.5 * GIB) / 36864)
    assert memory.kv_tokens(model, small, GPU) // 11616 > 40


def test_a_checkpoint_of_a_3b_policy_with_its_critic_takes_86_gb():
    """12 P for the policy, 12 P for the critic, 4 P in Hugging Face's format: the audit's "about 86 GB each"."""
    assert memory.checkpoint_bytes(size_of(QWEN_3B), job(), has_hf_model=True) / 1e9 == pytest.approx(86.4, abs=0.05)
    assert memory.checkpoint_bytes(size_of(QWEN_3B), job(has_critic=False), has_hf_model=False) == 12 * 3_085_938_688


def test_of_tied_embeddings_every_process_of_a_node_reads_the_whole_model_first():
    tied = memory.host_memory(size_of(QWEN_3B), job(8, has_reference=False))
    one = memory.host_memory(size_of(QWEN_3B), job(1, has_reference=False))

    assert tied.loading - one.loading == pytest.approx(7 * (4 * 3_085_938_688 / GIB + memory.HOST_PER_GPU_GIB))


# ---------------------------------------------------------------- an independent estimate

AUDIT = [  # GPUs, GiB of each, (rollout, update), by reading: a 3B policy, a 3B critic, the entropy in the update
    (1, 80, 118, 129),
    (2, 80, 84, 83),
    (4, 80, 67, 60),
    (8, 80, 58, 49),
    (8, 40, 34, 49),
]


@pytest.mark.parametrize(("gpus", "gib", "rollout", "update"), AUDIT)
def test_the_audits_figures_are_reproduced_but_for_gradients_that_verl_frees(gpus, gib, rollout, update):
    """Rollout to 1 GiB, updates to 2 GiB.

    The audit has the critic's gradients still there while the policy learns. veRL 0.9.1 sets them to None when a
    worker's update ends (`EngineTrainModeCtx.__exit__`, `zero_grad_on_exit`), so they are no part of the plan.
    """
    found = phases(job(gpus, has_entropy_in_update=True), gpu=Gpu("nominal", gib))
    critics_gradients = 4 * 3_085_940_737 / gpus / GIB

    assert found["rollout"].total_gib == pytest.approx(rollout, abs=1)
    assert found["policy update"].total_gib + critics_gradients == pytest.approx(update, abs=2)


# ---------------------------------------------------------------- what must hold of any training

jobs = st.builds(
    job,
    gpus=st.sampled_from([1, 2, 4, 8]),
    has_critic=st.booleans(),
    checkpoints_activations=st.booleans(),
    has_entropy_in_update=st.booleans(),
    compiles=st.booleans(),
    offloads_parameters=st.booleans(),
    offloads_optimizer=st.booleans(),
    fuses_logits=st.booleans(),
    token_budget=st.integers(11616, 65536),
    critic_token_budget=st.integers(11616, 65536),
    utilisation=st.floats(0.05, 0.9),
)
models = st.sampled_from([QWEN_3B, LLAMA_3B])


def totals(job_, model):
    return {name: phase.total_gib for name, phase in phases(job_, model).items()}


def no_phase_is_larger(fewer, more):
    return all(size <= more[name] + 1e-9 for name, size in fewer.items())


@given(jobs, models)
def test_more_gpus_never_need_more_memory_each(some, model):
    more = some.on(2 * some.gpus, 1)

    assert no_phase_is_larger(totals(more, model), totals(some, model))


@given(jobs, models, st.sampled_from([8, 32, 64]))
def test_an_adapter_never_needs_more_than_all_weights(some, model, rank):
    adapted = replace(some, lora_rank=rank, critic_lora_rank=rank)
    small, full = totals(adapted, model), totals(some, model)
    # Merging stages the policy's parameters, which a full training sends tensor by tensor.
    small.pop("weight sync")

    # Where everything is offloaded an adapter lies beside its base: some MiB, 4 bytes for each of its parameters.
    adapters = 2 * 4 * size_of(model).lora_parameters(rank) / GIB
    assert no_phase_is_larger({name: size - adapters for name, size in small.items()}, full)
    assert small["policy update"] <= full["policy update"]


@given(jobs, models)
def test_no_critic_never_needs_more_than_one(some, model):
    assert no_phase_is_larger(
        totals(replace(some, has_critic=False), model), totals(replace(some, has_critic=True), model)
    )


@given(jobs, models)
def test_offloading_never_needs_more(some, model):
    offloaded = replace(some, offloads_parameters=True, offloads_optimizer=True)

    assert no_phase_is_larger(totals(offloaded, model), totals(some, model))


@given(jobs, models, st.integers(1, 16384))
def test_larger_micro_batches_never_need_less(some, model, tokens):
    larger = replace(some, token_budget=some.token_budget + tokens)

    assert no_phase_is_larger(totals(some, model), totals(larger, model))


@given(jobs, models)
def test_the_entropy_in_the_update_and_kept_activations_never_need_less(some, model):
    least = replace(some, has_entropy_in_update=False, checkpoints_activations=True)

    assert no_phase_is_larger(totals(least, model), totals(some, model))
