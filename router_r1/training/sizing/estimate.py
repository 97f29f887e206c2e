"""The plan of one training: made, judged, kept in the run's folder, and compared with what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from router_r1.atomic import write_text
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool
from router_r1.runs import read_metrics
from router_r1.training.simulation import named_policy, policy_to_build_on
from router_r1.training.sizing import memory, profiles
from router_r1.training.sizing.amounts import Amounts, Measured, amounts_of, measured_like
from router_r1.training.sizing.gpus import DEFAULT_TYPE, Cluster, gpus_here, parse_gpus
from router_r1.training.sizing.job import KEYS, Job, job_of, overrides_between
from router_r1.training.sizing.model_size import ModelSize, model_size

PLAN_FILE = "plan.json"
_MODEL_KEY = "actor_rollout_ref.model.path"
_PEAK = "perf/max_memory_allocated_gb"


@dataclass(frozen=True)
class MemoryPlan:
    """What the GPUs must hold."""

    model: ModelSize
    cluster: Cluster
    is_seen: bool  # the GPUs are those of this machine, or named by the user; else they are assumed
    given: profiles.Fit  # as configured
    chosen: profiles.Fit  # the setting that fits, as near to the given one as can be
    checkpoint_gb: float

    def phases(self, job: Job) -> list[memory.Phase]:
        """Of a setting, on these GPUs."""
        return memory.phases(self.model, job, self.cluster.gpu)

    @property
    def overrides(self) -> list[str]:
        """What must be said to get the chosen setting."""
        return overrides_between(self.given.job, self.chosen.job)


@dataclass(frozen=True)
class Estimate:
    """All of it."""

    amounts: Amounts
    measured: Measured | None
    memory: MemoryPlan | None
    why_no_memory: str = ""  # "" where it is planned, or there is no GPU to plan for


def estimate(
    config: DictConfig, pool: RoutingPool, overrides: Sequence[str] = (), cluster: Cluster | None = None
) -> Estimate:
    """Plan a resolved configuration.

    Args:
        overrides: what the user said; keys in it are not chosen anew.
        cluster: the GPUs; None for those of this machine, or else `DEFAULT_TYPE`.

    Raises:
        ConfigError: settings that no plan can be made of. A model whose size is not known is none.
    """
    amounts, measured = amounts_of(config, pool), measured_like(config)
    if config.trainer.device == "cpu":
        return Estimate(amounts, measured, None)
    try:
        model = model_size(_policy_of(config), "configuration", _MODEL_KEY)
    except ConfigError as fault:
        return Estimate(amounts, measured, None, str(fault))
    job = job_of(config)
    seen = cluster.gpu if cluster else gpus_here()
    gpu = seen or parse_gpus(DEFAULT_TYPE).gpu
    given_keys = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    fixed = {field for field, keys in KEYS.items() if given_keys & set(keys)}
    saved = OmegaConf.select(config, "actor_rollout_ref.actor.checkpoint.save_contents") or ()
    plan = MemoryPlan(
        model=model,
        cluster=Cluster(gpu, job.gpus_per_node, job.gpus // job.gpus_per_node),
        is_seen=seen is not None,
        given=profiles.fit_of(model, job, gpu),
        chosen=profiles.choose(model, job, gpu, fixed),
        checkpoint_gb=memory.checkpoint_bytes(model, job, has_hf_model="hf_model" in saved) / 1e9,
    )
    return Estimate(amounts, measured, plan)


def _policy_of(config: DictConfig) -> str:
    """The model that a training starts from, or one of its shape."""
    if not config.router_r1.sim.enabled:
        return str(config.actor_rollout_ref.model.path)
    return str(named_policy(config) or policy_to_build_on(config))


def refuse_what_cannot_fit(found: Estimate) -> None:
    """Raise what is in the way of a training as it is configured, on GPUs that are known.

    Raises:
        ConfigError: with the overrides that make it fit, or the nearest training that does.
    """
    plan = found.memory
    if plan is None or not plan.is_seen or plan.given.fits:
        return
    problem = f"{plan.model.name} does not fit: {plan.given.problem}"
    if plan.chosen.fits:
        remedy = f"{problem}; it does with: {' '.join(plan.overrides)}"
        raise ConfigError("configuration", "trainer.n_gpus_per_node", plan.cluster.per_node, remedy)
    refuse_the_cluster(plan)


def refuse_the_cluster(plan: MemoryPlan) -> None:
    """Raise that no setting of this training fits these GPUs.

    Raises:
        ConfigError: always.
    """
    others = profiles.nearest(plan.model, plan.given.job, plan.cluster)
    remedy = f"{plan.model.name} does not fit: {plan.chosen.problem}; "
    remedy += f"the nearest that fits: {' or '.join(others)}" if others else "nothing near it does"
    raise ConfigError("command line", "--gpus", str(plan.cluster), remedy)


def write(found: Estimate, run_dir: Path) -> None:
    """Keep the plan with its run, if it has one of memory."""
    if found.memory is None:
        return
    planned = found.memory.phases(found.memory.given.job)
    facts = {
        "gpus": str(found.memory.cluster),
        "allocated_gib": {phase.name: round(phase.allocated_gib, 2) for phase in planned},
        "total_gib": {phase.name: round(phase.total_gib, 2) for phase in planned},
    }
    write_text(run_dir / PLAN_FILE, json.dumps(facts, indent=2) + "\n")


def measured_beside_planned(run_dir: Path) -> str:
    """A line on the memory that the trainer allocated at most; "" where nothing was planned or measured.

    veRL measures what torch allocates in the trainer's process, without contexts and without the engine.
    """
    try:
        planned: dict[str, float] = json.loads((run_dir / PLAN_FILE).read_text())["allocated_gib"]
    except FileNotFoundError:
        return ""
    rows = read_metrics(run_dir).values()
    peaks = [value for row in rows for name, value in row.items() if name.endswith(_PEAK)]
    if not peaks or max(peaks) <= 0:
        return ""
    phase = max(planned, key=lambda name: planned[name])
    return (
        f"GPU memory: the trainer allocated {max(peaks):.1f} GiB at most, "
        f"planned were {planned[phase]:.1f} ({phase}); docs/plan.md says what is counted"
    )
