"""Weights between processes without a GPU: what `mode=separate` has in the place of NCCL."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl")
pytestmark = pytest.mark.slow  # importing veRL takes seconds


def exchanged(weights: dict[str, torch.Tensor], *, trainers: int, engines: int) -> list[dict[str, torch.Tensor]]:
    """One exchange as veRL's `CheckpointEngineManager.update_weights` makes it; what each engine got."""
    from router_r1.training.cpu.weight_exchange import SocketCheckpointEngine

    sending = [SocketCheckpointEngine(is_master=number == 0) for number in range(trainers)]
    reading = [SocketCheckpointEngine() for _ in range(engines)]
    metadata = [side.prepare() for side in (*sending, *reading)]
    theirs, ours = SocketCheckpointEngine.build_topology(trainers, engines, metadata)

    def connect(side, arguments, number):
        side.init_process_group(**{key: values[number] for key, values in arguments.items()})

    async def read(side) -> dict[str, torch.Tensor]:
        return {name: weight async for name, weight in side.receive_weights(global_steps=1)}

    with ThreadPoolExecutor() as pool:
        for done in [
            pool.submit(connect, side, arguments, number)
            for sides, arguments in ((sending, theirs), (reading, ours))
            for number, side in enumerate(sides)
        ]:
            done.result(timeout=20)
        sent = [pool.submit(asyncio.run, side.send_weights(iter(weights.items()))) for side in sending]
        got = [pool.submit(asyncio.run, read(side)) for side in reading]
        for done in sent:
            assert done.result(timeout=20) == {}
        found = [done.result(timeout=20) for done in got]
    for side in (*sending, *reading):
        side.finalize()
    if metadata[0]:
        assert not Path(metadata[0]["address"]).parent.exists(), "the socket is left behind"
    return found


@pytest.mark.parametrize(("trainers", "engines"), [(1, 1), (2, 3)])
def test_every_engine_gets_every_weight_of_the_first_trainer_bit_by_bit(trainers, engines):
    weights = {
        "matrix": torch.randn(3, 5),
        "transposed": torch.randn(4, 2).T,
        "half": torch.randn(7).to(torch.bfloat16),
        "number": torch.tensor(2.5),
    }

    found = exchanged(weights, trainers=trainers, engines=engines)

    assert len(found) == engines
    for got in found:
        assert list(got) == list(weights)
        for name, weight in weights.items():
            assert got[name].dtype == weight.dtype
            assert torch.equal(got[name], weight)


def test_what_was_received_can_be_written_to():
    """vLLM copies into its own weights, and a loader may change what it was given first."""
    (got,) = exchanged({"w": torch.zeros(3)}, trainers=1, engines=1)
    got["w"] += 1
    assert got["w"].tolist() == [1, 1, 1]


def test_it_stands_where_verl_looks_for_nccl():
    from verl.checkpoint_engine import CheckpointEngineRegistry

    from router_r1.training.cpu.weight_exchange import SocketCheckpointEngine

    assert CheckpointEngineRegistry.get("nccl") is SocketCheckpointEngine
