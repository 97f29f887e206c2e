"""What this machine has and belongs to, found without importing torch or Ray."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def accelerators() -> int:
    """Number of NVIDIA GPUs that this process may use."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if devices is not None:
        return len([d for d in devices.split(",") if d.strip() and d.strip() != "-1"])
    if shutil.which("nvidia-smi") is None:
        return 0
    return len([d for d in Path("/dev").glob("nvidia*") if d.name[6:].isdigit()])


def memory_gb() -> float:
    """Physical memory, in GB (10^9 bytes)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def ray_cluster() -> str | None:
    """Address of the Ray cluster that this shell names; None if a command starts a Ray of its own."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def is_ray_node() -> bool:
    """Whether `ray start` was run on this machine (and `ray stop` was not), or this shell names a cluster."""
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))  # as Ray chooses it on Linux
    started = Path(folder, "ray", "ray_current_cluster")
    return ray_cluster() is not None or started.is_file()
