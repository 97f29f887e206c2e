"""The runs of some findings, one child process after another, as far as a budget of hours goes.

Invariants:

- what is done is not run again, and what was cut goes on, whoever cut it: the runs' own folders tell which is which;
- nothing is begun that would end after the budget if it took as long as the longest of its like so far;
- a run that fails is told and left out, with the benchmarks of it; the next call tries it again.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router_r1 import processes
from router_r1.atomic import appending
from router_r1.exit_codes import ExitCode
from router_r1.findings.finding import Finding
from router_r1.findings.verdicts import LEAST_SEEDS
from router_r1.findings.work import Task
from router_r1.printable import printable

LOG_FILE = "log.jsonl"
"""One line for each child process that ended: name of the task, whether it is a training, seconds, exit code."""

_GRACE_S = 90.0  # a training stops its trainer first, which has 60 s

Launch = Callable[[Sequence[str], Path], int]
"""(arguments of router-r1, log file) -> exit code, when it has ended."""


def launch(arguments: Sequence[str], log: Path) -> int:
    """`router-r1 ARGUMENTS` as a child process, in a session of its own: Ctrl-C reaches it through us alone, once."""
    child = processes.start("router_r1", arguments, log=log, own_session=True)
    try:
        return child.wait()
    except KeyboardInterrupt:
        processes.stop(child, grace_s=_GRACE_S)
        raise


def tasks_of(findings: Iterable[Finding], seeds: int, out: Path, common: Sequence[str] = ()) -> list[Task]:
    """What they need, each once, in the order in which it is run.

    First as many seeds of each finding as a verdict needs, finding by finding, those with the fewest trainings first,
    so that a small budget gives as many verdicts as it can; then the other seeds.
    """
    chosen = sorted(findings, key=lambda finding: len(finding.trainings))
    rounds = [range(min(LEAST_SEEDS, seeds)), range(LEAST_SEEDS, seeds)]
    found: dict[str, Task] = {}
    for some in rounds:
        for finding, seed in itertools.product(chosen, some):
            for what in finding.runs:
                task = Task(what, seed, out, tuple(common))
                found.setdefault(task.name, task)
    return list(found.values())


@dataclass
class Durations:
    """How long tasks took, in this call and in earlier ones.

    Args:
        file: `LOG_FILE` of the findings' folder.
    """

    file: Path
    _spent: dict[str, float] = field(default_factory=dict)  # a task that was cut, and went on, took the sum
    _ended: dict[str, bool] = field(default_factory=dict)  # finished tasks: whether it is a training

    def __post_init__(self) -> None:
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:  # what a crash left of the last line
                continue
            self._note(row["task"], row["is_training"], row["seconds"], row["code"])

    def add(self, task: Task, seconds: float, code: int) -> None:
        with appending(self.file) as log:
            row = {"task": task.name, "is_training": task.is_training, "seconds": seconds, "code": code}
            log.write(json.dumps(row) + "\n")
        self._note(task.name, task.is_training, seconds, code)

    def _note(self, name: str, is_training: bool, seconds: float, code: int) -> None:
        self._spent[name] = self._spent.get(name, 0.0) + seconds
        if code == ExitCode.DONE:
            self._ended[name] = is_training

    def of(self, task: Task) -> list[float]:
        """Seconds of all finished tasks of its like: trainings, or benchmarks."""
        return [self._spent[name] for name, is_training in self._ended.items() if is_training == task.is_training]

    def longest(self, task: Task) -> float:
        """0 before one is known."""
        return max(self.of(task), default=0.0)

    def expected(self, tasks: Iterable[Task]) -> float | None:
        """Seconds that these will take; None if nothing is known of the like of one."""
        known = [self.of(task) for task in tasks]
        return sum(map(statistics.fmean, known)) if all(known) else None


@dataclass(frozen=True)
class Outcome:
    """What became of the tasks that were not done before."""

    failed: tuple[Task, ...] = ()
    left: tuple[Task, ...] = ()
    """Not begun, because of the budget."""


def run(
    tasks: Sequence[Task],
    *,
    durations: Durations,
    budget_s: float,
    tell: Callable[[str], object],
    ended: Callable[[], object] = lambda: None,
    start: Launch = launch,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run what is not done.

    Args:
        tasks: in order; a benchmark stands behind its training.
        budget_s: of this call.
        tell: shows a line of progress.
        ended: is called after each task that has finished.

    Raises:
        ConfigError: a folder holds another training.
        KeyboardInterrupt: Ctrl-C; what was running has stopped, and goes on with the next call.
    """
    begun_at = clock()
    for task in tasks:
        task.check()
    to_do = [task for task in tasks if not task.is_done]
    if len(to_do) < len(tasks):
        tell(f"{len(tasks) - len(to_do)} of {len(tasks)} runs are done already")
    failed: list[Task] = []
    for number, task in enumerate(to_do):
        if task.before is not None and not task.before.is_done:
            tell(f"{task.name} is left out: {task.before.name} has not ended")
            failed.append(task)
            continue
        spent = clock() - begun_at
        if spent + durations.longest(task) >= budget_s:
            tell(f"stopping: {task.name} would take the {budget_s / 3600:g} hours of the budget")
            return Outcome(tuple(failed), tuple(to_do[number:]))
        left = durations.expected(to_do[number:])
        time_left = "" if left is None else f", about {_hours(left)} left for all"
        tell(f"run {len(tasks) - len(to_do) + number + 1} of {len(tasks)}: {task.name}{time_left} · log: {task.log}")
        arguments = task.arguments()
        started, code = clock(), int(ExitCode.INTERRUPTED)
        try:
            code = start(arguments, task.log)
        finally:
            seconds = clock() - started
            durations.add(task, seconds, code)
        if code in (ExitCode.INTERRUPTED, ExitCode.PREEMPTED):
            raise KeyboardInterrupt
        if code != ExitCode.DONE or not task.is_done:
            tell(f"{task.name} failed (exit code {code}) and is left out: {_last_line(task.log)}")
            failed.append(task)
            continue
        tell(f"{task.name} has ended after {_hours(seconds)}")
        ended()
    return Outcome(tuple(failed))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return printable(lines[-1]) if lines else f"{log} is empty"
