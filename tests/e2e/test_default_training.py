"""What the default training comes to: a policy that routes, better than any that does not look at the question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e import runner

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(3 * 3600)]


def check_that_it_routes(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    found = summary["validation"][str(summary["steps"])]
    mean = found["mean"]
    assert mean["format_valid"] > 0.95
    assert mean["em_above_constant"] > 0.15
    assert mean["em"] > mean["oracle_em"] - 0.08
    assert mean["top_share"] < 0.4
    assert mean["effective_candidates"] > 4
    assert found["world_known"]["routes"] < 0.2
    spent = {float(weight): of_weight["raw_cost"] for weight, of_weight in summary["cost_curve"].items()}
    assert all(cost < spent[0.0] for weight, cost in spent.items() if weight)
    assert spent[0.6] < spent[0.0] / 3
    for hops in (1, 2, 3):
        assert found[f"world_{hops}hop"]["routes"] == pytest.approx(hops, abs=0.3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_asks_as_often_as_there_are_hops_and_whom_the_question_calls_for(tmp_path, seed):
    trained = runner.train(tmp_path, "whole", f"seed={seed}", timeout=2.5 * 3600)

    assert trained.code == 0, trained.out[-3000:] + trained.err[-3000:]
    check_that_it_routes(tmp_path / "whole")
