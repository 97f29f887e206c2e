"""Kept trajectories as a benchmark's records, and as questions to train on."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy")

from router_r1.benchmark.records import Record, read_records
from router_r1.trajectories import Feedback, TrajectoryStore
from router_r1.trajectories.export import exported, with_golden_answers
from tests.doubles.kept_trajectories import kept

LIKED, DISLIKED = Feedback(1.0, "yes"), Feedback(0.0)


def test_a_record_has_every_field_of_a_benchmarks_and_is_read_as_one(tmp_path):
    with TrajectoryStore(keep_texts=True) as store:
        store.add([kept(1, "A", seconds=0.5, feedback=LIKED), kept(2)])
        first, second = records = list(exported(store.every()))
    assert set(Record.__annotations__) - {"candidates", "kind"} <= set(first)  # those two a record may lack
    assert (first["data_source"], first["index"], second["index"]) == ("server", 0, 1)
    assert (first["routes"], first["failed_routes"], first["raw_cost"]) == (1, 0, 2.0)
    assert (first["feedback"], second["feedback"]) == ({"score": 1.0, "comment": "yes", "time": 0.0}, None)
    file = tmp_path / "trajectories.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read_records(file) == records


def test_only_golden_answers_can_be_learned_from_unless_liked_ones_are_asked_for():
    known = kept(0, golden_answers=["Rome"], feedback=DISLIKED)
    trajectories = [
        known,
        kept(1, feedback=LIKED),
        kept(2, feedback=DISLIKED),
        kept(3),
        kept(4, answer=None, feedback=LIKED),
    ]

    def golden(least_score):
        return {
            r["id"]: r["golden_answers"] for r in with_golden_answers(exported(trajectories), least_score=least_score)
        }

    assert golden(None) == {"t0": ["Rome"]}
    assert golden(1.0) == {"t0": ["Rome"], "t1": ["Paris"]}
    assert golden(0.0) == {"t0": ["Rome"], "t1": ["Paris"], "t2": ["Paris"]}


def test_without_texts_nothing_can_be_learned_from():
    one = kept(1, golden_answers=["Paris"], feedback=LIKED).without_texts()
    assert list(with_golden_answers(exported([one]), least_score=0.0)) == []
