"""A notice to stop: the step that is under way is finished and saved, then the run ends.

A scheduler that wants its machines back sends SIGTERM to the command (`training/supervision.py`), which leaves a file
in the run's folder. The trainer's process looks for it. veRL asks after every step whether to save, so the notice needs
no more than `trainer.save_freq` to become 1; when the checkpoint is whole, the run ends with an exit code of its own.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from omegaconf import DictConfig

from router_r1.atomic import write_text

LOOK_EVERY_S = 0.5


class StopRequested(RuntimeError):
    """The run was asked to stop, and what it has trained is saved. Not a fault."""


def notice_file(run_dir: Path) -> Path:
    return run_dir / "stop"


def ask_to_stop(run_dir: Path) -> None:
    write_text(notice_file(run_dir), "finish the step, save, end\n")


class StopNotice:
    """Watches for the notice from a thread of its own, as the trainer is busy for minutes at a time.

    Args:
        config: the trainer's own configuration object, which it reads after every step.
    """

    def __init__(self, config: DictConfig) -> None:
        self._config = config
        self._file = notice_file(Path(config.run_dir))
        threading.Thread(target=self._watch, name="stop notice", daemon=True).start()

    def _watch(self) -> None:
        while not self._file.exists():
            time.sleep(LOOK_EVERY_S)
        self._config.trainer.save_freq = 1

    def after_saving(self, step: int) -> None:
        """Raise `StopRequested` if the notice came: the checkpoint of `step` is whole."""
        if self._file.exists():
            raise StopRequested(f"asked to stop, and saved after step {step}; go on with resume=auto")
