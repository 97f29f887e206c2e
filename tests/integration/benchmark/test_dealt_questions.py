"""A benchmark of dealt questions on the real simulated pool: shown names in the text, the pool's own in all figures."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from router_r1.datasets import write_parquet
from router_r1.pool import Deal, Shown, draw_deal, load_pool
from router_r1.project_files import pool_file as shipped_pool
from router_r1.prompts import load_template, render_messages
from router_r1.sim.world.facts import World
from router_r1.sim.world.question_files import world_rows
from tests.doubles.commands import bench as main
from tests.doubles.commands import captured, compare
from tests.integration.conftest import PolicyServer, write_model

NUM_QUESTIONS = 12


def write_dealt_pool(path: Path, **changes: Any) -> Path:
    """The shipped simulated pool, dealt in threes to fives."""
    pool = yaml.safe_load(shipped_pool("sim").read_text())
    pool["deals"] = {"names": ["Nova", "Lyra", "Orion", "Vega", "Mira", "Rigel"], "sizes": [3, 5]}
    path.write_text(yaml.safe_dump(pool | changes))
    return path


def write_questions(path: Path, pool: Path, deal=None, *, template: str | Path = "tiny", cost_weights=()) -> Path:
    offered = load_pool(pool)
    render = partial(render_messages, load_template(template), offered)
    deal = deal or partial(draw_deal, offered, 0)
    rows = world_rows(World(0), "val", NUM_QUESTIONS, 0, render=render, deal=deal, cost_weights=cost_weights)
    write_parquet(rows, path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A policy that asks the first candidate that its prompt offers; run the command with it."""
    root = tmp_path_factory.mktemp("dealt")
    model, pool = write_model(root / "model"), write_dealt_pool(root / "pool.yaml")
    with PolicyServer(model).running() as policy:
        policy.candidate = None

        def run(*options: str | Path, out: str, pool: Path = pool) -> tuple[int, Path, str]:
            given = ["--base-url", policy.url, "--model-path", model, "--pool", pool, "--out", root / out, *options]
            code, _, messages = captured(main, [str(word) for word in given])
            return code, root / out, messages

        yield run, root, pool


@pytest.fixture(scope="module")
def finished(served) -> Path:
    run, root, pool = served
    code, folder, messages = run("--data", write_questions(root / "val.parquet", pool), out="out")
    assert code == 0, messages
    return folder


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]


def test_every_question_is_asked_of_its_own_deal(finished):
    pool = load_pool(finished.parent / "pool.yaml")
    records = records_of(finished)
    assert len(records) == NUM_QUESTIONS
    for record in records:
        deal = Deal.from_rows(record["candidates"], "record")
        assert deal == draw_deal(pool, 0, "val", record["index"])
        first = deal.shown[0]
        (route,) = [turn["route"] for turn in record["turns"] if turn["route"]]
        assert f"<search> {first.name}: {record['question']}" in record["turns"][0]["text"]
        assert route["candidate"] == first.candidate
        assert route["raw_cost"] == route["completion_tokens"] * pool.candidate(first.candidate).price.output
        assert (route["failed"], record["format_error"]) == (False, "")


def test_all_figures_are_by_the_pools_own_candidates(finished):
    pool = load_pool(finished.parent / "pool.yaml")
    mean = json.loads((finished / "results.json").read_text())["mean"]
    shares = {key.removeprefix("share/"): value for key, value in mean.items() if key.startswith("share/")}
    assert set(shares) == set(pool.names)
    asked = [turn["route"]["candidate"] for r in records_of(finished) for turn in r["turns"] if turn["route"]]
    assert len(set(asked)) > 2
    assert mean["top_share"] == pytest.approx(max(map(asked.count, asked)) / len(asked))


def test_a_benchmark_of_deals_is_gone_on_with_only_if_they_are_the_same(served, finished, tmp_path):
    """Same names and descriptors, so that the prompts are the same too: only the deals differ."""
    run, root, pool = served
    assert run("--data", root / "val.parquet", "--resume", out="out")[0] == 0

    def pair(first: str, second: str):
        shown = (Shown("Nova", first, "one"), Shown("Lyra", second, "another"))
        return lambda split, index: Deal(shown)

    one = write_questions(tmp_path / "one.parquet", pool, pair("Atlas-8B", "Omni-72B"))
    other = write_questions(tmp_path / "other.parquet", pool, pair("Omni-72B", "Atlas-8B"))
    assert run("--data", one, out="pair")[0] == 0
    code, _, messages = run("--data", other, "--resume", out="pair")
    assert code == 2
    assert "questions_sha256" in messages


def test_prompts_written_anew_offer_the_deal(served, finished):
    run, root, _ = served
    code, folder, messages = run("--data", root / "val.parquet", "--template", "tiny", "--limit", "2", out="anew")
    assert code == 0, messages
    assert all(record["turns"][0]["route"] for record in records_of(folder))


