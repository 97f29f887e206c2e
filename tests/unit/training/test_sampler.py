"""What a step's trajectories are turned into before the trainer learns from them."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from decimal import Decimal

import pytest
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from router_r1 import runs
from router_r1.training import sampler


def row(em: float = 0.0, routes: float = 1.0, failed: float = 0.0, **candidates: float) -> dict[str, float]:
    counts = {"candidate/a": 0.0, "candidate/b": 0.0} | {f"candidate/{k}": v for k, v in candidates.items()}
    return {"em": em, "routes": routes, "failed_routes": failed, **counts}


def test_metrics_are_means_over_the_batch_and_over_each_data_source():
    rows = [row(em=1.0), row(em=0.0), row(em=0.0)]

    metrics = sampler.trajectory_metrics(rows, ["nq", "nq", "hotpotqa"])

    assert metrics["train/em"] == pytest.approx(1 / 3)
    assert metrics["train/nq/em"] == 0.5
    assert metrics["train/hotpotqa/em"] == 0.0


def test_terms_of_the_reward_are_means_over_trajectories_whatever_their_names():
    terms = {"term/brevity": -0.5, "term/candidate/a": 1.0}
    rows = [row(routes=3, a=3) | terms, row() | dict.fromkeys(terms, 0.0)]

    metrics = sampler.trajectory_metrics(rows, ["x", "x"])

    assert (metrics["train/term/brevity"], metrics["train/x/term/brevity"]) == (-0.25, -0.25)
    assert metrics["train/term/candidate/a"] == 0.5


def test_candidate_metrics_are_shares_of_all_routes_not_means_over_trajectories():
    rows = [row(routes=3, a=3), row(routes=1, b=1), row(routes=0)]

    metrics = sampler.trajectory_metrics(rows, ["x"] * 3)

    assert (metrics["train/candidate/a"], metrics["train/candidate/b"]) == (0.75, 0.25)


def test_candidate_shares_of_a_batch_without_routes_are_zero():
    assert sampler.trajectory_metrics([row(routes=0)], ["x"])["train/candidate/a"] == 0.0


# ---------------------------------------------------------------- measures of routing


def fields(kind: str, *asked: str, cost_weight: float | None = None, em: float = 0.0) -> dict[str, object]:
    """What the agent loop tells of a trajectory that asked these candidates, in this order."""
    counts = {name: float(asked.count(name)) for name in ("a", "b")}
    info = row(em=em, routes=len(asked), **counts) | {"raw_cost": 2.0 * len(asked)}
    first = asked[0] if asked else ""
    return {"kind": kind, "first_candidate": first, "reward_extra_info": info, "cost_weight": cost_weight}


def test_measures_of_routing_are_of_the_whole_batch_and_of_each_data_source():
    extra = [fields("film", "a", "b"), fields("music", "b", "b"), fields("film", "a"), fields("music")]

    metrics = sampler.routing_metrics("train", extra, ["nq", "nq", "hotpotqa", "hotpotqa"])

    assert metrics["train/top_share"] == 0.6
    assert metrics["train/effective_candidates"] == pytest.approx(0.6**-0.6 * 0.4**-0.4)
    assert metrics["train/kind_information"] == pytest.approx(0.9183, abs=1e-4), (
        "a trajectory without a route is left out"
    )
    assert metrics["train/nq/kind_information"] == 1.0
    assert (metrics["train/hotpotqa/top_share"], metrics["train/hotpotqa/kind_information"]) == (1.0, 0.0)


def test_a_batch_without_a_route_has_measures_of_0():
    metrics = sampler.routing_metrics("train", [fields("film")], ["nq"])

    assert set(metrics.values()) == {0.0}


def test_a_validation_of_several_batches_is_measured_as_one_and_the_next_one_anew(tmp_path):
    measures = sampler.ValidationMeasures(tmp_path)
    measures.add(0, [fields("film", "a")], ["nq"])
    measures.add(0, [fields("music", "b")], ["nq"])
    measures.add(20, [fields("film", "a")], ["nq"])

    first, second = (runs.read_validation_measures(tmp_path, step) for step in (0, 20))

    assert (first["val/top_share"], first["val/kind_information"]) == (0.5, 1.0)
    assert (second["val/nq/top_share"], second["val/kind_information"]) == (1.0, 0.0)
    assert runs.read_validation_measures(tmp_path, 40) == {}


# ---------------------------------------------------------------- by cost weight


WEIGHED = [
    fields("film", "a", "a", cost_weight=0.0, em=1.0),
    fields("music", "b", "b", cost_weight=0.0),
    fields("film", "a", cost_weight=0.95, em=1.0),
    fields("music", cost_weight=0.95),
]


def test_where_alpha_is_sampled_a_step_has_metrics_of_each_cost_weight():
    metrics = sampler.cost_weight_metrics("train", WEIGHED)

    assert metrics == {
        "train/cost_weight_0/em": 0.5,
        "train/cost_weight_0/raw_cost": 4.0,
        "train/cost_weight_0/routes": 2.0,
        "train/cost_weight_0.95/em": 0.5,
        "train/cost_weight_0.95/raw_cost": 1.0,
        "train/cost_weight_0.95/routes": 0.5,
    }
    assert sampler.cost_weight_metrics("train", [fields("film", "a")]) == {}


def test_a_validation_has_the_measures_of_routing_of_each_cost_weight_too(tmp_path):
    measures = sampler.ValidationMeasures(tmp_path)
    measures.add(20, WEIGHED[:1], ["nq"])
    measures.add(20, WEIGHED[1:], ["nq"] * 3)

    found = runs.read_validation_measures(tmp_path, 20)

    assert (found["val/cost_weight_0/raw_cost"], found["val/cost_weight_0.95/routes"]) == (4.0, 0.5)
    assert (found["val/cost_weight_0/top_share"], found["val/cost_weight_0/kind_information"]) == (0.5, 1.0)
    assert (found["val/cost_weight_0.95/top_share"], found["val/top_share"]) == (1.0, 0.6)


# ---------------------------------------------------------------- beside the best constant


def answer(index: int, em: float, raw_cost: float) -> dict[str, object]:
    """What the agent loop tells of a trajectory of this question."""
    own = fields("film", "a")
    return {
        **own,
        "question_index": index,
        "reward_extra_info": own["reward_extra_info"] | {"em": em, "raw_cost": raw_cost},
    }


def asked(source: str, index: int, candidate: str, em: float, raw_cost: float) -> str:
    row = {"data_source": source, "index": index, "kind": "film", "offered": 2, "candidate": candidate}
    return json.dumps(row | {"em": em, "f1": em, "raw_cost": raw_cost, "spend_usd": 0.0, "failed": False}) + "\n"


def test_a_validation_is_told_beside_the_best_constant_for_the_same_money(tmp_path):
    """Candidate a is right about one of two questions of nq for 2, b about both for 10; a router asks a and b once."""
    file = runs.constants_file(tmp_path)
    file.parent.mkdir()
    file.write_text(
        asked("nq", 0, "a", 1, 2) + asked("nq", 1, "a", 0, 2) + asked("nq", 0, "b", 1, 10) + asked("nq", 1, "b", 1, 10)
    )
    measures = sampler.ValidationMeasures(tmp_path)
    measures.add(0, [answer(0, 1.0, 2.0)], ["nq"])
    measures.add(0, [answer(1, 1.0, 10.0), answer(7, 0.0, 99.0)], ["nq", "nq"])

    found = runs.read_validation_measures(tmp_path, 0)

    assert (found["val/em"], found["val/raw_cost"]) == (1.0, 6.0), "question 7 was not asked of the candidates"
    assert (found["val/best_constant_em"], found["val/em_above_constant"]) == (0.75, 0.25)
    assert (found["val/oracle_em"], found["val/regret"], found["val/nq/regret"]) == (1.0, 0.0, 0.0)


def test_a_cost_weight_is_told_beside_the_constants_of_all_questions(tmp_path):
    """Of two data sources, each of which weighs the same: a is right about nq's question for 2, b about both for 10."""
    file = runs.constants_file(tmp_path)
    file.parent.mkdir()
    file.write_text(
        asked("nq", 0, "a", 1, 2)
        + asked("nq", 0, "b", 1, 10)
        + asked("hop", 1, "a", 0, 2)
        + asked("hop", 1, "b", 1, 10)
    )
    measures = sampler.ValidationMeasures(tmp_path)
    cheap = [answer(0, 1.0, 2.0), answer(0, 1.0, 2.0), answer(1, 0.5, 10.0)]
    measures.add(0, [one | {"cost_weight": 0.95} for one in cheap], ["nq", "nq", "hop"])

    found = runs.read_validation_measures(tmp_path, 0)

    assert (found["val/cost_weight_0.95/em"], found["val/cost_weight_0.95/raw_cost"]) == (0.75, 6.0)
    assert found["val/cost_weight_0.95/best_constant_em"] == 0.75, "half-way from a (0.5 at 2) to b (1 at 10)"
    assert found["val/cost_weight_0.95/em_above_constant"] == 0.0


