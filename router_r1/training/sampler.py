"""The trainer's view of a step's trajectories, before it learns from them.

veRL's `trainer.v1.sampler.custom_sampler` hook: the batch is complete here and no model has seen it yet, so this is
where a step that cannot be trusted is refused, and where the trajectories' own metrics join the trainer's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from router_r1.atomic import write_text
from router_r1.candidate_answers import read_table
from router_r1.constant_routers import CandidateTable, compare, frontier
from router_r1.errors import BudgetSpent
from router_r1.measures import COST_WEIGHT, route_measures
from router_r1.routing.ledger import Ledger
from router_r1.runs import checkpoints_to_keep, constants_file, validation_measures_file
from router_r1.training.disk import is_saved, make_room
from router_r1.training.services import connect
from router_r1.training.stopping import notice_file

POLL_INTERVAL_S = 0.1
"""How often to look for finished trajectories; upstream's 2 s is most of a small model's step."""

_CANDIDATE = "candidate/"
_BY_COST_WEIGHT = ("em", "raw_cost", "routes")
_Member = TypeVar("_Member")
_Name = TypeVar("_Name")


class PoolUnreachable(RuntimeError):
    """Too many routes of one step failed: what the policy would learn from it is the outage."""


class RolloutFailed(RuntimeError):
    """A rollout worker lost trajectories. veRL would pad the batch and go on; a fault is no sample."""


class RouterReplayBuffer(ReplayBuffer):
    """Adds `train/...` metrics to each step, and stops the run when trajectories are missing or routes fail.

    veRL's group filtering, refilling and staleness rules stay as they are. veRL drops what a sampler measures of a
    validation, so that the `val/...` metrics go into a file of their own.

    Of `trainer.v1.sampler.sampler_kwargs`: `max_failed_routes` is the largest share of failed routes in a step that is
    still trained on, in [0, 1]; `samples_per_question` gives the trajectories per question of each partition; `run_dir`
    is the run's folder; `saving` says when the trainer saves, and what a checkpoint needs (`verl/router_r1.yaml`); the
    others are those that veRL withholds from a custom sampler (`_withheld`).
    """

    def __init__(self, *, sampler_kwargs: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(
            sampler_kwargs=sampler_kwargs, **_withheld(sampler_kwargs), **kwargs, poll_interval=POLL_INTERVAL_S
        )
        self._max_failed_routes = float(sampler_kwargs["max_failed_routes"])
        self._samples_per_question = dict(sampler_kwargs["samples_per_question"])
        self._run_dir, self._saving = Path(sampler_kwargs["run_dir"]), dict(sampler_kwargs["saving"])
        self._validation = ValidationMeasures(self._run_dir)

    def _evict_terminal_groups(
        self, global_steps: int, partition_id: str, eviction_reasons: tuple[set[str], set[str], set[str], Any]
    ) -> tuple[set[str], int, int, dict[str, Any]]:
        """Failed groups are replaced only where that is asked for: veRL's asynchronous buffer always would.

        A spent budget fails every group, the replacements too, so that a step would never be whole.
        """
        _, _, failed, _ = eviction_reasons
        if failed:
            refuse_overspending(connect().ledger(), step=global_steps)
            if not self.sync_refill_failed_groups:
                raise RolloutFailed(
                    f"{len(failed)} questions of step {global_steps} failed in the rollout workers; their errors stand "
                    "above in this log (trainer.v1.sampler.sync_refill_failed_groups=true asks others in their place)"
                )
        evicted: tuple[set[str], int, int, dict[str, Any]] = super()._evict_terminal_groups(
            global_steps, partition_id, eviction_reasons
        )
        return evicted

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        batch, metrics = super().sample(global_steps=global_steps, partition_id=partition_id, batch_size=batch_size)
        ledger = connect().ledger()
        refuse_overspending(ledger, step=global_steps)
        expected = batch_size * self._samples_per_question[partition_id]
        if len(batch.keys) != expected:
            raise RolloutFailed(
                f"{expected - len(batch.keys)} of {expected} {partition_id} trajectories of step {global_steps} failed "
                "in the rollout workers; their errors stand above in this log"
            )
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=partition_id, select_fields=["extra_fields", "data_source", "response_mask"]
        )
        extra = list(data["extra_fields"])
        rows = [fields["reward_extra_info"] for fields in extra]
        errors = [fields["route_error"] for fields in extra if fields["route_error"]]
        refuse_outage(rows, errors, step=global_steps, limit=self._max_failed_routes)
        sources = [str(source) for source in data["data_source"]]
        if partition_id == "val":
            self._validation.add(global_steps, extra, sources)
        if partition_id == "train":
            refuse_full_disk(self._run_dir, self._saving, step=global_steps)
            metrics.update(trajectory_metrics(rows, sources))
            metrics.update(routing_metrics("train", extra, sources))
            metrics.update(cost_weight_metrics("train", extra))
            metrics.update(spending_metrics(ledger))
            mask = data["response_mask"].values()
            metrics["train/policy_tokens"] = int((mask == 1).sum())
            metrics["train/observation_tokens"] = int((mask == 0).sum())
        return batch, metrics


class RouterReplayBufferAsync(RouterReplayBuffer, ReplayBufferAsync):
    """The same on the buffer of a trainer that trains while the next trajectories are rolled out."""


def replay_buffer(*, trainer_mode: str, **kwargs: Any) -> ReplayBuffer:
    """The buffer for `trainer.v1.trainer_mode`; `custom_sampler` names this, and veRL calls it as it would a class."""
    made = RouterReplayBuffer if trainer_mode == "sync" else RouterReplayBufferAsync
    return made(trainer_mode=trainer_mode, **kwargs)


def _withheld(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that veRL 0.9.1's trainer gives its own buffers and no custom one (`_build_replay_buffer`).

    Args:
        given: `filter_groups`, `sync_refill_failed_groups` and `train_batch_size` as veRL's configuration has them.
    """
    filtered, refills = given["filter_groups"], bool(given["sync_refill_failed_groups"])
    metric = str(filtered["metric"]) if filtered["enable"] else None
    batch = int(given["train_batch_size"])
    return {
        "filter_groups_metric": metric,
        "sync_refill_failed_groups": refills,
        "train_batch_size": batch,
        # An exact number of questions is refilled one by one; the trainer's loader is set to that as well.
        "gen_batch_size": 1 if metric is not None or refills else batch,
        "max_inflight_gen_batches": filtered["max_inflight_gen_batches"] if metric is not None else 1,
    }


