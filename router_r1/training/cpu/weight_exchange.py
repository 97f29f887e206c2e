"""Weights from the trainer's process to those of engines that are not the trainer's own, over local sockets.

On GPUs veRL's `separate` mode sends them by NCCL. This is registered under that name, as veRL's own engine for Ascend
is, and imported where `checkpoint_engine.custom_backend_module` says so (`verl/platform/cpu.yaml`).
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, Iterable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import torch
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry


@CheckpointEngineRegistry.register("nccl")
class SocketCheckpointEngine(CheckpointEngine):
    """The first training process listens, and every engine's process reads all weights from it, in their order.

    Args:
        bucket_size: not used: a policy that is trained on a CPU is small.
        is_master: whether this is the first training process.
    """

    def __init__(self, bucket_size: int = 0, is_master: bool = False) -> None:
        self._is_master = is_master
        self._listener: Listener | None = None
        self._connections: list[Connection] = []

    def prepare(self) -> dict[str, Any]:
        """Where to read from; {} for all but the first training process."""
        if not self._is_master:
            return {}
        address, key = str(Path(tempfile.mkdtemp(prefix="weights-"), "socket")), secrets.token_bytes(32)
        self._listener = Listener(address, authkey=key, backlog=64)
        return {"address": address, "key": key}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """The arguments of `init_process_group` of the training processes, and of the engines'."""
        others = actor_wg_world_size - 1
        return {"source": [{}] * actor_wg_world_size, "readers": [rollout_world_size, *[0] * others]}, {
            "source": [metadata[0]] * rollout_world_size,
            "readers": [0] * rollout_world_size,
        }

    def init_process_group(self, source: dict[str, Any], readers: int) -> None:
        """Connect: both sides are called at once.

        Args:
            source: what `prepare` of the first training process said; {} for training processes.
            readers: how many will connect here.
        """
        if source:
            self._connections = [Client(source["address"], authkey=source["key"])]
        elif self._listener is not None:
            self._connections = [self._listener.accept() for _ in range(readers)]

    def finalize(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []
        if self._listener is not None:
            address = self._listener.address
            self._listener.close()  # takes the socket's file away
            self._listener = None
            Path(str(address)).parent.rmdir()

    async def send_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None
    ) -> dict[str, Any]:
        """Send all of `weights`. Every training process walks through them: making each takes all processes."""
        for name, weight in weights:
            content = weight.detach().reshape(-1).view(torch.uint8).numpy().tobytes() if self._connections else b""
            for connection in self._connections:
                connection.send((name, weight.dtype, weight.shape, content))
        for connection in self._connections:
            connection.send(None)
        return {}

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        (connection,) = self._connections
        while (found := await asyncio.to_thread(connection.recv)) is not None:
            name, dtype, shape, content = found
            yield name, torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)
