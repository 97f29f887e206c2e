"""A trained router's questions, dealt otherwise, and the pools made for that."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from router_r1 import runs
from router_r1.datasets import check_parquet
from router_r1.datasets.parquet import check_deals
from router_r1.findings import other_deals
from router_r1.pool import Deal, dealer_of, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import load_template, render_messages
from router_r1.sim.world.candidates import PROFILES
from router_r1.sim.world.facts import Shares, World
from router_r1.sim.world.question_files import write_world

ADDRESS = "http://127.0.0.1:1/v1"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A training's folder with its questions."""
    folder = tmp_path_factory.mktemp("run")
    pool = load_pool(pool_file("dealt"), base_url=ADDRESS)
    render = partial(render_messages, load_template("tiny"), pool)
    write_world(
        folder / "data", World(0), train=1, val=40, seed=0, shares=Shares(), render=render, deal=dealer_of(pool, 0),
        cost_weights=(0, 0.6),
    )  # fmt: skip
    runs.write_run_json(folder, {"name": folder.name, "template": "tiny"})
    return folder


def rows_of(file: Path) -> list[dict]:
    return pq.read_table(file).to_pylist()


def deals_of(file: Path) -> list[Deal]:
    return [Deal.from_rows(row["extra_info"]["candidates"], "") for row in rows_of(file)]


@pytest.fixture
def changed(run_dir, tmp_path):
    """Write the run's questions with changed deals; the rows before and after, and the deals of both."""

    def write(change: other_deals.Change):
        pool = other_deals.with_newcomers(tmp_path)
        file = tmp_path / "questions.parquet"
        assert other_deals.write_changed(run_dir, file, change, pool) == pool
        check_parquet(file)
        check_deals(file, load_pool(pool, base_url=ADDRESS))
        before = run_dir / "data" / "val.parquet"
        return rows_of(before), rows_of(file), deals_of(before), deals_of(file)

    return write


def test_deals_that_are_left_as_they_are_give_the_same_file(changed):
    before, after, _, _ = changed(other_deals.as_it_was)

    assert before == after


def test_shuffled_deals_offer_the_same_candidates_by_other_names(changed):
    _, after, old, new = changed(other_deals.shuffled)

    assert [sorted(e.candidate for e in d.shown) for d in old] == [sorted(e.candidate for e in d.shown) for d in new]
    assert [sorted(e.name for e in d.shown) for d in old] == [sorted(e.name for e in d.shown) for d in new]
    assert sum(set(a.shown) == set(b.shown) for a, b in zip(old, new, strict=True)) < 5
    assert all(
        [f" {e.name}" in row["prompt"][0]["content"] for e in deal.shown] for row, deal in zip(after, new, strict=True)
    )


def test_a_newcomer_is_the_specialist_of_the_questions_field_and_is_offered_by_a_free_name(changed):
    before, after, old, new = changed(other_deals.with_newcomer)

    for row, was, deal in zip(after, old, new, strict=True):
        (added,) = set(deal.shown) - set(was.shown)
        assert added.candidate == other_deals.NEWCOMERS[row["ability"]]
        assert f"{row['ability']} expert {added.name}" in row["prompt"][0]["content"]
    assert [row["extra_info"]["cost_weight"] for row in before] == [row["extra_info"]["cost_weight"] for row in after]


def test_newcomers_are_no_candidates_of_the_pool_that_is_trained_on():
    dealt = load_pool(pool_file("dealt"), base_url=ADDRESS)

    assert set(other_deals.NEWCOMERS.values()).isdisjoint(dealt.names)
    assert len(other_deals.NEWCOMERS) == 6


def test_a_liar_knows_nothing_of_the_field_that_it_claims(changed):
    _, after, old, new = changed(other_deals.with_liar)

    lied = 0
    for row, was, deal in zip(after, old, new, strict=True):
        liars = [entry for entry in deal.shown if entry.descriptor is not None]
        assert [e.candidate for e in was.shown] == [e.candidate for e in deal.shown]
        for liar in liars:
            assert PROFILES[liar.candidate].domain not in (None, row["ability"])
            assert f"specialist {row['ability']} expert {liar.name}" in row["prompt"][0]["content"]
        lied += len(liars)
    assert lied > 30, "nearly every deal has a specialist of another field"


def test_a_change_is_drawn_alike_each_time(changed):
    assert changed(other_deals.with_newcomer)[3] == changed(other_deals.with_newcomer)[3]


def test_short_descriptors_say_the_field_and_leave_the_rest_of_the_pool_as_it_is(tmp_path):
    short = load_pool(other_deals.with_short_descriptors(tmp_path), base_url=ADDRESS)
    dealt = load_pool(pool_file("dealt"), base_url=ADDRESS)

    assert {c.name: c.descriptor for c in short.candidates}["film-light"] == "specialist film"
    assert (short.names, short.deals, short.simulated) == (dealt.names, dealt.deals, True)
    assert [c.price for c in short.candidates] == [c.price for c in dealt.candidates]


def test_a_pool_without_plain_ones_lacks_them_and_nothing_else(tmp_path):
    without = load_pool(other_deals.without_plain_ones(tmp_path), base_url=ADDRESS)
    dealt = load_pool(pool_file("dealt"), base_url=ADDRESS)

    assert set(dealt.names) - set(without.names) == {name for name in dealt.names if name.endswith("-plain")}
    assert len(without.names) == 29
    assert without.deals.sizes == dealt.deals.sizes
