"""Folders of benchmarks and training runs, read into a store."""

from __future__ import annotations

import json
import logging
import os

import pytest

pytest.importorskip("sqlalchemy")

from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.protocol import Route, Search, Status, Trajectory, Turn, render_observation
from router_r1.trajectories import FolderIndex, Selection, Sort, TrajectoryStore
from router_r1.trajectories.export import exported
from router_r1.trajectories.folders import turns_of
from tests.doubles.kept_trajectories import kept

TEXT = (
    "<think> Who knows? </think>\n<search> Atlas: capital of France? </search>\n"
    "<information> It is Paris. </information>\n"
    "<think> I was told. </think>\n<answer> Paris </answer>"
)
LINE = {
    "input": "user\nCandidates: Atlas: places\nQuestion: Capital of France?\nassistant\n",
    "output": TEXT,
    "gts": {"target": ["Paris"]},
    "score": 0.75,
    "step": 3,
}
VALIDATION = LINE | {
    "reward": 0.75,
    "em": 1.0,
    "f1": 1.0,
    "format": 0.0,
    "raw_cost": 2.0,
    "spend_usd": 1e-6,
    "term/outcome": 0.5,
    "term/cost": 0.25,
    "status/answered": 1.0,
    "status/length": 0.0,
    "candidate/place-expert": 1.0,
    "candidate/film-expert": 0.0,
}


