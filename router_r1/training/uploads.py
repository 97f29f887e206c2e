"""Copies of a run's checkpoints elsewhere, made beside the training: they neither delay nor end it.

One process copies at a time (`training/stores.py`). What fails is told, and the next checkpoint is tried.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict

from router_r1 import processes, runs
from router_r1.errors import ConfigError, validated
from router_r1.training.stores import KEY, check_address

FIRST_S = 300.0
"""How long the first, small upload may take: a store that cannot be written to is refused before anything is paid."""

LOG_FILE = "upload.log"


class CheckpointsConfig(BaseModel):
    """`router_r1.checkpoints`: where they are copied to, and what of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    upload: str | None = None
    """Address of a store; None for no copies."""
    contents: Literal["all", "policy"] = "all"
    """All that `resume=auto` needs, or the policy in Hugging Face format alone."""


def checkpoints_settings(config: DictConfig) -> CheckpointsConfig:
    """The checked section.

    Raises:
        ConfigError: an unknown key, or a store that is not known or whose package is missing.
    """
    settings = validated(
        CheckpointsConfig, "router_r1.checkpoints", OmegaConf.to_container(config.router_r1.checkpoints)
    )
    if settings.upload:
        check_address(settings.upload)
    return settings


class Uploads:
    """The copies of one start of the trainer.

    Args:
        keep: how many checkpoints the store keeps; None for all.
    """

    def __init__(self, run_dir: Path, settings: CheckpointsConfig, keep: int | None) -> None:
        self._run_dir, self._settings, self._keep = run_dir, settings, keep
        self._log = run_dir / LOG_FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._tried = runs.latest_checkpoint(run_dir)  # of an earlier start: it was copied then, or is superseded soon
        self._copied: Path | None = None

    def begin(self) -> None:
        """Copy what describes the run, which shows whether the store can be written to.

        Raises:
            ConfigError: it cannot.
        """
        if not self._settings.upload:
            return
        process = self._start(["--facts"])
        try:
            code: int | None = process.wait(FIRST_S)
        except subprocess.TimeoutExpired:
            processes.stop(process)
            code = None
        if code:
            raise ConfigError(
                "configuration", KEY, self._settings.upload, f"cannot be written to: {self._last_words()}"
            )
        if code is None:
            raise ConfigError("configuration", KEY, self._settings.upload, f"did not answer within {FIRST_S:.0f} s")

    def look(self) -> list[str]:
        """Start copying a new checkpoint, if none is being copied; what to tell of the last one."""
        told = []
        if self._process is not None and (code := self._process.poll()) is not None:
            assert self._tried is not None
            if code == 0:
                told.append(f"uploaded {self._tried.name} to {self._settings.upload}")
            else:
                failed = f"the upload of {self._tried.name} failed: {self._last_words()}"
                told.append(f"{failed}; the training goes on, and the next checkpoint is uploaded")
            self._process = None
        newest = runs.latest_checkpoint(self._run_dir) if self._settings.upload and self._process is None else None
        if newest is not None and newest != self._tried:
            self._tried = newest
            keep = ["--keep", str(self._keep)] if self._keep else []
            self._process = self._start(["--checkpoint", str(newest), "--contents", self._settings.contents, *keep])
        return told

    def finish(self) -> list[str]:
        """Wait for the last checkpoint, once the trainer has ended."""
        told = self.look()
        while self._process is not None:
            self._process.wait()
            told += self.look()
        return told

    def stop(self) -> None:
        """End a copy that is under way: what is there of it is not whole."""
        if self._process is not None:
            processes.stop(self._process)

    def _start(self, what: Sequence[str]) -> subprocess.Popen[bytes]:
        arguments = [str(self._run_dir), str(self._settings.upload), *what]
        return processes.start("router_r1.training.stores", arguments, log=self._log)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"