def refuse_outage(rows: Sequence[dict[str, float]], errors: Sequence[str], *, step: int, limit: float) -> None:
    """Raise `PoolUnreachable` if more than `limit` of the routes of `rows` failed."""
    routes, failed = sum(r["routes"] for r in rows), sum(r["failed_routes"] for r in rows)
    if routes and failed / routes > limit:
        raise PoolUnreachable(
            f"pool unreachable: {failed:.0f} of {routes:.0f} routes failed in step {step} "
            f"(limit {limit:.0%}, router_r1.max_failed_routes); last error: {errors[-1]}. "
            "Nothing was trained on this step; mend the pool and go on with resume=auto."
        )


def refuse_overspending(ledger: Ledger, *, step: int) -> None:
    """Raise `BudgetSpent` if the budget of the run is used up.

    Its last routes may have been refused, so the step is not trained on.
    """
    if ledger.is_spent:
        raise BudgetSpent(
            f"{ledger.budget_message()}. Step {step} was not trained on; go on with resume=auto and a larger "
            "router_r1.routing.budget_usd, which counts from the start of each process."
        )


def refuse_full_disk(run_dir: Path, saving: Mapping[str, Any], *, step: int) -> None:
    """Raise `DiskFull` if the step will be saved, by plan or because the run was asked to stop, and that cannot be.

    Args:
        saving: `save_freq`, `last_step`, `keep` of actor and critic, and `planned_bytes` of a checkpoint.
    """
    is_asked_to_stop = notice_file(run_dir).exists()
    if is_asked_to_stop or is_saved(step, save_freq=saving["save_freq"], last_step=saving["last_step"]):
        keep = checkpoints_to_keep(*saving["keep"])
        make_room(run_dir, step=step, planned_bytes=saving["planned_bytes"], keep=keep)


def spending_metrics(ledger: Ledger) -> dict[str, float]:
    """The books of the run so far (`routing/requests`), and each candidate's spend (`routing/spend_usd/<name>`)."""
    total = {f"routing/{key}": value for key, value in ledger.total().as_metrics().items()}
    return total | {f"routing/spend_usd/{name}": float(a.spend_usd) for name, a in ledger.accounts.items()}


def trajectory_metrics(rows: Sequence[dict[str, float]], sources: Sequence[str]) -> dict[str, float]:
    """Means over the batch (`train/em`) and over each data source (`train/world_1hop/em`).

    Candidate counts become shares of all routes, and statuses shares of all trajectories.
    """
    metrics: dict[str, float] = {}
    for name, members in _groups("train", rows, sources).items():
        routes = sum(r["routes"] for r in members)
        for key in members[0]:
            total = float(np.sum([r[key] for r in members]))
            share_of = routes if key.startswith(_CANDIDATE) else len(members)
            metrics[f"{name}/{key}"] = total / share_of if share_of else 0.0
    return metrics


