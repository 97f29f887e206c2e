"""`bash train.sh`: plan a run, check it, prepare what it needs, train, report.

This process stays light: it composes the configuration, starts the simulated pool where one is wanted, and supervises
the trainer (`router_r1.training.trainer`), whose output goes to `train.log` while a line per step is shown here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from router_r1 import processes, runs
from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.routing.probe import probe
from router_r1.training import config as cfg
from router_r1.training import report, world
from router_r1.training.trainer import ERROR_FILE, EXIT_CODES

# A table in a log file or a pipe is not cut to the 80 columns of a terminal that is not there.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
_INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Plan:
    """A run that has been checked but not started."""

    config: DictConfig  # composed, not resolved: the pool's address is still to come
    overrides: list[str]
    experiment: str
    run_dir: Path
    resume_from: Path | None  # whole checkpoint to go on from


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="train.sh",
        description="Train a router. Everything after the options is a Hydra override, e.g. "
        "experiment=nq_hotpotqa_cpu algorithm.adv_estimator=grpo router_r1.reward.cost_coe=0.6 resume=auto",
    )
    parser.add_argument("--dry-run", action="store_true", help="compose and check all, print the plan, start nothing")
    parser.add_argument(
        "--skip-probe", action="store_true", help="start without asking every candidate of the pool a word first"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    try:
        plan = make_plan(args.overrides)
        if args.dry_run:
            return dry_run(plan)
        return run(plan, skip_probe=args.skip_probe)
    except ConfigError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_CODES["refused"]


def make_plan(overrides: Sequence[str]) -> Plan:
    """Compose and check a run.

    `resume=auto` goes on with the run called `name`, or else with the latest one, under the overrides that it was
    started with and then the given ones. Without a whole checkpoint the run starts over in its folder.

    Raises:
        ConfigError: whatever is wrong with it.
    """
    bad = [o for o in overrides if "=" not in o]
    if bad:
        raise ConfigError("command line", "", bad[0], "is no override; write key=value")
    overrides, config = list(overrides), cfg.compose_config(overrides)
    earlier = _earlier_run(config) if config.resume == "auto" else None
    if earlier:
        overrides = [*runs.read_run_json(earlier)["overrides"], *overrides]
        config = cfg.compose_config(overrides)
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
    cfg.set_values(config, values)
    resolved = cfg.resolve(config)
    cfg.check_settings(resolved)
    if resolved.router_r1.sim.enabled:
        world.check(resolved)
    else:
        cfg.check_data(resolved)
    return Plan(config, overrides, experiment, run_dir, resume_from)


def _earlier_run(config: DictConfig) -> Path | None:
    """The run that resume=auto means; None if there is none to go on with."""
    folder = Path(config.runs_dir, config.name or "latest")
    return folder.resolve() if (folder / "run.json").is_file() else None


def dry_run(plan: Plan) -> int:
    """Print the plan and veRL's own verdict on it; nothing is left behind."""
    print(OmegaConf.to_yaml(cfg.resolve(plan.config)))
    describe(plan)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = cfg.resolve(plan.config).actor_rollout_ref.model.path
        if plan.config.router_r1.sim.enabled or not Path(model).expanduser().is_dir():
            # veRL's checks read a model's files. One on a hub, or not built yet, is stood in for by a small one.
            cfg.set_values(plan.config, {"actor_rollout_ref.model.path": str(world.untrained_policy(folder / "model"))})
        cfg.dump(plan.config, folder / "config.yaml")
        log, environment = folder / "check.log", _environment(plan.config)
        checker = processes.start(
            "router_r1.training.trainer", [str(folder / "config.yaml"), "--check"], log=log, env=environment
        )
        if checker.wait():
            _raise_refusal(folder, log)
    console.print("dry run: the configuration is sound; nothing was started")
    return 0


def describe(plan: Plan) -> None:
    """What the run is, in a few lines."""
    c = plan.config
    n = c.actor_rollout_ref.rollout.n
    console.print(
        f"experiment {plan.experiment} · {c.algorithm.adv_estimator} · alpha {c.router_r1.reward.cost_coe:g} · "
        f"{c.trainer.total_training_steps} steps of {c.data.train_batch_size} questions"
        + (f" x {n} trajectories" if n > 1 else "")
        + f" · seed {c.seed} · {c.trainer.n_gpus_per_node * c.trainer.nnodes} {c.trainer.device} device(s)"
    )
    if plan.resume_from:
        console.print(f"going on from {plan.resume_from}")
    console.print(f"everything goes to {plan.run_dir}")


