"""Starts the project's own commands as a user would, with hard limits, and reads what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from router_r1 import runs

PROJECT_ROOT = Path(__file__).resolve().parents[2]

SMALL = (
    "data.train_batch_size=16",
    "actor_rollout_ref.actor.ppo_mini_batch_size=8",
    "router_r1.sim.train_size=128",
    "router_r1.sim.val_size=32",
    "router_r1.sim.latency_scale=0.2",
)
"""A run of the default experiment that needs a few seconds a step."""


PROBED = (
    "ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES="
    "'router_r1.training.cpu.platform,tests.e2e.log_prob_probe'",
)
"""Adds log_prob_probe's metric to a run."""


@dataclass
class Finished:
    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The environment of these tests' own Python, so that no command installs another one; `tests` can be imported."""
    python_path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "ROUTER_R1_VENV": sys.prefix, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path}


def run(args: Sequence[str | Path], *, timeout: float, **extra_env: str) -> Finished:
    """Start it and see it to its end."""
    return finish(start(args, **extra_env), timeout=timeout)


def finish(process: subprocess.Popen[str], *, timeout: float) -> Finished:
    """Wait for the end. On a timeout the whole process tree is killed and the test fails with what was printed."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        out, err = process.communicate()
        raise AssertionError(f"{process.args} took longer than {timeout} s\n{out[-3000:]}\n{err[-3000:]}") from None
    return Finished(process.returncode, out, err)


def start(args: Sequence[str | Path], **extra_env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(a) for a in args],
        cwd=PROJECT_ROOT,
        env=environment() | extra_env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(runs_dir: Path, name: str, *overrides: str, timeout: float = 900, **extra_env: str) -> Finished:
    """`bash train.sh`, with the tail of the trainer's log in the output if it failed."""
    done = run(["bash", "train.sh", f"runs_dir={runs_dir}", f"name={name}", *overrides], timeout=timeout, **extra_env)
    log = runs_dir / name / "train.log"
    if done.code and log.exists():
        done.err += "\n--- train.log ---\n" + log.read_text(errors="replace")[-4000:]
    return done


def descendants(pid: int, words: str) -> list[psutil.Process]:
    """The processes below `pid` whose command line holds `words`."""
    return [p for p in psutil.Process(pid).children(recursive=True) if words in " ".join(_command_line(p))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # gone meanwhile
        return []


def kill_tree(pid: int) -> None:
    try:
        family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], *, timeout: float) -> None:
    """Wait for a condition while a process lives; fails with its output if it ends first or the time is up."""
    import time

    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            kill_tree(process.pid)
            out, err = process.communicate()
            raise AssertionError(f"the condition never came true\n{out[-3000:]}\n{err[-3000:]}")
        time.sleep(0.2)


def end_pool_server(folder: Path, how: signal.Signals, process: subprocess.Popen[str]) -> None:
    """End the server of a run, whoever started it."""
    (server,) = descendants(os.getpid(), f"--port-file {folder}")
    server.send_signal(how)
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, process, timeout=60)


def steps_of(run_dir: Path) -> dict[int, dict[str, float]]:
    """The metrics of the training steps so far."""
    return {step: row for step, row in runs.read_metrics(run_dir).items() if "train/reward" in row}


def rollout_questions(run_dir: Path, step: int) -> list[str]:
    """The prompts of a training step, sorted (their order in the file is by random id)."""
    lines = (run_dir / "rollouts" / f"{step}.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["input"] for line in lines)