def write(file, *rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def store():
    with TrajectoryStore(keep_texts=True) as opened:
        yield opened


def test_a_benchmarks_records_are_what_they_were(tmp_path, store):
    (record,) = exported([kept(1, "A", data_source="nq", golden_answers=["Paris"], em=1.0, f1=1.0, seconds=0.5)])
    write(tmp_path / "bench/methods/knn@0.3/trajectories.jsonl", record)
    assert FolderIndex([tmp_path / "bench"], store).refresh() == 1
    (row,) = store.page().rows
    assert row.source == "bench/methods/knn@0.3/trajectories.jsonl"
    assert (row.data_source, row.question, row.em, row.seconds) == ("nq", "What is the capital of country 1?", 1.0, 0.5)
    assert store.get(row.id).turns == kept(1, "A").turns


def test_a_training_steps_text_is_parted_into_who_wrote_what(tmp_path, store):
    write(tmp_path / "run/rollouts/3.jsonl", LINE)
    FolderIndex([tmp_path / "run"], store).refresh()
    (row,) = store.page(Selection(source="run/rollouts/3.jsonl")).rows
    found = store.get(row.id)
    assert (found.question, found.answer, found.golden_answers) == ("Capital of France?", "Paris", ["Paris"])
    assert (found.em, found.reward, found.status, found.raw_cost) == (1.0, 0.75, "answered", None)
    assert found.routes == [{"candidate": "Atlas", "query": "capital of France?", "reply": "It is Paris."}]
    assert [piece.author for piece in found.segments] == ["policy", "environment", "policy"]
    assert "".join(piece.text for piece in found.segments) == TEXT


def test_a_validation_tells_terms_costs_and_the_candidates_own_names(tmp_path, store):
    write(tmp_path / "run/validation/10.jsonl", VALIDATION)
    FolderIndex([tmp_path / "run"], store).refresh()
    (row,) = store.page(Selection(candidate="place-expert")).rows
    assert row.rewards == {"outcome": 0.5, "cost": 0.25}
    assert (row.raw_cost, row.status, row.format_error) == (2.0, "answered", "")


def test_what_is_written_later_is_read_later_and_half_a_line_not_before_it_is_whole(tmp_path, store):
    file = write(tmp_path / "run/rollouts/1.jsonl", LINE)
    with file.open("a") as sink:
        sink.write(json.dumps(LINE)[:40])
    index = FolderIndex([tmp_path / "run"], store)
    assert [index.refresh(), index.refresh()] == [1, 0]
    with file.open("a") as sink:
        sink.write(json.dumps(LINE)[40:] + "\n")
    write(tmp_path / "run/rollouts/10.jsonl", LINE)
    write(tmp_path / "run/rollouts/9.jsonl", LINE)
    assert (index.refresh(), store.page().total) == (3, 4)
    order = [row.source for row in store.page(sort=Sort("em", descending=False)).rows]
    assert order == [f"run/rollouts/{step}.jsonl" for step in (1, 1, 9, 10)]


def test_what_is_gone_or_was_written_anew_leaves_the_store(tmp_path, store):
    """A resumed training writes the files of its last steps once more; a folder may be deleted while it is shown."""
    file = write(tmp_path / "run/rollouts/1.jsonl", LINE, LINE | {"score": 0.25}, LINE)
    other = write(tmp_path / "run/rollouts/2.jsonl", LINE)
    index = FolderIndex([tmp_path / "run"], store)
    assert index.refresh() == 4
    for rows in ([LINE | {"score": 0.5}], [LINE | {"score": score} for score in (0.1, 0.2, 0.3, 0.4, 0.6)]):
        write(file, *rows)  # shorter, then longer
        assert index.refresh() == len(rows)
        rewards = [row.reward for row in store.page(Selection(source="run/rollouts/1.jsonl")).rows]
        assert sorted(rewards) == sorted(row["score"] for row in rows)
    other.unlink()
    assert (index.refresh(), store.page().total) == (0, 5)
    write(other, LINE, LINE)
    assert (index.refresh(), store.page().total) == (2, 7)


def test_an_index_made_anew_finds_the_same_trajectories_by_the_same_ids(tmp_path, store):
    write(tmp_path / "run/rollouts/1.jsonl", LINE, LINE)
    FolderIndex([tmp_path / "run"], store).refresh()
    before = [row.id for row in store.page().rows]
    FolderIndex([tmp_path / "run"], store).refresh()
    assert [row.id for row in store.page().rows] == before


@pytest.mark.parametrize("bad", ["{", "[]", "7", '{"output": 3, "input": "", "gts": {}}', '{"question": "who?"}'])
def test_a_line_that_is_no_trajectory_is_told_with_its_place_and_left_out(tmp_path, store, caplog, bad):
    file = tmp_path / "run/rollouts/1.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(f"{json.dumps(LINE)}\n{bad}\n{json.dumps(LINE)}\n")
    with caplog.at_level(logging.WARNING):
        assert FolderIndex([tmp_path / "run"], store).refresh() == 2
    assert f"{file}:2 holds no trajectory" in caplog.text


def test_nothing_behind_a_link_is_read_but_a_folder_may_be_named_by_one(tmp_path, store):
    write(tmp_path / "elsewhere/rollouts/1.jsonl", LINE)
    write(tmp_path / "runs/one/rollouts/1.jsonl", LINE)
    os.symlink(tmp_path / "elsewhere", tmp_path / "runs/out")
    os.symlink(tmp_path / "elsewhere/rollouts/1.jsonl", tmp_path / "runs/one/rollouts/2.jsonl")
    os.symlink(tmp_path / "runs/one", tmp_path / "runs/latest")
    assert FolderIndex([tmp_path / "runs"], store).refresh() == 1
    assert FolderIndex([tmp_path / "runs/latest"], store).refresh() == 1
    assert store.page().total == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path, store):
    with pytest.raises(ConfigError, match="is no folder"):
        FolderIndex([tmp_path / "nowhere"], store)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), max_size=12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(words, words, st.booleans()), max_size=3), words)
def test_whatever_the_texts_a_trajectory_is_parted_as_it_was_made(searches, last):
    turns = []
    for query, reply, is_route in searches:
        route = Route("A", query, reply) if is_route else None
        turn = Turn([], [], f"<think> x </think> <search> A: q {query} </search>", Search("A", query), route=route)
        turn.observation = render_observation(reply)
        turns.append(turn)
    turns.append(Turn([], [], f"{last} <answer> y </answer>", Search("", "")))
    trajectory = Trajectory([], turns, Status.ANSWERED)
    found = turns_of(trajectory.text)
    assert [turn["text"] for turn in found] == [turn.text for turn in turns]
    assert [turn["observation"] for turn in found] == [turn.observation for turn in turns]
