"""A training run before it starts: composed, checked, described."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from router_r1 import processes, runs
from router_r1.errors import ConfigError
from router_r1.machine import ray_cluster
from router_r1.project_files import pool_file
from router_r1.training import attention, effectiveness, modes, simulation, trackers
from router_r1.training import configuration as cfg
from router_r1.training.batches import Cluster
from router_r1.training.sizing.estimate import Estimate, estimate, refuse_what_cannot_fit
from router_r1.training.sizing.telling import lines
from router_r1.training.trainer import ERROR_FILE
from router_r1.training.uploads import checkpoints_settings


@dataclass(frozen=True)
class TrainingPlan:
    """A run that has been checked but not started."""

    config: DictConfig  # composed, not resolved: the pool's address is still to come
    overrides: list[str]
    experiment: str
    run_dir: Path
    resume_from: Path | None  # whole checkpoint to go on from
    missing: list[ConfigError]  # what this machine lacks for it; only a dry run may lack something


def make_plan(overrides: Sequence[str], *, dry_run: bool = False) -> TrainingPlan:
    """Compose and check a run.

    `resume=auto` goes on with the run called `name`, or else with the latest one, under the overrides that it was
    started with and then the given ones. Without a whole checkpoint the run starts over in its folder.

    Args:
        dry_run: what this machine lacks for the run (keys, data, veRL) is no fault; it is in the plan's `missing`.

    Raises:
        ConfigError: whatever is wrong with it.
    """
    bad = [o for o in overrides if "=" not in o and not o.startswith("~")]
    if bad:
        raise ConfigError("command line", "", bad[0], "is no override; write key=value, or ~key to take a key out")
    overrides, config = list(overrides), cfg.compose_config(overrides)
    earlier = _earlier_run(config) if config.resume == "auto" else None
    if earlier:
        overrides = [*runs.read_run_json(earlier)["overrides"], *overrides]
        config = cfg.compose_config(overrides)
    cfg.check_platform(overrides)
    experiment = cfg.experiment_name(overrides)
    run_dir, resume_from = earlier, runs.latest_checkpoint(earlier) if earlier else None
    if run_dir is None:
        name = config.name or f"{experiment}-{config.algorithm.adv_estimator}-{datetime.now():%Y%m%d-%H%M%S}"
        run_dir = Path(config.runs_dir, name).absolute()
        if (run_dir / "run.json").exists():
            raise ConfigError("command line", "name", name, f"{run_dir} exists; choose another name, or resume=auto")
    values: dict[str, object] = {
        "name": run_dir.name,
        "run_dir": str(run_dir),
        "ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH": str(
            run_dir / "metrics" / f"{runs.step_of(resume_from)}.jsonl"
        ),
    }
    if resume_from:
        values |= {
            "trainer.resume_mode": "resume_path",
            "trainer.resume_from_path": str(resume_from),
            "trainer.val_before_train": False,
        }
    values |= _ray_settings(config)
    started = runs.read_run_json(run_dir).get("wandb_run_id") if earlier else None
    values |= trackers.wandb_environment(config, run_dir, started)
    values |= trackers.folders_environment(config, run_dir)
    cfg.set_values(config, values)
    cfg.set_values(config, {"router_r1.pool": str(pool_file(cfg.resolve(config).router_r1.pool).absolute())})
    missing = check(cfg.resolve(config), dry_run=dry_run)
    if resume_from:
        _check_world_size(resume_from, Cluster.of(config))
    return TrainingPlan(config, overrides, experiment, run_dir, resume_from, missing)


def _ray_settings(config: DictConfig) -> dict[str, object]:
    """A Ray of one's own on the CPU, whatever runs beside it; on a cluster that this shell names, none of its sizes."""
    if ray_cluster():
        sizes = ("num_cpus", "num_gpus", "object_store_memory", "include_dashboard")
        return {f"ray_kwargs.ray_init.{size}": None for size in sizes}
    return {"ray_kwargs.ray_init.address": "local"} if config.trainer.device == "cpu" else {}


def _check_world_size(checkpoint: Path, cluster: Cluster) -> None:
    """Refuse to go on with another number of processes: model and optimizer lie in as many shards as wrote them."""
    written = runs.world_size(checkpoint)
    if written is None or written == cluster.size:
        return
    nodes = cluster.nodes if written % cluster.nodes == 0 else 1
    remedy = (
        f"{checkpoint} was written by {written} processes, and only as many can read it: go on with "
        f"trainer.nnodes={nodes} trainer.n_gpus_per_node={written // nodes}, or start a new run from its weights, "
        f"without the optimizer's state: name=NEW actor_rollout_ref.model.path={checkpoint / 'actor' / 'huggingface'}"
    )
    raise ConfigError("command line", "trainer.n_gpus_per_node", cluster.per_node, remedy)