def routing_metrics(section: str, extra: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> dict[str, float]:
    """The measures of routing over all trajectories (`train/top_share`) and over each data source's.

    Args:
        section: the first part of the names.
        extra: the `extra_fields` that the agent loop gave each trajectory.
        sources: its data source.
    """
    metrics: dict[str, float] = {}
    for name, members in _groups(section, extra, sources).items():
        metrics |= {f"{name}/{key}": value for key, value in _route_measures(members).items()}
    return metrics


def cost_weight_metrics(section: str, extra: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the trajectories of each cost weight (`train/cost_weight_0.6/em`); none unless alpha is sampled.

    Arguments as in `routing_metrics`.
    """
    groups = _by_cost_weight(extra, extra)
    return {
        f"{section}/{name}/{key}": value for name, members in groups.items() for key, value in _means(members).items()
    }


def cost_curve_metrics(
    extra: Sequence[Mapping[str, Any]], sources: Sequence[str], table: CandidateTable | None
) -> dict[str, float]:
    """The curve of a validation over the cost weights (`val/cost_weight_0.6/em`); none unless alpha is sampled.

    Means are over data sources, as elsewhere in a validation, so that they compare with the constant routers'. These
    are of all questions, not of a weight's alone: weights are given by lot, and few questions flatter a constant.

    Args:
        extra: the `extra_fields` that the agent loop gave each trajectory.
        sources: their data sources.
        table: what the candidates alone would score; None if they were not asked.
    """
    metrics: dict[str, float] = {}
    hull = frontier(table) if table is not None else None
    groups = _by_cost_weight(extra, list(zip(extra, sources, strict=True)))
    for name, pairs in groups.items():
        members, own_sources = [fields for fields, _ in pairs], [source for _, source in pairs]
        rows = [_means(own) for own in _grouped(members, own_sources).values()]
        found = {key: float(np.mean([row[key] for row in rows])) for key in _BY_COST_WEIGHT} | _route_measures(members)
        found |= hull.as_metrics(found["em"], found["raw_cost"]) if hull else {}
        metrics |= {f"val/{name}/{key}": value for key, value in found.items()}
    return metrics


def _means(members: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    rows = [fields["reward_extra_info"] for fields in members]
    return {key: float(np.mean([row[key] for row in rows])) for key in _BY_COST_WEIGHT}


def _by_cost_weight(extra: Sequence[Mapping[str, Any]], members: Sequence[_Member]) -> dict[str, list[_Member]]:
    """The members whose trajectory has a cost weight, under its name (`cost_weight_0.6`)."""
    groups = _grouped(members, [fields["cost_weight"] for fields in extra])
    groups.pop(None, None)
    return {f"{COST_WEIGHT}{weight:g}": groups[weight] for weight in sorted(groups)}


def _route_measures(members: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    routes: Counter[str] = Counter()
    for fields in members:
        routes.update({k: int(v) for k, v in fields["reward_extra_info"].items() if k.startswith(_CANDIDATE)})
    asked = [(fields["kind"], fields["first_candidate"]) for fields in members if fields["first_candidate"]]
    return route_measures(routes, asked)


def constant_metrics(
    section: str, extra: Sequence[Mapping[str, Any]], sources: Sequence[str], table: CandidateTable
) -> dict[str, float]:
    """The router beside the best constant one and the oracles, over all data sources and for each.

    `em` and `raw_cost` are the router's on the questions that the candidates were asked. Arguments as in
    `routing_metrics`.
    """
    answers = [
        ((source, fields["question_index"]), fields["reward_extra_info"]["em"], fields["reward_extra_info"]["raw_cost"])
        for fields, source in zip(extra, sources, strict=True)
    ]
    metrics: dict[str, float] = {}
    for name, members in _groups(section, answers, sources).items():
        if found := compare(table, members):
            own = {"em": found.router.em, "raw_cost": found.router.raw_cost, **found.as_metrics()}
            metrics |= {f"{name}/{key}": value for key, value in own.items()}
    return metrics


def _groups(section: str, members: Sequence[_Member], sources: Sequence[str]) -> dict[str, list[_Member]]:
    """All of them under the section's name, and those of each data source under `<section>/<source>`."""
    names = [f"{section}/{source}" for source in sources]
    return _grouped([*members, *members], [section] * len(members) + names)


def _grouped(members: Sequence[_Member], names: Sequence[_Name]) -> dict[_Name, list[_Member]]:
    """Those of the same name together."""
    groups: dict[_Name, list[_Member]] = {}
    for member, name in zip(members, names, strict=True):
        groups.setdefault(name, []).append(member)
    return groups


class ValidationMeasures:
    """What veRL does not measure of each validation, in a file each (`runs.read_validation_measures`).

    These are the measures of routing and, where alpha is sampled, the curve over the cost weights; beside them stands
    what the best constant router would have had, if the candidates were asked.

    A validation may come in several batches: the file is written anew with each, so that the last one leaves it whole
    before the trainer logs the validation.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._step: int | None = None
        self._extra: list[Mapping[str, Any]] = []
        self._sources: list[str] = []
        # Whole already: the candidates are asked first thing in this process.
        self._table = read_table(constants_file(run_dir))

    def add(self, step: int, extra: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> None:
        """A batch of the validation at `step`; the arguments are those of `routing_metrics`."""
        if step != self._step:
            self._step, self._extra, self._sources = step, [], []
        self._extra += extra
        self._sources += sources
        measures = routing_metrics("val", self._extra, self._sources)
        measures |= cost_curve_metrics(self._extra, self._sources, self._table)
        if self._table is not None:
            measures |= constant_metrics("val", self._extra, self._sources, self._table)
        write_text(validation_measures_file(self._run_dir, step), json.dumps(measures, indent=2) + "\n")
