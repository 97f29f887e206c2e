"""How much a training asks and writes: trajectories, routes, money, checkpoints; and, where it was measured, time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from router_r1 import runs
from router_r1.pool import RoutingPool
from router_r1.pool.pricing import spend_usd

QUERY_TOKENS = 60
REPLY_TOKENS = 150
"""Of a cheap route: the workload of docs/scaling.md."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """None stands for what cannot be known yet."""

    steps: int | None
    training: int | None  # trajectories that are trained on
    refills: bool  # groups whose rewards are all alike are filtered out, and others asked: how many is not known
    validations: int | None
    validation: int | None  # trajectories of all of them
    constants: int | None  # routes that ask every candidate the validation questions, before the first step
    max_turns: int
    cheapest_route_usd: float
    dearest_route_usd: float
    is_free: bool  # the pool is simulated or recorded
    saves: int | None
    kept: int | None  # checkpoints on the disk at the end

    @property
    def routes(self) -> tuple[int, int] | None:
        """One per trajectory, and as many as it may have; without validation while its questions are not known."""
        if self.training is None:
            return None
        trajectories, first = self.training + (self.validation or 0), self.constants or 0
        return first + trajectories, first + trajectories * self.max_turns

    @property
    def spend_usd(self) -> tuple[float, float] | None:
        """Of the fewest routes, all cheap, to the most, all dear; no cache, no failures."""
        if self.is_free:
            return 0.0, 0.0
        if self.routes is None:
            return None
        low, high = self.routes
        return low * self.cheapest_route_usd, high * self.dearest_route_usd


def amounts_of(config: DictConfig, pool: RoutingPool) -> Amounts:
    """Read them off a resolved configuration, its pool and its question files, if they are there."""
    n = OmegaConf.select(config, "actor_rollout_ref.rollout.n") or 1
    val_n = OmegaConf.select(config, "actor_rollout_ref.rollout.val_kwargs.n") or 1
    batch = int(config.data.train_batch_size)
    steps = _steps(config, batch)
    questions = _validation_questions(config)
    before = OmegaConf.select(config, "trainer.val_before_train")
    validations = _times(steps, config.trainer.test_freq)
    if validations is not None and before in (None, True):
        validations += 1
    saves = _times(steps, config.trainer.save_freq)
    limit = OmegaConf.select(config, "trainer.max_actor_ckpt_to_keep")
    routes = [
        (
            spend_usd(c, QUERY_TOKENS, min(REPLY_TOKENS, c.max_tokens)),
            spend_usd(c, QUERY_TOKENS + config.router_r1.rollout.max_turn_tokens, c.max_tokens),
        )
        for c in pool.candidates
    ]
    return Amounts(
        steps=steps,
        training=None if steps is None else steps * batch * n,
        refills=bool(OmegaConf.select(config, "algorithm.filter_groups.enable")),
        validations=validations,
        validation=None if validations is None or questions is None else validations * questions * val_n,
        constants=_constants(config, pool, questions),
        max_turns=int(config.router_r1.rollout.max_turns),
        cheapest_route_usd=min(low for low, _ in routes),
        dearest_route_usd=max(high for _, high in routes),
        is_free=pool.served_here,
        saves=saves,
        kept=saves if saves is None or not limit else min(saves, int(limit)),
    )


def _steps(config: DictConfig, batch: int) -> int | None:
    steps, epochs = OmegaConf.select(config, "trainer.total_training_steps"), config.trainer.total_epochs
    if steps is not None:
        return int(steps)
    questions = _questions(config, "train")
    return None if questions is None else questions // batch * int(epochs)


def _times(steps: int | None, every: int) -> int | None:
    """How often something is done every so many steps, and after the last."""
    if steps is None:
        return None
    return 0 if every <= 0 else -(-steps // int(every))


def _validation_questions(config: DictConfig) -> int | None:
    found, limit = _questions(config, "val"), OmegaConf.select(config, "data.val_max_samples") or -1
    if limit > 0:
        return int(limit) if found is None else min(found, int(limit))
    return found


def _questions(config: DictConfig, part: str) -> int | None:
    """Rows of the question files; None where they are not there yet."""
    if config.router_r1.sim.enabled:
        return int(config.router_r1.sim[f"{part}_size"])
    given = config.data[f"{part}_files"]
    files = [Path(file) for file in ([given] if isinstance(given, str) else given)]
    if not all(file.is_file() for file in files):
        return None
    import pyarrow.parquet as pq

    rows: int = sum(pq.read_metadata(file).num_rows for file in files)
    return rows


def _constants(config: DictConfig, pool: RoutingPool, questions: int | None) -> int | None:
    enabled, most = config.router_r1.constants.enabled, config.router_r1.constants.max_questions
    if not (config.router_r1.sim.enabled if enabled is None else enabled):
        return 0
    if questions is None:
        return None
    return min(questions, int(most or questions)) * len(pool.candidates)


@dataclass(frozen=True)
class Measured:
    """Seconds of an earlier run like this one."""

    run: str
    step_s: float  # saving included
    validation_s: float

    def hours(self, amounts: Amounts) -> float | None:
        """Of a run of such steps."""
        if amounts.steps is None:
            return None
        return (amounts.steps * self.step_s + (amounts.validations or 0) * self.validation_s) / 3600


_LOOKED_AT = 5
"""Earlier runs whose configuration is read for a likeness: each takes a tenth of a second."""


def measured_like(config: DictConfig) -> Measured | None:
    """The newest run in the same folder whose steps are like a resolved configuration's; None if there is none."""
    folders = Path(config.runs_dir).glob("*/run.json")
    earlier_runs = [file.parent for file in folders if not file.parent.is_symlink()]
    newest = sorted(earlier_runs, key=lambda folder: folder.stat().st_mtime, reverse=True)[:_LOOKED_AT]
    for folder in newest:
        written = folder / "config.yaml"
        if not written.is_file():
            continue
        earlier = OmegaConf.load(written)
        assert isinstance(earlier, DictConfig)
        if _likeness(earlier) == _likeness(config) and (found := _measured(folder)):
            return found
    return None


_LIKE = (
    "actor_rollout_ref.model.path",
    "actor_rollout_ref.model.lora_rank",
    "algorithm.adv_estimator",
    "algorithm.filter_groups.enable",
    "distillation.enabled",
    "data.train_batch_size",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.max_model_len",
    "trainer.device",
    "trainer.v1.trainer_mode",
    "trainer.n_gpus_per_node",
    "trainer.nnodes",
    "router_r1.pool",
)


def _likeness(config: DictConfig) -> list[Any]:
    found = [OmegaConf.select(config, key) for key in _LIKE]
    if OmegaConf.select(config, "router_r1.sim.enabled"):
        # The model's folder is made for each run.
        found[0] = [OmegaConf.select(config, f"router_r1.sim.{key}") for key in ("warm_start", "build_on")]
    return found


def _measured(folder: Path) -> Measured | None:
    try:
        rows: list[Mapping[str, float]] = list(runs.read_metrics(folder).values())
    except (OSError, json.JSONDecodeError, ValueError):
        return None
    steps = _mean(rows, "timing_s/step")
    if steps is None:
        return None
    return Measured(folder.name, steps, _mean(rows, "timing_s/testing") or 0.0)


def _mean(rows: list[Mapping[str, float]], name: str) -> float | None:
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else None
