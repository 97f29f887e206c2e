"""Room for the next checkpoint: looked for before a step that will be saved is trained on.

A save that runs out of disk leaves half a checkpoint, and what was written beside it in the same second. It is refused
instead: the run ends with an exit code of its own, and its last whole checkpoint is as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from router_r1 import runs

MARGIN = 1.05
"""Free space wanted over the size of the last checkpoint: logs and trajectories grow meanwhile."""


class DiskFull(RuntimeError):
    """The next checkpoint would not fit. Nothing was written."""


def is_saved(step: int, *, save_freq: int, last_step: int | None) -> bool:
    """Whether veRL's trainer saves after a step (0.9.1: `fit` in `trainer/ppo/v1/trainer_base.py`)."""
    return save_freq > 0 and (step % save_freq == 0 or (last_step is not None and step >= last_step))


def make_room(run_dir: Path, *, step: int, planned_bytes: int | None, keep: int | None) -> None:
    """See that a checkpoint fits the disk of the run's folder; if it does not, drop the oldest that is to go anyway.

    Args:
        step: the step that is to be saved.
        planned_bytes: size of a checkpoint, for the first one; None if that is not known: then it is let through.
        keep: checkpoints that are kept; veRL too drops the oldest of them before it writes another.

    Raises:
        DiskFull: it does not fit.
    """
    newest = runs.latest_checkpoint(run_dir)
    size = size_of(newest) if newest else planned_bytes
    if size is None or _free(run_dir) >= size * MARGIN:
        return
    if keep and keep > 1:
        runs.remove_old_checkpoints(run_dir, keep - 1)
    free = _free(run_dir)
    if free < size * MARGIN:
        raise DiskFull(
            f"{run_dir} has {free / 1e9:.1f} GB free, and the checkpoint of step {step} needs {size / 1e9:.1f} GB. "
            "The step was not trained on, and nothing was written; free some and go on with resume=auto"
        )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
