"""What a step's trajectories are turned into before the trainer learns from them."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal

import pytest

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