def check(resolved: DictConfig, *, dry_run: bool = False) -> list[ConfigError]:
    """Everything about a resolved configuration that can be checked before a start; what this machine lacks for it.

    Raises:
        ConfigError: for the first thing that is wrong, or, but in a dry run, missing.
    """
    cfg.check_settings(resolved)
    trackers.check_loggers(resolved)
    trackers.check_secrets(resolved)
    checkpoints_settings(resolved)
    missing = cfg.missing(resolved) + trackers.missing_for_loggers(resolved) + attention.missing(resolved)
    if missing and not dry_run:
        raise missing[0]
    if resolved.router_r1.sim.enabled:
        simulation.check(resolved)
    elif not missing:
        cfg.check_data(resolved)
    return missing


def _earlier_run(config: DictConfig) -> Path | None:
    """The run that resume=auto means; None if there is none to go on with."""
    folder = Path(config.runs_dir, config.name or "latest")
    return folder.resolve() if (folder / "run.json").is_file() else None


def dry_run(plan: TrainingPlan, console: Console) -> None:
    """Print the plan and veRL's own verdict on it; nothing is left behind."""
    refuse_what_cannot_fit(estimate_of(plan))
    print(OmegaConf.to_yaml(cfg.resolve(plan.config)))
    describe(plan, console)
    for fault in plan.missing:
        console.print(f"missing: {fault}", markup=False)
    if cfg.has_verl():
        _ask_verl(plan)
    console.print("dry run: the configuration is sound; nothing was started")


def _ask_verl(plan: TrainingPlan) -> None:
    """Raise what veRL itself has against the configuration."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = cfg.resolve(plan.config).actor_rollout_ref.model.path
        if plan.config.router_r1.sim.enabled or not Path(model).expanduser().is_dir():
            # veRL's checks read a model's files. One on a hub, or not built yet, is stood in for by a small one.
            cfg.set_values(
                plan.config, {"actor_rollout_ref.model.path": str(simulation.untrained_policy(folder / "model"))}
            )
        cfg.dump(plan.config, folder / "config.yaml")
        log, environment = folder / "check.log", trainer_environment(plan.config)
        checker = processes.start(
            "router_r1.training.trainer", [str(folder / "config.yaml"), "--check"], log=log, env=environment
        )
        if checker.wait():
            raise_refusal(folder, log)


def describe(plan: TrainingPlan, console: Console) -> None:
    """What the run is, in a few lines."""
    c = plan.config
    n, cost_coe = c.actor_rollout_ref.rollout.n, cfg.reward_of(cfg.resolve(c)).cost_coe
    alpha = cost_coe if isinstance(cost_coe, str) else f"{cost_coe:g}"
    console.print(
        f"experiment {plan.experiment} · {c.algorithm.adv_estimator} · {modes.described(c)} · alpha {alpha} · "
        f"{c.trainer.total_training_steps} steps of {c.data.train_batch_size} questions"
        + (f" x {n} trajectories" if n > 1 else "")
        + f" · seed {c.seed} · {c.trainer.n_gpus_per_node * c.trainer.nnodes} {c.trainer.device} device(s)"
    )
    for line in lines(estimate_of(plan), plan.run_dir):
        console.print(line, markup=False)
    if plan.resume_from:
        console.print(f"going on from {plan.resume_from}")
    console.print(f"everything goes to {plan.run_dir}")
    if plan.overrides and cfg.has_verl():
        unread = effectiveness.without_effect(c, effectiveness.overridden(plan.overrides))
        for key, why in unread.items():
            console.print(f"without effect: {key} ({why})", markup=False)


def estimate_of(plan: TrainingPlan) -> Estimate:
    """What the run needs of GPUs, hosts, candidates."""
    config = cfg.resolve(plan.config)
    return estimate(config, cfg.pool_of(config), plan.overrides)


def trainer_environment(config: DictConfig) -> dict[str, str]:
    """The trainer's environment: ours, and what the configuration gives to every worker."""
    extra: Mapping[str, object] = cfg.resolve(config).ray_kwargs.ray_init.runtime_env.env_vars
    return {**os.environ, **{key: str(value) for key, value in extra.items()}, "PYTHONUNBUFFERED": "1"}


def raise_refusal(folder: Path, log: Path) -> None:
    error = folder / ERROR_FILE
    last_words = error if error.exists() else log
    raise ConfigError("configuration", "", None, last_words.read_text(errors="replace").strip().splitlines()[-1])
