"""Supervised fine-tuning on questions and their golden answers: the paper's baseline SFT, by veRL's SFT trainer.

OUT/
    sft.json        what it was made of: files, model, overrides, versions
    config.yaml     the full resolved configuration
    checkpoints/    veRL's, one after each epoch
    huggingface -> checkpoints/...   the policy, once it is finished
    metrics/<step>.jsonl   veRL's metrics, one file per start
    sft.log
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from router_r1 import processes, runs
from router_r1.atomic import write_text
from router_r1.checkpoints import find_policy, with_weights
from router_r1.datasets import check_parquet
from router_r1.errors import ConfigError
from router_r1.machine import accelerators
from router_r1.training import attention, trackers
from router_r1.training import configuration as cfg
from router_r1.training.report import new_metrics
from router_r1.training.trainer import ERROR_FILE

FACTS_FILE, POLICY = "sft.json", "huggingface"
_WHERE = "command line"


@dataclass(frozen=True)
class FineTuning:
    """One that has been checked and not started.

    Attributes:
        config: resolved.
        out: its folder.
        facts: what it is made of, as JSON types; a folder holds one.
    """

    config: DictConfig
    out: Path
    facts: dict[str, Any]


def plan_sft(data: Sequence[Path], model_path: str, out: Path, overrides: Sequence[str] = ()) -> FineTuning:
    """Compose and check one.

    Args:
        data: question files, of training questions alone.
        model_path: Hugging Face folder, hub id, run or checkpoint that it goes on from.
        out: folder for it; one that it was begun in is gone on with.
        overrides: of `verl/sft.yaml`.

    Raises:
        ConfigError: whatever is wrong with it.
    """
    if not cfg.has_verl():
        raise ConfigError("environment", "verl", None, "is not installed; install router-r1[cpu] or router-r1[gpu]")
    if not data:
        raise ConfigError(_WHERE, "--data", None, "is needed: question files, as router-r1 data writes them")
    for file in data:
        if (splits := check_parquet(file)) != {"train"}:
            raise ConfigError(file, "extra_info.split", sorted(splits), "must hold training questions alone ('train')")
    policy = find_policy(_WHERE, "--model-path", model_path)
    config = cfg.compose_file("sft", [*_of_this_machine(overrides), *overrides])
    cfg.set_values(
        config,
        {
            "data.train_files": [str(file.absolute()) for file in data],
            "model.path": str(Path(policy).absolute()) if Path(policy).is_dir() else policy,
            "trainer.default_local_dir": str(out.absolute() / "checkpoints"),
        },
    )
    facts = {"data": [str(file) for file in data], "model_path": model_path, "overrides": list(overrides)}
    _check_folder(out, facts)
    resolved = cfg.with_values(config)
    trackers.check_loggers(resolved)
    if missing := trackers.missing_for_loggers(resolved):
        raise missing[0]
    return FineTuning(resolved, out.absolute(), facts)


def _of_this_machine(overrides: Sequence[str]) -> list[str]:
    gpus = accelerators()
    if not gpus:
        return ["sft_platform=cpu"]
    given = {override.split("=", 1)[0].lstrip("+~") for override in overrides}
    return ["sft_platform=gpu", f"trainer.n_gpus_per_node={gpus}", *attention.substitute("gpu", given, model="model")]


def _check_folder(out: Path, facts: Mapping[str, Any]) -> None:
    if not (out / FACTS_FILE).is_file():
        if out.exists() and any(out.iterdir()):
            raise ConfigError(_WHERE, "--out", str(out), "is a folder with something else in it; name a new one")
        return
    begun = json.loads((out / FACTS_FILE).read_text(encoding="utf-8"))
    for key, value in facts.items():
        if begun.get(key) != value:
            remedy = f"was begun with {key} {begun.get(key)}, and this has {value}; name a new folder"
            raise ConfigError(_WHERE, "--out", str(out), remedy)


def fine_tune(plan: FineTuning, console: Console) -> Path:
    """Train, or go on from the last epoch that was finished; the folder, which `--model-path` takes.

    Raises:
        ConfigError: a row of the questions is wrong.
        RuntimeError: the trainer failed.
    """
    if (plan.out / POLICY).exists():
        console.print(f"finished already: {plan.out}", markup=False)
        return plan.out
    plan.out.mkdir(parents=True, exist_ok=True)
    write_text(plan.out / FACTS_FILE, json.dumps({**plan.facts, **runs.provenance()}, indent=2) + "\n")
    plan.config.model.path = with_weights(plan.config.model.path)
    config_file, log = plan.out / "config.yaml", plan.out / "sft.log"
    write_text(config_file, OmegaConf.to_yaml(plan.config))
    (plan.out / ERROR_FILE).unlink(missing_ok=True)
    console.print(f"fine-tuning {plan.config.model.path}; full log: {log}", markup=False)
    started = time.monotonic()
    metrics = plan.out / "metrics" / f"{_saved_step(plan.out)}.jsonl"
    metrics.parent.mkdir(exist_ok=True)
    command = ["--standalone", "--nproc-per-node", str(plan.config.trainer.n_gpus_per_node)]
    command += ["-m", "router_r1.training.sft_process", str(config_file)]
    env = {**os.environ, **plan.config.router_r1.env, "VERL_FILE_LOGGER_PATH": str(metrics), "PYTHONUNBUFFERED": "1"}
    trainer = processes.start("torch.distributed.run", command, log=log, env=env)
    try:
        _watch(trainer, metrics, console)
    finally:
        processes.stop(trainer)
    if trainer.returncode:
        _raise(plan.out, log)
    attention.forget_attention(plan.out / "checkpoints")
    runs.point(plan.out / POLICY, plan.out / "checkpoints" / f"global_step_{_saved_step(plan.out)}" / POLICY)
    console.print(f"done in {(time.monotonic() - started) / 60:.1f} min: {plan.out}", markup=False)
    return plan.out


def _watch(trainer: subprocess.Popen[bytes], metrics: Path, console: Console) -> None:
    """Tell some steps until the trainer has ended."""
    offset, told = 0, 0
    while True:
        ended = trainer.poll() is not None
        records, offset = new_metrics(metrics, offset)
        for record in records:
            step, found = record["step"], record["data"]
            if step == 1 or step >= told * 1.25:
                told = step
                console.print(f"step {step:>5}  loss {found['train/loss']:.4f}  step size {found['train/lr']:.2e}")
        if ended:
            return
        time.sleep(0.5)


def _raise(out: Path, log: Path) -> None:
    if (out / ERROR_FILE).is_file():
        raise ConfigError("questions", "", None, (out / ERROR_FILE).read_text(encoding="utf-8"))
    raise RuntimeError(f"the SFT trainer failed: {log} says why; the same command goes on from the last epoch")


def _saved_step(out: Path) -> int:
    """Of the newest whole checkpoint; 0 without one. veRL writes it down when the checkpoint is finished."""
    written = out / "checkpoints" / "latest_checkpointed_iteration.txt"
    return int(written.read_text()) if written.is_file() else 0
