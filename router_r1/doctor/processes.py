"""What the processes of a training exchange, exchanged here by two of them: gradients and weights.

`python -m router_r1.doctor.processes RANK SIZE FOLDER DEVICE` is one of these processes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.doctor.check import Check, failure, ok, skipped

if TYPE_CHECKING:
    import torch

TIMEOUT_S = 240.0
_NUMBERS = 1 << 20
_ALL_REDUCE, _WEIGHTS = "all-reduce", "weight exchange"
_PLATFORM = {
    "cuda": {"VERL_PLATFORM": "nvidia"},
    "cpu": {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "router_r1.training.cpu.platform"},
}
"""What veRL is told of each kind of device; its platforms are named after makers."""


def check_processes(gpus: int) -> list[Check]:
    """All-reduce among all GPUs by NCCL, or between two processes by gloo; weights from one process to another.

    The weights go as veRL 0.9.1 sends them from trainer to engine: in buckets, over a Unix socket and CUDA's memory
    handles, or /dev/shm where there is no GPU. With one GPU, as in a training, both processes share it for that.
    """
    for module in ("torch", "verl"):
        if importlib.util.find_spec(module) is None:
            why = f"{module} is not installed"
            return [skipped(name, why, "bash scripts/setup.sh") for name in (_ALL_REDUCE, _WEIGHTS)]
    device = "cuda" if gpus else "cpu"
    return [_check(_ALL_REDUCE, gpus or 2, device), _check(_WEIGHTS, 2, device)]


def _check(what: str, size: int, device: str) -> Check:
    """Start the processes, and see what they come to."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "router_r1.doctor.processes", what]
        environment = os.environ | _PLATFORM[device]
        members = []
        for rank in range(size):
            with (folder / f"{rank}.log").open("w") as log:
                full = [*command, str(rank), str(size), name, device]
                members.append(subprocess.Popen(full, stdout=log, stderr=subprocess.STDOUT, env=environment))
        try:
            # One that has failed leaves the others waiting for it.
            while any(member.poll() is None for member in members) and not any(member.poll() for member in members):
                if time.monotonic() - started > TIMEOUT_S:
                    return failure(what, f"hung for {TIMEOUT_S:.0f} s", _remedy(what, device))
                time.sleep(0.05)
        finally:
            for member in members:
                member.kill()
                member.wait()
        failed = [rank for rank, member in enumerate(members) if member.returncode > 0]
        if failed:
            words = (folder / f"{failed[0]}.log").read_text(errors="replace").strip().splitlines()
            return failure(what, words[-1] if words else "a process was killed", _remedy(what, device))
        told = (folder / "0.log").read_text().strip().splitlines()[-1]
    return ok(what, told)


def _remedy(what: str, device: str) -> str:
    if what == _WEIGHTS:
        return "/dev/shm must have room, and both processes see the same GPU"
    if device == "cpu":
        return "processes must reach each other on this machine: see GLOO_SOCKET_IFNAME, and firewalls on loopback"
    return "NCCL_DEBUG=INFO tells more; NCCL_P2P_DISABLE=1 or NCCL_IB_DISABLE=1 rule out a broken link"


def main() -> int:
    what, rank, size, folder, device = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]
    if what == _ALL_REDUCE:
        _all_reduce(rank, size, folder, device)
    else:
        _exchange_weights(rank, folder, device)
    return 0


def _all_reduce(rank: int, size: int, folder: Path, device: str) -> None:
    """The sum over all ranks of a vector that holds the rank."""
    import torch
    from torch import distributed

    backend = "nccl" if device == "cuda" else "gloo"
    place = torch.device(device, rank) if device == "cuda" else torch.device("cpu")
    distributed.init_process_group(
        backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size, timeout=timedelta(seconds=120)
    )
    vector = torch.full((_NUMBERS,), float(rank), device=place)
    distributed.all_reduce(vector)
    expected = sum(range(size))
    if not bool((vector == expected).all()):
        raise SystemExit(f"{backend}: the sum over {size} processes is {vector[0].item()}, not {expected}")
    distributed.destroy_process_group()
    print(f"{backend} added {_NUMBERS * 4 / 1e6:.0f} MB over {size} processes")


def _weights(device: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Three tensors that together do not fit one bucket of 1 MB."""
    import torch

    for index in range(3):
        yield f"layer.{index}", torch.arange(150_000, dtype=torch.float32, device=device) + index


def _exchange_weights(rank: int, folder: Path, device: str) -> None:
    """Rank 0 sends what rank 1 compares."""
    import torch
    from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver, BucketedWeightSender

    handle, shared = f"ipc://{folder}/weights", device == "cpu"
    if rank == 0:
        sender = BucketedWeightSender(zmq_handle=handle, bucket_size_mb=1, use_shm=shared)
        asyncio.run(sender.async_send_weights(_weights(device)))
        way = "/dev/shm" if shared else "CUDA's memory handles"
        print(f"3 tensors in buckets of 1 MB, over {way}")
        return
    received: dict[str, torch.Tensor] = {}

    def take(weights: list[tuple[str, Any]], is_last: bool) -> None:
        received.update({name: tensor.clone() for name, tensor in weights})

    place = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
    BucketedWeightReceiver(zmq_handle=handle, device=place, use_shm=shared).receive_weights(take)
    for name, sent in _weights(device):
        if name not in received or not torch.equal(received[name], sent):
            raise SystemExit(f"{name} did not arrive as it was sent")


if __name__ == "__main__":
    sys.exit(main())
