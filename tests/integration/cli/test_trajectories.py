"""`router-r1 trajectories export`: from the store of a server to questions that a policy trains on."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy")

from router_r1.cli import main
from router_r1.trajectories import Feedback, TrajectoryStore
from tests.doubles.kept_trajectories import kept


@pytest.fixture
def store(tmp_path):
    file = tmp_path / "store.sqlite"
    with TrajectoryStore(file, keep_texts=True) as opened:
        opened.add(
            [
                kept(1, "A", question="What is the capital of France?", feedback=Feedback(1.0)),
                kept(2, model="knn", arm="knn", feedback=Feedback(0.0)),
                kept(3, golden_answers=["Rome"], question="What is the capital of Italy?", answer="Turin"),
            ]
        )
    return file


def exported(capsys, *arguments) -> list[dict]:
    assert main(["trajectories", "export", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_trajectory_is_a_line_and_options_choose_among_them(store, capsys):
    assert [record["id"] for record in exported(capsys, store)] == ["t1", "t2", "t3"]
    assert [record["id"] for record in exported(capsys, store, "--feedback", "up")] == ["t1"]
    assert [record["id"] for record in exported(capsys, store, "--arm", "knn")] == ["t2"]
    assert [record["id"] for record in exported(capsys, store, "--model", "router-r1")] == ["t1", "t3"]


def test_what_was_liked_is_trained_on_only_if_that_is_asked_for(store, capsys, tmp_path):
    assert [record["id"] for record in exported(capsys, store, "--golden")] == ["t3"]
    lines = tmp_path / "data/served/train.jsonl"
    assert exported(capsys, store, "--golden", "--liked-as-golden", 1, "--out", lines) == []
    questions = ["--data-root", str(tmp_path / "data"), "--data-sources", "served", "--n", "all", "--model", "tiny"]
    assert main(["data", "train", *questions, "--out", str(tmp_path)]) == 0
    pq = pytest.importorskip("pyarrow.parquet")
    rows = pq.read_table(tmp_path / "train_served_tiny.parquet").to_pylist()
    assert {row["extra_info"]["question"]: row["reward_model"]["ground_truth"]["target"] for row in rows} == {
        "What is the capital of France?": ["Paris"],
        "What is the capital of Italy?": ["Rome"],
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: is no file"),
        (["store.sqlite", "--liked-as-golden", "1"], "--liked-as-golden = 1.0: goes with --golden"),
        (["store.sqlite", "--golden", "--liked-as-golden", "2"], "--liked-as-golden = 2.0"),
        (["store.sqlite", "--out", "store.sqlite/file"], "--out = 'store.sqlite/file': cannot be written"),
        (["store.sqlite", "--feedback", "sideways"], "sideways"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(store, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(["trajectories", "export", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err
