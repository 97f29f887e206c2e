"""Which runs are run, in which order, how far a budget goes, and what a second call does.

The launcher is one that writes what a run would, at once, and moves the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from router_r1 import runs
from router_r1.errors import ConfigError
from router_r1.findings.finding import Finding, Told
from router_r1.findings.schedule import Durations, run, tasks_of
from router_r1.findings.work import Benchmark, Task, Training
from tests.unit.findings.run_folders import record, write_benchmark, write_training

HOUR = 3600.0


def no_questions(run_dir: Path, file: Path, out: Path) -> Path:
    return out / "pool.yaml"


BASE = Training("base")
OTHER = Training("other", ("algorithm.adv_estimator=gae",))
ASKED = Benchmark("asked", BASE, no_questions)


def finding(letter: str, *trainings: Training, benchmarks: tuple[Benchmark, ...] = ()) -> Finding:
    return Finding(letter, "Is it so?", trainings, lambda found: Told([]), benchmarks)


class Machine:
    """Runs trainings of an hour and benchmarks of six minutes, on a clock of its own.

    Attributes:
        fails, is_cut: names of tasks that end with an error, or are cut by Ctrl-C, each the first time it is run.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.launched: list[list[str]] = []
        self.fails: set[str] = set()
        self.is_cut: set[str] = set()

    def clock(self) -> float:
        return self.now

    def start(self, arguments: Sequence[str], log: Path) -> int:
        self.launched.append(list(arguments))
        return self._train(arguments, log) if arguments[0] == "train" else self._bench(arguments)

    def _train(self, arguments: Sequence[str], log: Path) -> int:
        folder = Path(arguments[2], arguments[3].removeprefix("name="))
        overrides = [f"runs_dir={arguments[2]}", *arguments[4:]]
        if "resume=auto" in overrides:
            overrides = [*runs.read_run_json(folder)["overrides"], f"runs_dir={arguments[2]}"]
        if folder.name in self.is_cut:
            self.is_cut.remove(folder.name)
            write_training(folder, overrides=overrides, has_ended=False)
            self.now += HOUR / 2
            raise KeyboardInterrupt
        if folder.name in self.fails:
            self.fails.remove(folder.name)
            write_training(folder, overrides=overrides, has_ended=False)
            log.parent.mkdir(exist_ok=True)
            log.write_text("starting\nerror: the engine broke\n")
            return 1
        write_training(folder, overrides=overrides)
        self.now += HOUR
        return 0

    def _bench(self, arguments: Sequence[str]) -> int:
        write_benchmark(
            Path(arguments[arguments.index("--out") + 1]), [record(0, em=1, asked="A", offered=[("A", "")])]
        )
        self.now += HOUR / 10
        return 0

    @property
    def names(self) -> list[str]:
        """Of the trainings, in order."""
        return [arguments[3].removeprefix("name=") for arguments in self.launched if arguments[0] == "train"]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def call(machine, told, tmp_path):
    """One call of the command."""

    def run_all(tasks: Sequence[Task], budget_s: float = 1e9):
        return run(
            tasks,
            durations=Durations(tmp_path / "log.jsonl"),
            budget_s=budget_s,
            tell=told.append,
            start=machine.start,
            clock=machine.clock,
        )

    return run_all


# ---------------------------------------------------------------- order


def names(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]


def test_what_findings_share_is_run_once_and_the_cheapest_finding_comes_first(tmp_path):
    tasks = tasks_of([finding("x", BASE, OTHER), finding("y", BASE)], 2, tmp_path)

    assert names(tasks) == ["base-seed0", "base-seed1", "other-seed0", "other-seed1"]


def test_seeds_that_a_verdict_does_not_need_come_last(tmp_path):
    tasks = tasks_of([finding("x", BASE), finding("y", BASE, OTHER)], 5, tmp_path)

    assert names(tasks)[:6] == [f"{name}-seed{seed}" for name in ("base", "other") for seed in range(3)]
    assert {task.seed for task in tasks[6:]} == {3, 4}


def test_a_benchmark_comes_after_its_training(tmp_path):
    tasks = tasks_of([finding("x", BASE, benchmarks=(ASKED,))], 2, tmp_path)

    assert names(tasks) == ["base-seed0", "asked-seed0", "base-seed1", "asked-seed1"]


# ---------------------------------------------------------------- what a run is


def test_a_training_is_called_with_its_seed_its_overrides_and_those_of_all(call, machine, tmp_path):
    call(tasks_of([finding("x", OTHER)], 1, tmp_path, ["trainer.total_training_steps=4"]))

    assert machine.launched == [
        ["train", "--runs", str(tmp_path / "runs"), "name=other-seed0", "seed=0", "algorithm.adv_estimator=gae",
         "trainer.total_training_steps=4"]
    ]  # fmt: skip


def test_a_benchmark_is_of_the_run_with_its_seed(call, machine, tmp_path):
    call(tasks_of([finding("x", BASE, benchmarks=(ASKED,))], 1, tmp_path))

    arguments = machine.launched[1]
    assert arguments[:3] == ["bench", "--run", str(tmp_path / "runs" / "base-seed0")]
    assert arguments[-3:] == ["--out", str(tmp_path / "benchmarks" / "asked-seed0"), "--resume"]


def test_a_training_that_goes_on_from_anothers_router_starts_with_that_of_its_seed(call, machine, tmp_path):
    later = Training("later", after=OTHER)
    call(tasks_of([finding("x", OTHER, later)], 1, tmp_path))

    assert machine.names == ["other-seed0", "later-seed0"]
    router = tmp_path / "runs" / "other-seed0" / "hf"
    assert machine.launched[1][4:] == ["seed=0", f"router_r1.sim.warm_start={router}"]


