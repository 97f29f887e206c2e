"""Whether the machines of a Ray cluster share their storage: a canary, written by one and looked for by all.

Training processes of every node read the model, and write their share of each checkpoint into the run's folder.
Without shared storage that is found at the first save, hours after the start.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from router_r1.atomic import write_text
from router_r1.errors import ConfigError

PATIENCE_S = 5.0
"""How long a file may take to be seen: network file systems answer from caches for some seconds."""

ANSWER_S = 120.0
"""How long a node may take to start a process and answer."""


@dataclass(frozen=True)
class Unseen:
    """A path that a node cannot use as the driver does."""

    node: str  # its address
    path: Path
    why: str


def look_from_every_node(folder: Path, also: Iterable[Path] = (), *, answer_s: float = ANSWER_S) -> list[Unseen]:
    """Every living node of the cluster reads a file that is written here, writes one, and looks for further paths.

    Args:
        folder: what must be shared for reading and writing; it is made if it is not there, and left as it was.
        also: files and folders that must be there on every node.
        answer_s: seconds that a node may take.

    Returns:
        What is wrong, in the order of the nodes' addresses; [] if nothing is. Ray must be initialised.
    """
    folder, wanted = folder.absolute(), [str(path.absolute()) for path in also]
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerAddress"]))
    canary = folder / f".canary-{uuid4().hex}"
    write_text(canary, canary.name)
    written = [canary]
    try:
        looks = []
        for node in nodes:
            written.append(answer := canary.with_name(f"{canary.name}-{node['NodeID']}"))
            looks.append(_look_on(node["NodeID"]).remote(str(canary), str(answer), wanted))
        found: list[Unseen] = []
        deadline = time.monotonic() + answer_s
        for node, look, answer in zip(nodes, looks, written[1:], strict=True):
            told = _answer(look, max(0.0, deadline - time.monotonic()))
            if not told and not _appears(answer):
                told = [(str(folder), "what it writes there is not seen here")]
            found += [Unseen(str(node["NodeManagerAddress"]), Path(path or folder), why) for path, why in told]
        return found
    finally:
        for file in written:
            file.unlink(missing_ok=True)


def refuse_unshared(folder: Path, also: Iterable[Path] = (), *, remedy: str) -> None:
    """Raise what `look_from_every_node` finds, its first line.

    Args:
        remedy: what to do about it.

    Raises:
        ConfigError: naming node and path.
    """
    unseen = look_from_every_node(folder, also)
    if not unseen:
        return
    first, more = unseen[0], len(unseen) - 1
    words = f"{first.why}; {remedy}" + (f" (and {more} more)" if more else "")
    raise ConfigError(f"node {first.node}", str(first.path), None, words)


def _look_on(node_id: str) -> Any:
    """The look as a task of that very node, which needs none of its resources."""
    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=there)


def _look(canary: str, answer: str, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Runs on a node; pairs of a path and what is wrong with it."""
    file = Path(canary)
    if not _appears(file):
        return [(str(file.parent), "a file that the driver wrote there is not seen on this node")]
    try:
        write_text(Path(answer), "seen\n")
    except OSError as fault:
        return [(str(file.parent), f"this node cannot write there ({fault.strerror})")]
    return [(path, "is not there on this node") for path in wanted if not Path(path).exists()]


def _appears(file: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not file.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _answer(look: Any, seconds: float) -> list[tuple[str, str]]:
    """What a node found, or why it found nothing, of no path in particular."""
    try:
        answer: list[tuple[str, str]] = ray.get(look, timeout=seconds)
        return answer
    except GetTimeoutError:
        return [("", "this node started no process in time")]
    except RayError as fault:
        lines = str(fault).strip().splitlines()
        return [("", f"this node cannot run the project: {lines[-1] if lines else type(fault).__name__}")]
