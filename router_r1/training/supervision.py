"""A planned training run: prepare what it needs, train, report.

This process stays light: it composes the configuration, starts the simulated pool where one is wanted, and supervises
the trainer (`router_r1.training.trainer`), whose output goes to `train.log` while a line per step is shown here.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from rich.console import Console

from router_r1 import processes, runs
from router_r1.candidate_answers import left_to_ask
from router_r1.exit_codes import ExitCode
from router_r1.pool import load_pool
from router_r1.printable import printable
from router_r1.project_files import pool_name
from router_r1.routing.preflight import preflight
from router_r1.training import configuration as cfg
from router_r1.training import report, simulation
from router_r1.training.constants import questions_to_ask
from router_r1.training.plan import TrainingPlan, describe, estimate_of, raise_refusal, trainer_environment
from router_r1.training.sizing.estimate import measured_beside_planned, refuse_what_cannot_fit, write
from router_r1.training.stopping import ask_to_stop, notice_file
from router_r1.training.trainer import ERROR_FILE
from router_r1.training.uploads import Uploads, checkpoints_settings


def run(plan: TrainingPlan, console: Console, *, skip_preflight: bool = False) -> int:
    """Start a checked run and see it through; returns the exit code."""
    started = time.monotonic()
    refuse_what_cannot_fit(estimate := estimate_of(plan))
    describe(plan, console)
    settings = cfg.resolve(plan.config).router_r1
    if not (skip_preflight or settings.sim.enabled):
        asyncio.run(preflight(load_pool(settings.pool, base_url=settings.pool_base_url)))
    if estimate.memory:
        size = int(estimate.memory.checkpoint_gb * 1e9)
        cfg.set_values(plan.config, {"trainer.v1.sampler.sampler_kwargs.saving.planned_bytes": size})
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if plan.config.router_r1.sim.enabled:
            _prepare_world(plan, stack)
        cfg.check_data(cfg.resolve(plan.config))
        _tell_of_constants(plan, console)
        config_file = plan.run_dir / "config.yaml"
        cfg.dump(plan.config, config_file)
        _write_facts(plan)
        write(estimate, plan.run_dir)
        runs.point(plan.run_dir.parent / "latest", plan.run_dir)
        uploads = _uploads(plan)
        uploads.begin()
        code = _supervise(plan, config_file, console, uploads)
    checkpoint = runs.latest_checkpoint(plan.run_dir)
    if checkpoint:
        runs.point(plan.run_dir / "hf", checkpoint / "actor" / "huggingface")
    if code == ExitCode.REFUSED:
        raise_refusal(plan.run_dir, plan.run_dir / "train.log")
    if code == ExitCode.INTERRUPTED:
        return code
    if code == ExitCode.PREEMPTED:
        console.print(f"saved: {checkpoint}; go on with: bash train.sh resume=auto name={plan.run_dir.name}")
        return code
    if code == 0:
        report.close(plan.run_dir, console)
        if compared := measured_beside_planned(plan.run_dir):
            console.print(compared)
        console.print(f"done in {(time.monotonic() - started) / 60:.1f} min: {plan.run_dir}")
        return 0
    error_file = plan.run_dir / ERROR_FILE
    cause = error_file.read_text() if error_file.exists() else f"the trainer ended with code {code}"
    print(
        f"error: {printable(cause)}\n"
        f"last whole checkpoint: {checkpoint or 'none yet'}; log: {plan.run_dir / 'train.log'}; "
        f"go on with: bash train.sh resume=auto name={plan.run_dir.name}",
        file=sys.stderr,
    )
    return code if code > 0 else ExitCode.FAILED


def _prepare_world(plan: TrainingPlan, stack: ExitStack) -> None:
    """Questions, policy and pool server of a run in the simulated world; fills the configuration in."""
    resolved = cfg.resolve(plan.config)
    if not (plan.run_dir / "data" / "val.parquet").exists():  # a resumed run keeps its questions
        simulation.write_questions(resolved, plan.run_dir / "data")
    values = {"actor_rollout_ref.model.path": str(simulation.start_policy(resolved))}
    server = simulation.serve_pool(resolved, plan.run_dir / "pool_server.log")
    cfg.set_values(plan.config, values | {"router_r1.pool_base_url": stack.enter_context(server)})


def _tell_of_constants(plan: TrainingPlan, console: Console) -> None:
    config = cfg.resolve(plan.config)
    questions = questions_to_ask(config, cfg.pool_of(config))
    if left := len(left_to_ask(questions, runs.constants_file(plan.run_dir))):
        console.print(
            f"{len(questions)} validation questions are asked of every candidate first: {left} routes "
            "(router_r1.constants.enabled=false leaves that out)"
        )


def _write_facts(plan: TrainingPlan) -> None:
    config = cfg.resolve(plan.config)
    sim, files = config.router_r1.sim, config.data.val_files
    files = [files] if isinstance(files, str) else list(files)
    runs.write_run_json(
        plan.run_dir,
        {
            "name": plan.run_dir.name,
            "experiment": plan.experiment,
            "overrides": [o for o in plan.overrides if not o.startswith(("resume=", "name="))],
            "seed": config.seed,
            "model_path": config.actor_rollout_ref.model.path,
            # What the run has itself, or the project, is found again wherever its folder is moved to.
            "pool": pool_name(config.router_r1.pool),
            "template": config.router_r1.template,
            "cost_coe": cfg.reward_of(config).cost_coe,
            "rollout": dict(config.router_r1.rollout),
            "max_prompt_length": config.data.max_prompt_length,
            "simulated": sim.enabled,
            "latency_scale": sim.latency_scale,
            "qa": [sim.qa_root] if sim.qa_train else [],
            "val_files": [runs.seen_from(plan.run_dir, file) for file in files],
            "wandb_run_id": config.ray_kwargs.ray_init.runtime_env.env_vars.get("WANDB_RUN_ID"),
            **runs.provenance(),
        },
    )


def _uploads(plan: TrainingPlan) -> Uploads:
    config = cfg.resolve(plan.config)
    keep = runs.checkpoints_to_keep(config.trainer.max_actor_ckpt_to_keep, config.trainer.max_critic_ckpt_to_keep)
    return Uploads(plan.run_dir, checkpoints_settings(config), keep)


def _supervise(plan: TrainingPlan, config_file: Path, console: Console, uploads: Uploads) -> int:
    """Run the trainer, show a line per step; returns its exit code (negative: killed by a signal).

    Ctrl-C ends it now. SIGTERM lets it finish the step and save; a second one ends it now.
    """
    log = plan.run_dir / "train.log"
    metrics = Path(plan.config.ray_kwargs.ray_init.runtime_env.env_vars.VERL_FILE_LOGGER_PATH)
    metrics.parent.mkdir(exist_ok=True)
    console.print(f"starting the trainer (a minute or two until the first step); full log: {log}")
    trainer = processes.start(
        "router_r1.training.trainer", [str(config_file)], log=log, env=trainer_environment(plan.config)
    )
    lines = report.StepLines(metrics, plan.config.trainer.total_training_steps)
    notice = Notice(plan.run_dir)
    signal.signal(signal.SIGTERM, notice)
    try:
        while True:
            ended = _wait(trainer, 0.5)
            if words := notice.news():
                console.print(words)
            for line in [*lines.new(), *uploads.look()]:
                console.print(line, markup=False)
            if ended:
                for line in uploads.finish():
                    console.print(line, markup=False)
                return trainer.returncode
    except KeyboardInterrupt:
        uploads.stop()
        console.print(f"stopping; go on later with: bash train.sh resume=auto name={plan.run_dir.name}")
        processes.stop(trainer, grace_s=60)
        return ExitCode.INTERRUPTED


class Notice:
    """What SIGTERM does; a signal handler."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._has_come = self._is_told = False
        notice_file(run_dir).unlink(missing_ok=True)  # of an earlier start

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._has_come:
            raise KeyboardInterrupt
        self._has_come = True
        ask_to_stop(self._run_dir)

    def news(self) -> str:
        """What to tell of it, once."""
        if not self._has_come or self._is_told:
            return ""
        self._is_told = True
        return "SIGTERM: the step is finished and saved first; a second one ends the run now"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