def test_it_is_left_out_where_that_one_failed(call, machine, told, tmp_path):
    machine.fails.add("other-seed0")

    outcome = call(tasks_of([finding("x", OTHER, Training("later", after=OTHER))], 1, tmp_path))

    assert names(outcome.failed) == ["other-seed0", "later-seed0"]
    assert "later-seed0 is left out: other-seed0 has not ended" in told


# ---------------------------------------------------------------- going on


def test_a_second_call_runs_nothing_again(call, machine, told, tmp_path):
    tasks = tasks_of([finding("x", BASE, OTHER, benchmarks=(ASKED,))], 2, tmp_path)
    call(tasks)
    before = len(machine.launched)

    outcome = call(tasks)

    assert len(machine.launched) == before == 6
    assert (outcome.failed, outcome.left) == ((), ())
    assert told[-1] == "6 of 6 runs are done already"


def test_a_run_that_was_cut_goes_on_and_keeps_its_overrides(call, machine, tmp_path):
    tasks = tasks_of([finding("x", OTHER)], 1, tmp_path)
    machine.is_cut.add("other-seed0")
    with pytest.raises(KeyboardInterrupt):
        call(tasks)

    call(tasks)

    assert machine.launched[1] == ["train", "--runs", str(tmp_path / "runs"), "name=other-seed0", "resume=auto"]
    assert tasks[0].is_done
    call(tasks)
    assert len(machine.launched) == 2


def test_what_a_cut_run_took_counts_in_whole(call, machine, tmp_path):
    tasks = tasks_of([finding("x", BASE)], 1, tmp_path)
    machine.is_cut.add("base-seed0")
    with pytest.raises(KeyboardInterrupt):
        call(tasks)
    call(tasks)

    assert Durations(tmp_path / "log.jsonl").longest(tasks[0]) == 1.5 * HOUR


def test_a_run_that_fails_is_told_and_left_out_with_its_benchmark_and_the_next_call_tries_it_again(
    call, machine, told, tmp_path
):
    tasks = tasks_of([finding("x", BASE, benchmarks=(ASKED,)), finding("y", BASE, OTHER)], 1, tmp_path)
    machine.fails.add("base-seed0")

    outcome = call(tasks)

    assert names(outcome.failed) == ["base-seed0", "asked-seed0"]
    assert machine.names == ["base-seed0", "other-seed0"]
    assert "base-seed0 failed (exit code 1) and is left out: error: the engine broke" in told
    assert "asked-seed0 is left out: base-seed0 has not ended" in told

    assert call(tasks).failed == ()
    assert all(task.is_done for task in tasks)


def test_a_folder_with_other_overrides_is_refused_before_anything_runs(call, machine, tmp_path):
    call(tasks_of([finding("x", OTHER)], 1, tmp_path))
    machine.launched.clear()

    with pytest.raises(ConfigError, match=r"other-seed0: overrides = .*trainer.total_training_steps=4.*another --out"):
        call(tasks_of([finding("x", OTHER), finding("y", BASE)], 1, tmp_path, ["trainer.total_training_steps=4"]))
    assert machine.launched == []


# ---------------------------------------------------------------- the budget


def test_no_run_is_begun_that_would_end_after_the_budget(call, machine, told, tmp_path):
    tasks = tasks_of([finding("x", BASE)], 5, tmp_path)

    outcome = call(tasks, budget_s=3.5 * HOUR)

    assert machine.now == 3 * HOUR
    assert names(outcome.left) == ["base-seed3", "base-seed4"]
    assert told[-1] == "stopping: base-seed3 would take the 3.5 hours of the budget"


def test_the_budget_is_of_one_call_and_the_next_knows_how_long_a_run_takes(call, machine, tmp_path):
    tasks = tasks_of([finding("x", BASE)], 5, tmp_path)
    call(tasks, budget_s=2.5 * HOUR)

    assert names(call(tasks, budget_s=0.9 * HOUR).left) == ["base-seed2", "base-seed3", "base-seed4"]
    assert call(tasks, budget_s=3.5 * HOUR).left == ()


def test_the_first_run_is_begun_although_nothing_is_known_of_its_length(call, machine, tmp_path):
    call(tasks_of([finding("x", BASE)], 3, tmp_path), budget_s=0.5 * HOUR)

    assert machine.names == ["base-seed0"]


def test_benchmarks_are_not_measured_by_trainings(call, machine, tmp_path):
    tasks = tasks_of([finding("x", BASE, benchmarks=(ASKED,))], 2, tmp_path)

    assert names(call(tasks, budget_s=1.5 * HOUR).left) == ["base-seed1", "asked-seed1"]
    assert tasks[1].is_done


def test_progress_tells_which_run_it_is_and_what_time_is_left(call, told, tmp_path):
    call(tasks_of([finding("x", BASE)], 3, tmp_path))

    log = tmp_path / "logs" / "base-seed0.log"
    assert told[0] == f"run 1 of 3: base-seed0 · log: {log}"
    assert told[1] == "base-seed0 has ended after 1.0 h"
    assert told[2].startswith("run 2 of 3: base-seed1, about 2.0 h left for all")


def test_a_log_whose_last_line_was_cut_is_read(tmp_path, call):
    tasks = tasks_of([finding("x", BASE)], 1, tmp_path)
    call(tasks)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"task": "ba')

    assert Durations(tmp_path / "log.jsonl").longest(tasks[0]) == HOUR
