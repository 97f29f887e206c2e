#!/usr/bin/env python3
"""How long a training step takes, where the time goes, and how long the first one is waited for.

The default training, for a few steps and without validation or checkpoint, here and, with --against, at another commit.
Runs alternate between the two, so that what else the machine does falls on both; CPU-seconds are of all processes of a
run, and say the same on a busy machine as on an idle one.

    python scripts/bench_training.py [--steps 6] [--against [COMMIT]] [--rounds 1] [key=value ...]

With --modes it compares what goes on at the same time (mode=sync, mode=async) where candidates are slow: how long a
step takes, and for which share of the time engine and trainer have something to compute.

    python scripts/bench_training.py --modes [--latency 3000,0.8 ...] [--steps 6] [--rounds 1] [key=value ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from router_r1 import processes
from router_r1.runs import read_metrics

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "ea24136"  # a commit before the step was made fast
PHASES = ("gen", "old_log_prob", "ref", "values", "adv", "update_critic", "update_actor", "update_weights")
MODES = ("sync", "async")
POOL = ROOT / "configs/pools/dealt.yaml"
PATIENCE_S = 600
LATENCIES = ("600,0.8", "3000,0.8")  # median in ms, sigma of the logarithm: a quick pool, and one of large models
# Processes by their titles, as Ray and vLLM write them.
PARTS = {"engine": "VLLM::EngineCore", "trainer": "ray::WorkerDict"}
BEHIND = "training/off_policy/trajectory_staleness_worst"
ONLY_STEPS = ("trainer.test_freq=-1", "trainer.save_freq=-1", "trainer.val_before_train=False")


@dataclass(frozen=True)
class Run:
    steps: list[dict[str, float]]  # veRL's metrics of each
    ends: list[float]  # seconds from the start of the command to the end of each step
    cpu: list[float]  # CPU-seconds of all processes until then
    looks: list[tuple[float, dict[str, bool]]]  # seconds from the start -> part -> whether it had something to compute

    def busy(self, part: str) -> float:
        """Share of the time after the first step in which a part had something to compute."""
        seen = [is_busy[part] for at, is_busy in self.looks if self.ends[0] < at <= self.ends[-1]]
        return sum(seen) / len(seen) if seen else float("nan")


class Meter:
    """Looks at a process and all below it."""

    def __init__(self, pid: int) -> None:
        self._root, self._seen = psutil.Process(pid), dict[psutil.Process, float]()
        self._parts = dict[str, set[int]]()

    def cpu(self) -> float:
        """CPU-seconds, those of processes that have ended included."""
        self._parts = {part: set() for part in PARTS}
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                times, title = process.cpu_times(), " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            self._seen[process] = times.user + times.system
            for part, words in PARTS.items():
                if title.startswith(words):
                    self._parts[part].add(process.pid)
        return sum(self._seen.values())

    def busy(self) -> dict[str, bool]:
        """Which parts compute, or would if they were given a core: so it says the same on a busy machine."""
        return {part: any(map(has_running_thread, pids)) for part, pids in self._parts.items()}


def has_running_thread(pid: int) -> bool:
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # ended meanwhile
            if thread.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def train(tree: Path, steps: int, overrides: Sequence[str]) -> Run:
    """One run of the training of that checkout."""
    # Earlier commits have no command line of one word. Their train.sh is not started: it would install their packages.
    module = ["router_r1", "train"] if (tree / "router_r1" / "cli").is_dir() else ["router_r1.training"]
    with tempfile.TemporaryDirectory() as folder:
        run_dir, log = Path(folder, "bench"), Path(folder, "bench.log")
        settings = [f"runs_dir={folder}", f"name={run_dir.name}", f"trainer.total_training_steps={steps}", *ONLY_STEPS]
        started, ends, cpu = time.monotonic(), list[float](), list[float]()
        looks = list[tuple[float, dict[str, bool]]]()
        with log.open("wb") as sink:
            training = subprocess.Popen(
                [sys.executable, "-m", *module, *settings, *overrides],
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree)},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            meter = Meter(training.pid)
            while training.poll() is None:
                spent = meter.cpu()
                looks.append((time.monotonic() - started, meter.busy()))
                for _ in range(len(read_metrics(run_dir)) - len(ends)):
                    ends.append(time.monotonic() - started)
                    cpu.append(spent)
                time.sleep(0.1)
        finally:
            processes.stop(training, grace_s=90)
        if training.returncode or len(ends) < steps:
            raise RuntimeError(f"the training ended with code {training.returncode}:\n{log.read_text()[-3000:]}")
        return Run([metrics for _, metrics in sorted(read_metrics(run_dir).items())], ends, cpu, looks)


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A commit's files in a worktree of their own, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", tree, commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)


def figures(runs: Sequence[Run]) -> dict[str, float]:
    """Row of the table -> seconds (and tokens). Of each run the first step is left out, which warms up."""
    later = [metrics for run in runs for metrics in run.steps[1:]]

    def each_step(readings: str) -> float:
        pairs = [pair for run in runs for pair in zip(getattr(run, readings), getattr(run, readings)[1:], strict=False)]
        return median(end - start for start, end in pairs)

    return {
        "until the first step's end": median(run.ends[0] for run in runs),
        "CPU until then": median(run.cpu[0] for run in runs),
        "step": each_step("ends"),
        "CPU of a step": each_step("cpu"),
        **{f"  {phase}": median(step.get(f"timing_s/{phase}", 0.0) for step in later) for phase in PHASES},
        "tokens of a step": median(step["perf/total_num_tokens"] for step in later),
    }


def compare_modes(latency: str, steps: int, rounds: int, overrides: Sequence[str]) -> None:
    """Runs of each mode, in turn, and a table of them."""
    median_ms, _, sigma = latency.partition(",")
    slow = f"router_r1.sim.latency={{median_ms: {float(median_ms)}, sigma: {float(sigma or 0)}}}"
    runs: dict[str, list[Run]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as folder:
        settings = yaml.safe_load(POOL.read_text())
        settings["defaults"]["timeout_s"] = PATIENCE_S  # who takes long is waited for, not asked once more
        pool = Path(folder, "patient.yaml")
        pool.write_text(yaml.safe_dump(settings))
        always = [slow, f"router_r1.pool={pool}", "router_r1.constants.enabled=false", *overrides]
        for _ in range(rounds):
            for mode, done in runs.items():
                done.append(train(ROOT, steps, [f"mode={mode}", *always]))
    table = {mode: mode_figures(done) for mode, done in runs.items()}
    print(f"candidates reply in {float(median_ms) / 1000:g} s (median; sigma {float(sigma or 0):g})")
    print(f"{'':34}{MODES[0]:>10}{MODES[1]:>10}{'ratio':>8}")
    for name, value in table[MODES[0]].items():
        other = table[MODES[1]][name]
        print(f"{name:34}{value:10.2f}{other:10.2f}{other / value if value else float('nan'):8.2f}")
    print(f"load average {psutil.getloadavg()[0]:.1f}", flush=True)


def mode_figures(runs: Sequence[Run]) -> dict[str, float]:
    """Row of the table of modes -> value. Of each run the first step is left out, which warms up."""
    later = [metrics for run in runs for metrics in run.steps[1:]]
    step = sum(run.ends[-1] - run.ends[0] for run in runs) / len(later)
    waited = sum(metrics["timing_s/gen"] for metrics in later) / len(later)
    return {
        "seconds a step, mean": step,
        "steps an hour": 3600 / step,
        "engine busy, share": sum(run.busy("engine") for run in runs) / len(runs),
        "trainer busy, share": sum(run.busy("trainer") for run in runs) / len(runs),
        "trainer waits for trajectories, s": waited,
        "versions behind, mean": sum(m[f"{BEHIND}/mean"] for m in later) / len(later),
        "versions behind, most": max(m[f"{BEHIND}/max"] for m in later),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument("--against", nargs="?", const=BEFORE, metavar="COMMIT", help=f"default: {BEFORE}")
    parser.add_argument(
        "--modes", action="store_true", help="compare mode=sync with mode=async where candidates are slow"
    )
    parser.add_argument("--latency", action="append", metavar="MS,SIGMA", help=f"default: {' and '.join(LATENCIES)}")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.steps < 2:
        parser.error("--steps must be at least 2: the first one is left out")
    print(f"load average {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    if options.modes:
        for latency in options.latency or LATENCIES:
            compare_modes(latency, options.steps, options.rounds, options.overrides)
        return
    if options.against is None:
        now = figures([train(ROOT, options.steps, options.overrides) for _ in range(options.rounds)])
        print(f"{'medians, in seconds':30}{'here':>10}")
        print("\n".join(f"{name:30}{value:10.2f}" for name, value in now.items()))
        return
    with checkout(options.against) as tree:
        runs: dict[Path, list[Run]] = {tree: [], ROOT: []}
        for _ in range(options.rounds):
            for place, done in runs.items():
                done.append(train(place, options.steps, options.overrides))
    before, now = figures(runs[tree]), figures(runs[ROOT])
    print(f"{'medians, in seconds':30}{options.against:>10}{'here':>10}{'ratio':>8}")
    for name, value in before.items():
        print(f"{name:30}{value:10.2f}{now[name]:10.2f}{now[name] / value if value else float('nan'):8.2f}")
    print(f"load average {psutil.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
