"""Progress of a supervised training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_SECONDS_BETWEEN_LINES = 15.0


class ProgressReport(TrainerCallback):
    """Shows phase, steps, loss and time on standard error.

    Args:
        prelude_steps: how many of the steps belong to the copying prelude.
    """

    def __init__(self, prelude_steps: int) -> None:
        self._prelude_steps = prelude_steps
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._loss = "-"
        self._started = self._last_line = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._started = self._last_line = time.monotonic()
        self._task = self._bar.add_task(self._phase(0), total=state.max_steps, loss=self._loss)
        self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        done = state.global_step
        self._bar.update(self._task, completed=done, description=self._phase(done), loss=self._loss)
        now = time.monotonic()
        is_due = now - self._last_line >= _SECONDS_BETWEEN_LINES or done == state.max_steps
        if not self._console.is_terminal and is_due:
            self._last_line = now
            steps = f"step {done}/{state.max_steps}"
            self._console.print(f"{self._phase(done)}: {steps}, loss {self._loss}, {now - self._started:.0f} s")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._loss = f"{logs['loss']:.3f}"

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.stop()

    def _phase(self, step: int) -> str:
        return "warm start, copying" if step < self._prelude_steps else "warm start, trajectories"
