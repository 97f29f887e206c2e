"""One optimizer step of veRL's real workers on made-up batches; prints how far poisoned batches move the weights.

Run as a program (`test_masking.py` does): veRL decides for a platform once per process. Every batch holds an
observation, mask 0. "masked" poisons whatever the losses read, at observation positions only; "trained" poisons one
policy token, the control. "packed" is how far what a worker computes of a packed batch is from what upstream's own code
makes of a padded one; a taught actor is also held to what a teacher finds likely.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from functools import partial

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ.update(
    WORLD_SIZE="1",
    RANK="0",
    LOCAL_RANK="0",
    RAY_LOCAL_WORLD_SIZE="1",
    MASTER_ADDR="127.0.0.1",
    MASTER_PORT=str(port),
    VERL_PLATFORM="cpu",
    VERL_USE_EXTERNAL_MODULES="router_r1.training.cpu.platform",
)

import torch
import verl  # noqa: F401
from tensordict import TensorDict
from transformers import AutoConfig
from verl.trainer.config import CheckpointConfig
from verl.trainer.distillation import distillation_ppo_loss
from verl.trainer.ppo.core_algos import compute_gae_advantage_return
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    DistillationConfig,
    DistillationLossConfig,
    FSDPActorConfig,
    FSDPCriticConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
)
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import ppo_loss, value_loss

FLOAT32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
PROMPT_LENGTHS, RESPONSE_LENGTHS = [9, 11, 7, 10], [20, 17, 25, 22]
OBSERVATION = slice(6, 14)
POISONED_POLICY_TOKEN = 3


def training_worker(model_path: str, model_type: str, *, packed: bool = True) -> TrainingWorker:
    torch.manual_seed(0)
    model = HFModelConfig(
        path=model_path,
        override_config={"attn_implementation": "packed_sdpa" if packed else "sdpa"},
        use_remove_padding=packed,
        enable_gradient_checkpointing=False,
    )
    engine = FSDPEngineConfig(
        strategy="fsdp2",
        use_torch_compile=False,
        mixed_precision=FLOAT32,
        micro_batch_size_per_gpu=4,
        infer_micro_batch_size_per_gpu=4,
        use_dynamic_bsz=False,
        max_token_len_per_gpu=4096,
    )
    optimizer = FSDPOptimizerConfig(lr=1e-3, total_training_steps=10)
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type=model_type,
            model_config=model,
            engine_config=engine,
            optimizer_config=optimizer,
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    common = {
        "strategy": "fsdp2",
        "rollout_n": 1,
        "ppo_mini_batch_size": 4,
        "ppo_micro_batch_size_per_gpu": 4,
        "optim": optimizer,
    }
    if model_type == "language_model":
        config = FSDPActorConfig(
            **common,
            use_kl_loss=True,
            kl_loss_coef=0.1,
            fsdp_config=engine,
            use_torch_compile=False,
            entropy_coeff=0.01,
        )
        config.model_config = model
        worker.set_loss_fn(partial(ppo_loss, config=config))
    else:
        worker.set_loss_fn(partial(value_loss, config=FSDPCriticConfig(**common, fsdp=engine, model=model)))
    return worker


def jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def batch(poison: str | None, vocabulary: int) -> TensorDict:
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(3, vocabulary, (n,), generator=generator) for n in PROMPT_LENGTHS]
    responses = [torch.randint(3, vocabulary, (n,), generator=generator) for n in RESPONSE_LENGTHS]
    masks = [torch.ones(n, dtype=torch.long) for n in RESPONSE_LENGTHS]

    def noise(scale: float, mean: float = 0.0) -> list[torch.Tensor]:
        return [mean + torch.randn(n, generator=generator) * scale for n in RESPONSE_LENGTHS]

    signals = {
        "advantages": (noise(1.0), 50.0),
        "old_log_probs": (noise(0.1, -6.0), -1.0),
        "ref_log_prob": (noise(0.1, -6.0), -30.0),
        "values": (noise(0.1), 70.0),
        "returns": (noise(1.0), -90.0),
    }
    for row, mask in enumerate(masks):
        mask[OBSERVATION] = 0
        where = {None: [], "masked": mask == 0, "trained": [POISONED_POLICY_TOKEN]}[poison]
        for values, poisonous in signals.values():
            values[row][where] = poisonous
    data = TensorDict(
        {
            "input_ids": jagged([torch.cat(pair) for pair in zip(prompts, responses, strict=True)]),
            "position_ids": jagged([torch.arange(len(p) + len(r)) for p, r in zip(prompts, responses, strict=True)]),
            "prompts": jagged(prompts),
            "responses": jagged(responses),
            "response_mask": jagged(masks),
            "loss_mask": jagged(masks),
            **{name: jagged(values) for name, (values, _) in signals.items()},
        },
        batch_size=len(masks),
    )
    tu.assign_non_tensor(
        data,
        temperature=1.0,
        calculate_entropy=True,
        global_batch_size=4,
        mini_batch_size=4,
        epochs=1,
        seed=1,
        dataloader_kwargs={"shuffle": False},
        compute_loss=True,
    )
    return data


def teach(worker: TrainingWorker, data: TensorDict, vocabulary: int) -> None:
    """Hold the worker's policy to a teacher's four likeliest tokens at every place of a batch."""
    generator = torch.Generator().manual_seed(3)
    lengths = [prompt + response for prompt, response in zip(PROMPT_LENGTHS, RESPONSE_LENGTHS, strict=True)]
    data["teacher_ids"] = jagged([torch.randint(3, vocabulary, (n, 4), generator=generator) for n in lengths])
    data["teacher_logprobs"] = jagged(
        [torch.randn(n, 4, generator=generator).log_softmax(-1) for n in lengths],
    )
    tu.assign_non_tensor(data, distillation_use_topk=True, distillation_only=False)
    loss = DistillationLossConfig(loss_mode="forward_kl_topk", topk=4, use_policy_gradient=False, loss_max_clamp=None)
    distillation = DistillationConfig(distillation_loss=loss)
    config = worker.loss_fn.keywords["config"]
    worker.set_loss_fn(partial(distillation_ppo_loss, config=config, distillation_config=distillation))


Weights = dict[str, torch.Tensor]


def around_a_step(model_path: str, model_type: str, poison: str | None) -> tuple[Weights, Weights]:
    """The weights before and after one step on a batch."""
    worker = training_worker(model_path, model_type)
    before = weights_of(worker)
    worker.train_mini_batch(batch(poison, AutoConfig.from_pretrained(model_path).vocab_size))
    return before, weights_of(worker)


def weights_of(worker: TrainingWorker) -> Weights:
    state = worker.engine.module.state_dict()
    return {k: (v.full_tensor() if hasattr(v, "full_tensor") else v).detach().clone() for k, v in state.items()}


def distance(a: Weights, b: Weights) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def advantages(poison: str | None) -> torch.Tensor:
    """veRL's GAE and whitening on one batch of two rows; advantages of the policy tokens."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(2, 20)
    mask[:, OBSERVATION] = 0
    values, rewards = torch.randn(2, 20, generator=generator), torch.zeros(2, 20)
    rewards[:, -1] = torch.tensor([1.0, -1.0])
    if poison == "masked":
        values[mask == 0] = 40.0
    if poison == "trained":
        values[:, POISONED_POLICY_TOKEN] = 40.0
    result, _ = compute_gae_advantage_return(rewards, values, mask, gamma=torch.tensor(0.99), lam=torch.tensor(0.95))
    return result[mask == 1]


