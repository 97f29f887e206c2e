"""Cascades in an offline benchmark: beside routers, on the replies of the same file of scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES, CascadeEntry, Decision
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.offline.benchmark import OfflineBenchmark
from router_r1.offline.options import ComparisonOptions
from router_r1.offline.parts import part
from router_r1.recorded import load_recorded
from router_r1.recorded.pools import split_recorded
from router_r1.recorded.replies import recorded_of
from router_r1.scores import Sample, read_replies, read_scores, split, write_scores
from tests.doubles.recorded import sum_question

pytest.importorskip("safetensors")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

SMALL, LARGE = "Small-7B", "Large-70B"


class AsksTwice:
    """A cascade that needs no learning: it asks the first candidate, and the second one if the first is unsure and
    money counts for less than a half."""

    fits = 0

    def fit(self, train, encoder, *, seed):
        type(self).fits += 1
        if not train.has_replies:
            raise ConfigError(train.source, "reply", None, "is nowhere: only scores are known, and AsksTwice reads")
        self.candidates = train.candidates

    def at(self, alpha):
        return ReadyAsksTwice(self.candidates, goes_on=alpha < 0.5)

    def save(self, folder):
        write_fitted(folder, {"candidates": list(self.candidates)}, {"nothing": np.zeros(1)})

    @classmethod
    def load(cls, folder, encoder):
        cascade = cls()
        cascade.candidates = tuple(read_fitted(folder)[0]["candidates"])
        return cascade


class ReadyAsksTwice:
    def __init__(self, candidates, *, goes_on):
        self.candidates, self.goes_on = candidates, goes_on

    async def decide(self, question, routes, *, request_id):
        first = await routes.route(self.candidates[0], question, trajectory_id=request_id)
        if not self.goes_on or "unsure" not in first.reply:
            return Decision((first,), 0)
        return Decision((first, await routes.route(self.candidates[1], question, trajectory_id=request_id)), 1)


@pytest.fixture(autouse=True)
def cascades(encoder, routers, monkeypatch):
    """One that reads replies, and one that does not; what the package brings is tested where it is."""
    monkeypatch.setattr(AsksTwice, "fits", 0)
    monkeypatch.setitem(CASCADES, "twice", CascadeEntry("Asks twice", AsksTwice, "here"))
    return CASCADES


def sums(count: int = 80, *, with_replies: bool = True, failed: int = 0) -> list[Sample]:
    """Small-7B is right about every second sum and unsure of the others, Large-70B right about all."""
    rows = []
    for number in range(count):
        a, b = 3 * number + 1, number + 2
        small = f"It is {a + b}." if number % 2 == 0 else f"I am unsure, maybe {a}."
        for name, reply, score, cost in (
            (SMALL, small, float(number % 2 == 0), 1.0),
            (LARGE, f"Ann has {a + b} marbles.", 1.0, 9.0),
        ):
            sample = Sample(
                id=f"sum-{number}",
                data_source="sums",
                question=sum_question(a, b),
                candidate=name,
                reply=reply if with_replies else None,
                score=score,
                metric="right",
                raw_cost=cost,
                spend_usd=2e-6 * cost,
            )
            rows.append(replace(sample, failed=True, reply=None, score=0.0) if number < failed else sample)
    return rows


def scores_file(folder: Path, rows: list[Sample]) -> Path:
    file = folder / "sums.parquet"
    write_scores(rows, file, provenance={})
    return file


def options(file: Path, **changed) -> ComparisonOptions:
    return ComparisonOptions(**{"scores": file, "seeds": 2, "alphas": "0,.3,1", "baseline": "ridge"} | changed)


def method(results, name):
    return next(method for method in results.methods if method.name == name)


def test_a_cascade_stands_beside_routers_and_pays_for_all_that_it_asks(tmp_path):
    benchmark = OfflineBenchmark(options(scores_file(tmp_path, sums())), out=tmp_path / "out")
    results = benchmark.run()
    twice = method(results, "twice")
    assert twice.kind == "router"
    sure = [p.test.score[:, 0].mean() for p in benchmark.parts]
    figures = twice.evaluated.points[0].figures
    assert figures["score"] == 1.0
    assert figures["raw_cost"] == pytest.approx(1.0 + 9.0 * (1 - np.mean(sure)))
    assert figures["spend_usd"] == pytest.approx(2e-6 * figures["raw_cost"])
    assert figures["above_constant"] > 0.1
    assert figures["top_share"] == pytest.approx(np.mean([1 / (2 - share) for share in sure]))  # of all routes, small's
    assert twice.evaluated.points[2].figures["raw_cost"] == 1.0
    assert results.not_run == {}


def test_what_was_fitted_and_played_is_not_done_again_and_other_cost_weights_go_on_from_there(tmp_path):
    file = scores_file(tmp_path, sums())
    first = OfflineBenchmark(options(file), out=tmp_path / "out").run()
    again = OfflineBenchmark(options(file), out=tmp_path / "out", resume=True).run()
    finer = OfflineBenchmark(options(file, alphas="0,.1,.3,1"), out=tmp_path / "out", resume=True).run()
    assert AsksTwice.fits == 2
    assert method(again, "twice") == method(first, "twice")
    points = method(first, "twice").evaluated.points, method(finer, "twice").evaluated.points
    assert [point.figures["raw_cost"] for point in points[0]] == [points[1][n].figures["raw_cost"] for n in (0, 2, 3)]


def test_a_folder_of_the_same_scores_with_other_replies_is_refused(tmp_path):
    OfflineBenchmark(options(scores_file(tmp_path, sums())), out=tmp_path / "out").run()
    other = [replace(row, reply=f"{row.reply} Indeed.") for row in sums()]
    with pytest.raises(ConfigError, match="replies_sha256"):
        OfflineBenchmark(options(scores_file(tmp_path, other)), out=tmp_path / "out", resume=True)


def test_one_that_reads_replies_is_listed_where_there_are_none_and_the_others_run(tmp_path):
    file = scores_file(tmp_path, sums(with_replies=False))
    results = OfflineBenchmark(options(file), out=tmp_path / "out").run()
    assert [m.name for m in results.routers] == ["ridge"]
    line = f"{file}: reply: is nowhere: only scores are known, and AsksTwice reads"
    assert results.not_run == {"Asks twice": line}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["not_run"] == {"Asks twice": line}
    assert "AsksTwice reads" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "fits" / "twice").exists()


def test_where_candidates_are_dealt_no_cascade_runs(tmp_path):
    rows = [replace(row, offered=row.id != "sum-3" or row.candidate != LARGE) for row in sums()]
    results = OfflineBenchmark(options(scores_file(tmp_path, rows)), out=tmp_path / "out").run()
    assert "offered: is not true of every candidate" in results.not_run["Asks twice"]
    assert [m.name for m in results.routers] == ["ridge"]


def test_a_baseline_that_cannot_run_is_a_fault(tmp_path):
    file = scores_file(tmp_path, sums(with_replies=False))
    with pytest.raises(ConfigError, match="AsksTwice reads"):
        OfflineBenchmark(options(file, baseline="twice"), out=tmp_path / "out").run()


def test_a_cascade_of_a_missing_package_is_listed_with_what_to_type(tmp_path, cascades, monkeypatch):
    monkeypatch.setitem(cascades, "twice", CascadeEntry("Asks twice", AsksTwice, "here", needs=("no_such_module",)))
    results = OfflineBenchmark(options(scores_file(tmp_path, sums())), out=tmp_path / "out").run()
    assert results.not_installed == {"Asks twice": "needs no_such_module: pip install 'router-r1[methods]'"}


def test_failed_answers_are_left_out_as_they_are_of_the_scores(tmp_path):
    file = scores_file(tmp_path, sums(200, failed=1))
    table = read_scores(file)
    recorded = recorded_of(table, read_replies(file))
    assert [question.id for question in recorded.questions] == [question.id for question in table.questions]
    assert len(recorded.questions) == 199
    assert recorded.table().score.tolist() == table.score.tolist()


def test_routers_cascades_and_recorded_pools_part_questions_alike(tmp_path):
    file = scores_file(tmp_path, sums())
    table = read_scores(file)
    own = part(table, 0, test_share=0.3, replies=recorded_of(table, read_replies(file)))
    assert own.train_replies is not None
    assert own.test_replies is not None
    pool_train, pool_test = split_recorded(load_recorded(file))
    for questions in (own.train_replies.questions, pool_train.questions, split(table)[0].questions):
        assert [q.id for q in questions] == [q.id for q in own.train.questions]
    assert [q.id for q in own.test_replies.questions] == [q.id for q in own.test.questions]
    assert [q.id for q in pool_test.questions] == [q.id for q in own.test.questions]


def test_shuffled_labels_are_those_of_the_replies_too(tmp_path):
    file = scores_file(tmp_path, sums())
    table = read_scores(file)
    own = part(table, 0, test_share=0.3, shuffle_labels=True, replies=recorded_of(table, read_replies(file)))
    assert own.train_replies is not None
    assert own.train_replies.table().score.tolist() == own.train.score.tolist()
    assert own.train.score.tolist() != split(table)[0].score.tolist()


def test_the_cascades_that_are_there_run_from_a_file(tmp_path, cascades, monkeypatch):
    pytest.importorskip("sklearn")
    from router_r1.methods.cascades.table import _cascade_routing, _consistency, _frugal

    for name, make in (("frugal", _frugal), ("routing", _cascade_routing), ("consistency", _consistency)):
        monkeypatch.setitem(cascades, name, CascadeEntry(name, make, "", reads_replies=name != "routing"))
    file = scores_file(tmp_path, [replace(row, question=f"the river. {row.question}") for row in sums(40)])
    results = OfflineBenchmark(options(file, seeds=1), out=tmp_path / "out").run()
    assert {"frugal", "routing", "twice"} <= {m.name for m in results.routers}
    assert list(results.not_run) == ["consistency"]
    assert "has 1 sample(s) of a question" in results.not_run["consistency"]
