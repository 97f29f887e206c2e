"""Tries what the CPU plug-in replaces, with and without it; prints what happened.

Run as a program: patches are for a whole process.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]), RANK="0", WORLD_SIZE="1")
os.environ.update(OMP_NUM_THREADS="1", VERL_PLATFORM="cpu", VERL_USE_EXTERNAL_MODULES="router_r1.training.cpu.platform")

import torch
import verl.utils.distributed
from verl.plugin.platform import get_platform

from router_r1.training.cpu.platform import threads_per_worker


def outcome(action) -> str:
    """Returns "ok", or the type of what was raised."""
    try:
        action()
    except Exception as fault:  # any: the report says which
        return type(fault).__name__
    return "ok"


def process_group() -> dict[str, str]:
    patched = verl.utils.distributed.initialize_global_process_group_ray
    report = {"upstream": outcome(patched.__wrapped__), "patched": outcome(patched)}
    torch.distributed.all_reduce(torch.ones(1))
    return report


def threads() -> dict[str, int]:
    """Of a training worker once it has joined its group; of one of two, and of one of more than there are cores."""
    return {
        "used": torch.get_num_threads(),
        "one of two": threads_per_worker(2),
        "one of many": threads_per_worker(999),
    }


def engines() -> dict[str, bool]:
    from verl.workers.engine import EngineRegistry

    registered = EngineRegistry._engines
    return {kind: "cpu" in registered[kind]["fsdp2"] for kind in ("language_model", "value_model")}


def value_head() -> dict[str, str]:
    import verl.utils.model
    from transformers import AutoConfig

    from router_r1.training.cpu.engines import load_valuehead_model
    from router_r1.training.simulation import untrained_policy

    with TemporaryDirectory() as name:
        folder = untrained_policy(Path(name, "model"))
        config = AutoConfig.from_pretrained(folder, num_labels=1, attn_implementation="sdpa")
        loaders = {"upstream": verl.utils.model.load_valuehead_model, "patched": load_valuehead_model}
        return {
            name: outcome(lambda load=load: load(str(folder), torch.float32, config, False))
            for name, load in loaders.items()
        }


def pinned_memory() -> dict[str, str]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

    def forward(pin: bool) -> None:
        layer = torch.nn.Linear(4, 4)
        mesh = init_device_mesh("cpu", (1,))
        fully_shard(layer, mesh=mesh, offload_policy=CPUOffloadPolicy(pin_memory=pin))
        layer(torch.ones(2, 4))

    return {"upstream": outcome(lambda: forward(True)), "patched": outcome(lambda: forward(False))}


def saved_weights() -> dict[str, bool]:
    """Whether weights that were put aside are still what they were after the next update."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from verl.utils import fsdp_utils

    import router_r1.training.cpu.engines  # noqa: F401

    def keeps(save) -> bool:
        layer = torch.nn.Linear(4, 4)
        fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
        before = layer.weight.full_tensor().clone()
        aside, spec = save(layer)
        with torch.no_grad():
            layer.weight += 1
        fsdp_utils.fsdp2_sharded_load_from_cpu(layer, aside, spec)
        return bool(torch.equal(layer.weight.full_tensor(), before))

    patched = fsdp_utils.fsdp2_sharded_save_to_cpu
    return {"upstream": keeps(patched.__wrapped__), "patched": keeps(patched)}


def vllm_weights() -> dict[str, bool]:
    """Whether a linear layer keeps its weight after vLLM has chosen the CPU kernel for it."""
    import vllm._custom_ops as ops
    from vllm.model_executor.layers import utils

    def keeps_weight() -> bool:
        layer = torch.nn.Linear(64, 64, bias=False)
        layer.weight.requires_grad_(False)
        utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
        return layer.weight.numel() == 64 * 64

    had_onednn = ops._supports_onednn
    before = keeps_weight()
    import router_r1.training.cpu.vllm_worker  # noqa: F401

    return {"had_onednn": had_onednn, "upstream": before, "patched": keeps_weight()}


def sampling() -> dict[str, object]:
    """How vLLM draws tokens on a CPU: whether by the replacement, and the shares of four, the last one impossible."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.v1.sample.ops import topk_topp_sampler

    import router_r1.training.cpu.vllm_worker  # noqa: F401

    replacement, calls = topk_topp_sampler.compiled_random_sample, []
    topk_topp_sampler.compiled_random_sample = lambda logits: (
        calls.append(replacement.__module__) or replacement(logits)
    )
    with set_current_vllm_config(VllmConfig()):
        sampler = topk_topp_sampler.TopKTopPSampler()
    logits = torch.tensor([0.5, 0.3, 0.2, 0.0]).log().expand(200_000, 4)
    drawn, _ = sampler.forward_cpu(logits, {}, None, None)
    return {"by": calls, "shares": (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()}


if __name__ == "__main__":
    report = {
        "platform": type(get_platform()).__name__,
        "process_group": process_group(),
        "threads": threads(),
        "engines": engines(),
        "value_head": value_head(),
        "pinned_memory": pinned_memory(),
        "saved_weights": saved_weights(),
        "vllm_weights": vllm_weights(),
        "sampling": sampling(),
    }
    print("RESULT " + json.dumps(report))
