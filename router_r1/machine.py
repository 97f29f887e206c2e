"""What this machine has, found without importing torch."""

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
