"""The GPUs of a plan: named on the command line, or found on this machine."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from router_r1.errors import ConfigError
from router_r1.machine import accelerators

USABLE_GIB = {
    "A10-24": 22.0,
    "A100-40": 39.4,
    "A100-80": 79.2,
    "A6000-48": 47.4,
    "B200-180": 178.0,
    "H100-80": 79.1,
    "H20-96": 95.0,
    "H200-141": 139.7,
    "L4-24": 22.0,
    "L40S-48": 44.4,
    "RTX3090-24": 23.6,
    "RTX4090-24": 23.5,
    "RTX5090-32": 31.3,
}
"""Type -> memory that CUDA gives out, in GiB. From public specifications and what users report; not measured here."""

_OTHER_USABLE = 0.92
"""Share of a nominal size that is surely usable: that of the L40S, of the types above the one that loses most."""

DEFAULT_TYPE = "H100-80"
"""What a plan assumes where it cannot see the GPUs."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its type, and how much of its memory can be used, in GiB."""

    name: str
    usable_gib: float


@dataclass(frozen=True)
class Cluster:
    """Equal nodes of equal GPUs."""

    gpu: Gpu
    per_node: int
    nodes: int = 1

    @property
    def size(self) -> int:
        """Number of GPUs."""
        return self.per_node * self.nodes

    def __str__(self) -> str:
        """As `parse_gpus` reads it."""
        nodes = f"{self.nodes}x" if self.nodes > 1 else ""
        return f"{nodes}{self.per_node}x{self.gpu.name}"


def parse_gpus(text: str) -> Cluster:
    """`4xH100-80`, `2x8xA100-40` (nodes x GPUs), `H200-141`; of a type not known here, the number is its size in GB.

    Raises:
        ConfigError: it is none of these.
    """
    found = re.fullmatch(r"(?:(?:(\d+)x)?(\d+)x)?([a-z][a-z0-9 ]*-)?(\d+)(?:gb)?", text.strip().lower())
    nodes, per_node = (int(found[i] or 1) for i in (1, 2)) if found else (0, 0)
    if not found or not (nodes and per_node and int(found[4])):
        remedy = f"must look like 4xH100-80 or 2x8xA100-40; known types are {', '.join(USABLE_GIB)}"
        raise ConfigError("command line", "--gpus", text, remedy)
    name = f"{found[3] or 'gpu-'}{found[4]}"
    known = {known.lower(): known for known in USABLE_GIB}
    if name in known:
        return Cluster(Gpu(known[name], USABLE_GIB[known[name]]), per_node, nodes)
    return Cluster(Gpu(name.upper(), int(found[4]) * _OTHER_USABLE), per_node, nodes)


def gpus_here() -> Gpu | None:
    """The GPU of this machine, the smallest if they differ; None where there is none, or its memory is not told."""
    if not accelerators():
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [re.fullmatch(r"\s*(.+?)\s*,\s*(\d+)\s*", line) for line in told.splitlines()]
    # The driver keeps some of what nvidia-smi calls the total.
    found = [Gpu(row[1].removeprefix("NVIDIA "), round(int(row[2]) / 1024 - 0.6, 1)) for row in rows if row]
    return min(found, key=lambda gpu: gpu.usable_gib, default=None)