@pytest.mark.parametrize("names", [("Nova", "Lyra"), ("Atlas-8B", "Omni-72B")])
def test_a_prompt_that_does_not_offer_the_deal_is_refused_with_its_row(served, tmp_path, names):
    run, _, pool = served
    offered = load_pool(pool)
    render = partial(render_messages, load_template("tiny"), offered)
    dealt = Deal((Shown("Nova", "Atlas-8B"), Shown("Lyra", "Omni-72B")))
    rows = world_rows(World(0), "val", 2, 0, render=render, deal=lambda *_: dealt)
    rows[1]["prompt"] = [{"role": "user", "content": f"Candidates: {names[0]}: x\nQuestion: Who?"}]
    write_parquet(rows, tmp_path / "val.parquet")
    code, _, messages = run("--data", tmp_path / "val.parquet", out="refused")
    assert code == 2
    missing = "Lyra" if names[0] == "Nova" else "Nova"
    assert f"row 1: prompt: does not offer {missing}" in " ".join(messages.split())


def test_a_deal_of_a_candidate_that_the_pool_lacks_is_refused_with_its_row(served, finished, tmp_path):
    run, root, pool = served
    smaller = yaml.safe_load(pool.read_text())
    smaller["candidates"] = [c for c in smaller["candidates"] if c["name"] != "Pico-1B"]
    (tmp_path / "smaller.yaml").write_text(yaml.safe_dump(smaller))
    code, _, messages = run("--data", root / "val.parquet", pool=tmp_path / "smaller.yaml", out="smaller")
    assert code == 2
    assert "candidate = 'Pico-1B': is no candidate of" in " ".join(messages.split())


def test_a_pool_with_one_more_candidate_is_asked_as_before(served, finished, tmp_path):
    run, root, pool = served
    larger = yaml.safe_load(pool.read_text())
    larger["candidates"].append({**larger["candidates"][0], "name": "Newcomer-9B", "aliases": [], "descriptor": "new"})
    (tmp_path / "larger.yaml").write_text(yaml.safe_dump(larger))
    code, folder, messages = run("--data", root / "val.parquet", pool=tmp_path / "larger.yaml", out="larger")
    assert code == 0, messages
    asked = [
        sorted((r["index"], r["turns"][0]["route"]["candidate"]) for r in records_of(f)) for f in (folder, finished)
    ]
    assert asked[0] == asked[1]


# ---------------------------------------------------------------- with cost weights and constants


@pytest.fixture(scope="module")
def weighing(served) -> Path:
    """A template that tells the cost weight."""
    path = served[1] / "weighing.txt"
    path.write_text("Candidates: {pool_inline}\nCost counts {cost_weight}.\nQuestion: {question}")
    return path


@pytest.fixture(scope="module")
def weighed(served, weighing) -> Path:
    run, root, pool = served
    data = write_questions(root / "weighed.parquet", pool, template=weighing, cost_weights=(0.0, 0.95))
    code, folder, messages = run("--data", data, "--constants", out="weighed")
    assert code == 0, messages
    return folder


def test_candidates_alone_are_asked_what_they_were_dealt(weighed):
    answers = [json.loads(line) for line in (weighed / "constants.jsonl").read_text().splitlines()]
    pool = load_pool(weighed.parent / "pool.yaml")
    dealt = [
        (index, shown.candidate) for index in range(NUM_QUESTIONS) for shown in draw_deal(pool, 0, "val", index).shown
    ]
    assert sorted((answer["index"], answer["candidate"]) for answer in answers) == sorted(dealt)


def test_results_hold_the_curve_over_cost_weights_beside_the_best_constant(weighed):
    results = json.loads((weighed / "results.json").read_text())
    assert list(results["cost_weights"]) == ["0", "0.95"]
    assert results["constants"]["num_questions"] == NUM_QUESTIONS
    for row in (results["mean"], *results["cost_weights"].values()):
        assert row["em_above_constant"] == pytest.approx(row["em"] - row["best_constant_em"])
    page = (weighed / "report.html").read_text()
    assert "By cost weight (alpha)" in page
    assert page.count("best constant at that cost") == 2, "by data set, and by cost weight"


def test_prompts_written_anew_with_a_cost_weight_keep_the_deal_and_stand_beside_the_others(
    served, weighed, weighing, tmp_path, capfd
):
    run, root, _ = served
    options = ["--template", weighing, "--cost_weight", "0.6", "--no-constants"]
    code, folder, messages = run("--data", root / "weighed.parquet", *options, out="anew-weighed")
    assert code == 0, messages
    assert not (folder / "constants.jsonl").exists()
    own = {record["index"]: record["candidates"] for record in records_of(weighed)}
    for record in records_of(folder):
        assert (record["cost_weight"], record["candidates"]) == (0.6, own[record["index"]])
        assert record["turns"][0]["route"]["candidate"] == own[record["index"]][0]["candidate"]

    assert compare([str(weighed), str(folder), "--out", str(tmp_path)]) == 0

    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    told = [(row["run"], row["cost_weight"], row["em_above_constant"] != "") for row in rows]
    assert told == [
        ("weighed", "", True),
        ("weighed", "0", True),
        ("weighed", "0.95", True),
        ("anew-weighed", "", False),
        ("anew-weighed", "0.6", False),
    ]
