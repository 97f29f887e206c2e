"""What scripts/gpu_smoke.sh runs: `train experiment=gpu_smoke`, killed after its first step, and resumed.

The training is started with this Python, as train.sh does after the set-up: its environment is never changed.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from router_r1 import runs
from router_r1.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[1]
STEPS, TRAJECTORIES = 2, 16
LIMIT_S = float(os.environ.get("ROUTER_R1_SMOKE_LIMIT_S", "1200"))
"""For either start of the training; ten minutes are expected of both together."""


class Failed(Exception):
    """What did not work, in one line."""


def main(overrides: list[str]) -> int:
    started = time.monotonic()
    if not any(override.startswith("platform=") for override in overrides):
        overrides = ["platform=gpu", *overrides]
    folder = Path(tempfile.mkdtemp(prefix="router-r1-smoke-"))
    command = [sys.executable, "-m", "router_r1", "train", f"runs_dir={folder}", "name=smoke"]
    run = folder / "smoke"
    try:
        _kill_after_saving([*command, "experiment=gpu_smoke", *overrides], run)
        _tell("a trainer killed (-9) after its first step left a whole checkpoint")
        _resume([*command, "resume=auto"], run)
        _tell("it was resumed, and ended in good order")
        for word in check(run):
            _tell(word)
    except Failed as fault:
        print(f"failed: {fault}\nlog: {run / 'train.log'}", file=sys.stderr)
        return ExitCode.FAILED
    print(f"passed in {(time.monotonic() - started) / 60:.1f} min; everything is in {run}")
    return ExitCode.DONE


def _tell(words: str) -> None:
    print(f"ok: {words}", flush=True)


def _kill_after_saving(command: list[str], run: Path) -> None:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as training:
        try:
            deadline = time.monotonic() + LIMIT_S
            while not (checkpoint := runs.latest_checkpoint(run)):
                if training.poll() is not None:
                    raise Failed(f"the training ended with code {training.returncode} and saved no step{_cause(run)}")
                if time.monotonic() > deadline:
                    raise Failed(f"no step was saved within {LIMIT_S:.0f} s")
                time.sleep(0.2)
            trainers = [
                process
                for process in psutil.Process(training.pid).children(recursive=True)
                if "router_r1.training.trainer" in " ".join(process.cmdline())
            ]
            if runs.step_of(checkpoint) >= STEPS or not trainers:
                raise Failed("the training was over before it could be killed")
            for trainer in trainers:
                trainer.kill()
            if training.wait(120) == 0:
                raise Failed("a killed training ended as if nothing had happened")
        except (Failed, subprocess.TimeoutExpired, KeyboardInterrupt):
            _end(training)
            raise


def _resume(command: list[str], run: Path) -> None:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as training:
        try:
            code = training.wait(LIMIT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            _end(training)
            raise Failed(f"the resumed training did not end within {LIMIT_S:.0f} s") from None
    if code:
        raise Failed(f"the resumed training ended with code {code}{_cause(run)}")


def _end(training: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, which ends the trainer too; then what is left."""
    training.send_signal(signal.SIGINT)
    try:
        training.wait(90)
    except subprocess.TimeoutExpired:
        training.kill()


def _cause(run: Path) -> str:
    error = run / "error.txt"
    return f": {error.read_text().strip()}" if error.is_file() else ""


def check(run: Path) -> list[str]:
    """What the folder of the finished run shows.

    Raises:
        Failed: it does not show two whole steps and a policy.
    """
    checkpoint = runs.latest_checkpoint(run)
    if checkpoint is None or runs.step_of(checkpoint) != STEPS:
        raise Failed(f"the newest whole checkpoint is {checkpoint}, not that of step {STEPS}")
    steps = runs.read_metrics(run)
    for step in range(1, STEPS + 1):
        if step not in steps:
            raise Failed(f"step {step} has no metrics")
        wrong = sorted(name for name, value in steps[step].items() if not math.isfinite(value))
        if wrong:
            raise Failed(f"step {step}: {', '.join(wrong)} is no finite number")
        lines = (run / "rollouts" / f"{step}.jsonl").read_text().splitlines()
        if len(lines) != TRAJECTORIES:
            raise Failed(f"step {step} has {len(lines)} trajectories, not {TRAJECTORIES}")
    config = run / "hf" / "config.json"
    if not config.is_file() or not list(config.parent.glob("*.safetensors")):
        raise Failed(f"{config.parent} is no policy in Hugging Face's format")
    kind = json.loads(config.read_text())["model_type"]
    learnt = f"{STEPS} steps of {TRAJECTORIES} trajectories, all metrics finite"
    return [learnt, f"a policy ({kind}) in {config.parent}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