def test_where_the_candidates_were_not_asked_a_validation_is_told_alone(tmp_path):
    measures = sampler.ValidationMeasures(tmp_path)
    measures.add(0, [fields("film", "a")], ["nq"])

    assert not any("constant" in name for name in runs.read_validation_measures(tmp_path, 0))


def test_a_step_in_which_too_many_routes_failed_is_refused_with_the_figures_and_the_cause():
    rows = [row(routes=4, failed=3), row(routes=4, failed=1)]

    with pytest.raises(sampler.PoolUnreachable, match=r"pool unreachable: 4 of 8 routes failed in step 7.*refused"):
        sampler.refuse_outage(rows, ["connection refused"], step=7, limit=0.2)


@pytest.mark.parametrize(
    ("rows", "limit", "refused"),
    [
        ([row(routes=10, failed=2)], 0.2, False),
        ([row(routes=10, failed=2)], 0.19, True),
        ([row(routes=0)], 0.0, False),
        ([], 0.0, False),
    ],
)
def test_failures_up_to_the_limit_or_no_routes_at_all_are_no_outage(rows, limit, refused):
    with pytest.raises(sampler.PoolUnreachable) if refused else nullcontext() as told:
        sampler.refuse_outage(rows, ["timeout"], step=1, limit=limit)
    assert (told is not None) == refused