def of_responses(nested: torch.Tensor) -> torch.Tensor:
    """What a model says of the response tokens of all rows, end to end."""
    rows = zip(nested.unbind(), RESPONSE_LENGTHS, strict=True)
    return torch.cat([row[-length - 1 : -1] for row, length in rows])


def all_it_computes(
    model_path: str, model_type: str, temperature: float, *, packed: bool, taught: bool
) -> dict[str, torch.Tensor]:
    """Log-probs and entropies, or values; loss and norm of the gradient of a step."""
    vocabulary = AutoConfig.from_pretrained(model_path).vocab_size
    worker = training_worker(model_path, model_type, packed=packed)
    inference, training = batch(None, vocabulary), batch(None, vocabulary)
    tu.assign_non_tensor(inference, compute_loss=False, temperature=temperature)
    tu.assign_non_tensor(training, temperature=temperature)
    if taught:
        teach(worker, training, vocabulary)
    outputs = worker.infer_batch(inference)
    found = {name: of_responses(outputs[name]) for name in ("log_probs", "entropy", "values") if name in outputs}
    metrics = tu.get(worker.train_mini_batch(training), "metrics")
    told = ["loss", "grad_norm", *(["distillation/loss", "distillation/overlap_ratio"] if taught else [])]
    return found | {name: torch.tensor(metrics[name]) for name in told}


def difference_of_packing(
    model_path: str, model_type: str, temperature: float, *, taught: bool = False
) -> dict[str, float]:
    packed, padded = (
        all_it_computes(model_path, model_type, temperature, packed=packed, taught=taught) for packed in (True, False)
    )
    return {name: float((values - padded[name]).abs().max()) for name, values in packed.items()}


def main(model_path: str) -> None:
    report = {}
    for name, model_type in (("actor", "language_model"), ("critic", "value_model")):
        untrained, base = around_a_step(model_path, model_type, None)
        masked, trained = (around_a_step(model_path, model_type, poison)[1] for poison in ("masked", "trained"))
        report[name] = {
            "step": distance(base, untrained),
            "masked": distance(base, masked),
            "trained": distance(base, trained),
        }
    base, masked, trained = (advantages(poison) for poison in (None, "masked", "trained"))
    report["gae"] = {"masked": float((base - masked).abs().max()), "trained": float((base - trained).abs().max())}
    report["packed"] = {
        "actor": difference_of_packing(model_path, "language_model", 1.0),
        "warm actor": difference_of_packing(model_path, "language_model", 1.3),
        "taught actor": difference_of_packing(model_path, "language_model", 1.3, taught=True),
        "critic": difference_of_packing(model_path, "value_model", 1.0),
    }
    print("RESULT " + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