def run(plan: Plan, *, skip_probe: bool = False) -> int:
    """Start a checked run and see it through; returns the exit code."""
    started = time.monotonic()
    describe(plan)
    settings = cfg.resolve(plan.config).router_r1
    if not (skip_probe or settings.sim.enabled):
        asyncio.run(probe(load_pool(settings.pool, base_url=settings.pool_base_url)))
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if plan.config.router_r1.sim.enabled:
            _prepare_world(plan, stack)
        cfg.check_data(cfg.resolve(plan.config))
        config_file = plan.run_dir / "config.yaml"
        cfg.dump(plan.config, config_file)
        _write_facts(plan)
        runs.point(plan.run_dir.parent / "latest", plan.run_dir)
        code = _supervise(plan, config_file)
    checkpoint = runs.latest_checkpoint(plan.run_dir)
    if checkpoint:
        runs.point(plan.run_dir / "hf", checkpoint / "actor" / "huggingface")
    if code == EXIT_CODES["refused"]:
        _raise_refusal(plan.run_dir, plan.run_dir / "train.log")
    if code == _INTERRUPTED:
        return code
    if code == 0:
        report.close(plan.run_dir, console)
        console.print(f"done in {(time.monotonic() - started) / 60:.1f} min: {plan.run_dir}")
        return 0
    error_file = plan.run_dir / ERROR_FILE
    print(
        f"error: {error_file.read_text() if error_file.exists() else f'the trainer ended with code {code}'}\n"
        f"last whole checkpoint: {checkpoint or 'none yet'}; log: {plan.run_dir / 'train.log'}; "
        f"go on with: bash train.sh resume=auto name={plan.run_dir.name}",
        file=sys.stderr,
    )
    return code if code > 0 else EXIT_CODES["failed"]


def _prepare_world(plan: Plan, stack: ExitStack) -> None:
    """Questions, policy and pool server of a run in the simulated world; fills the configuration in."""
    resolved = cfg.resolve(plan.config)
    if not (plan.run_dir / "data" / "val.parquet").exists():  # a resumed run keeps its questions
        world.write_questions(resolved, plan.run_dir / "data")
    values = {"actor_rollout_ref.model.path": str(world.start_policy(resolved))}
    server = world.serve_pool(resolved, plan.run_dir / "pool_server.log")
    cfg.set_values(plan.config, values | {"router_r1.pool_base_url": stack.enter_context(server)})


def _write_facts(plan: Plan) -> None:
    config = cfg.resolve(plan.config)
    sim = config.router_r1.sim
    runs.write_run_json(
        plan.run_dir,
        {
            "name": plan.run_dir.name,
            "experiment": plan.experiment,
            "overrides": [o for o in plan.overrides if not o.startswith(("resume=", "name="))],
            "seed": config.seed,
            "model_path": config.actor_rollout_ref.model.path,
            "pool": config.router_r1.pool,
            "template": config.router_r1.template,
            "rollout": dict(config.router_r1.rollout),
            "max_prompt_length": config.data.max_prompt_length,
            "simulated": sim.enabled,
            "latency_scale": sim.latency_scale,
            "qa": [sim.qa_root] if sim.qa_train else [],
            "val_files": config.data.val_files,
            **runs.provenance(cfg.PROJECT_ROOT),
        },
    )


def _environment(config: DictConfig) -> dict[str, str]:
    """The trainer's environment: ours, and what the configuration gives to every worker."""
    extra: Mapping[str, object] = cfg.resolve(config).ray_kwargs.ray_init.runtime_env.env_vars
    return {**os.environ, **{key: str(value) for key, value in extra.items()}, "PYTHONUNBUFFERED": "1"}


def _supervise(plan: Plan, config_file: Path) -> int:
    """Run the trainer, show a line per step, pass Ctrl-C on; returns its exit code (negative: killed by a signal)."""
    log = plan.run_dir / "train.log"
    metrics = Path(plan.config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH)
    metrics.parent.mkdir(exist_ok=True)
    console.print(f"starting the trainer (a minute or two until the first step); full log: {log}")
    trainer = processes.start("router_r1.training.trainer", [str(config_file)], log=log, env=_environment(plan.config))
    lines = report.StepLines(metrics, plan.config.trainer.total_training_steps)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            ended = _wait(trainer, 0.5)
            for line in lines.new():
                console.print(line)
            if ended:
                return trainer.returncode
    except KeyboardInterrupt:
        console.print(f"stopping; go on later with: bash train.sh resume=auto name={plan.run_dir.name}")
        processes.stop(trainer, grace_s=60)
        return _INTERRUPTED


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _raise_refusal(folder: Path, log: Path) -> None:
    error = folder / ERROR_FILE
    last_words = error if error.exists() else log
    raise ConfigError("configuration", "", None, last_words.read_text(errors="replace").strip().splitlines()[-1])