def test_a_step_after_the_budget_was_spent_is_refused_with_the_figures():
    ledger = sampler.Ledger(["a"], budget_usd=0.5)
    sampler.refuse_overspending(ledger, step=2)
    ledger.charge("a", Decimal("0.51"))

    with pytest.raises(sampler.BudgetSpent, match=r"budget spent: 0\.51 of 0\.5 USD.*Step 3 was not trained on"):
        sampler.refuse_overspending(ledger, step=3)
    assert sampler.spending_metrics(ledger)["routing/spend_usd/a"] == 0.51


# ---------------------------------------------------------------- what is left to veRL


def buffer(mode: str = "sync", **told: object) -> ReplayBuffer:
    """Made as veRL's trainer makes a custom sampler; `told` are more of `trainer.v1.sampler.sampler_kwargs`."""
    kwargs = {
        "max_failed_routes": 0.2,
        "samples_per_question": {"train": 8, "val": 1},
        "run_dir": "/nowhere",
        "saving": {"save_freq": -1, "last_step": 3, "keep": [2, 2], "planned_bytes": None},
        "filter_groups": {"enable": False, "metric": "reward", "max_inflight_gen_batches": 1},
        "sync_refill_failed_groups": False,
        "train_batch_size": 16,
    }
    return sampler.replay_buffer(
        trainer_mode=mode,
        trainer_config={},
        max_off_policy_threshold=4,
        max_off_policy_strategy="wait",
        sampler_kwargs=kwargs | told,
        refill_fn=lambda questions: questions,
    )


@pytest.mark.parametrize(("mode", "is_async"), [("sync", False), ("colocate_async", True), ("separate_async", True)])
def test_each_mode_of_verls_trainer_has_its_own_buffer_with_its_rules(mode, is_async):
    made = buffer(mode)

    assert isinstance(made, sampler.RouterReplayBuffer)
    assert isinstance(made, ReplayBufferAsync) == is_async
    assert (made.max_off_policy_threshold, made.max_off_policy_strategy) == (4, "wait")
    assert made.poll_interval == sampler.POLL_INTERVAL_S


def test_without_group_filtering_whole_batches_are_fetched():
    made = buffer()
    assert (made.filter_groups_metric, made.gen_batch_size, made.train_batch_size) == (None, 16, 16)


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_group_filtering_reaches_the_buffer_with_its_metric_and_bounds(mode):
    made = buffer(mode, filter_groups={"enable": True, "metric": "em", "max_inflight_gen_batches": 3})

    assert (made.filter_groups_metric, made.gen_batch_size, made.max_inflight_gen_batches) == ("em", 1, 3)


class Services:
    def __init__(self, budget_usd: float, spent: str = "0") -> None:
        self._ledger = sampler.Ledger(["a"], budget_usd=budget_usd)
        self._ledger.charge("a", Decimal(spent))

    def ledger(self) -> sampler.Ledger:
        return self._ledger


FAILED = (set(), set(), {"question-1"}, Counter())


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_a_group_that_failed_in_the_workers_stops_the_run_in_every_mode(monkeypatch, mode):
    monkeypatch.setattr(sampler, "connect", lambda: Services(1.0))

    with pytest.raises(sampler.RolloutFailed, match=r"1 questions of step 3 failed .*sync_refill_failed_groups=true"):
        buffer(mode)._evict_terminal_groups(3, "train", FAILED)


def test_a_spent_budget_is_told_rather_than_refilled_for_ever(monkeypatch):
    monkeypatch.setattr(sampler, "connect", lambda: Services(0.5, spent="0.6"))

    with pytest.raises(sampler.BudgetSpent, match="Step 3 was not trained on"):
        buffer(sync_refill_failed_groups=True)._evict_terminal_groups(3, "train", FAILED)
