"""Each example, run as the documentation says, does what it says. All are a user's files, outside the checkout."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from router_r1.cli import main
from router_r1.datasets import check_parquet
from router_r1.project_files import pool_file
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.world.facts import World
from tests.doubles.commands import bench

pytestmark = pytest.mark.slow

METHOD = "examples/custom_method.py:Cascade"
BACKEND = "examples/own_backend.py:open_scripted"


# ---------------------------------------------------------------- a reward term


def test_a_reward_term_is_part_of_a_training_that_names_it(command):
    shown = command("train", "+router_r1.reward.terms.brevity=examples/custom_reward.py:brevity", more=("--dry-run",))
    assert re.search(r"brevity: /.*/examples/custom_reward\.py:brevity", shown)
    assert "nothing was started" in shown


def test_a_reward_term_is_tried_without_a_training(script):
    assert "brevity -0.144" in script("custom_reward")


# ---------------------------------------------------------------- a method


def test_a_method_answers_a_single_question_with_neither_policy_nor_engine(command):
    shown = command("ask", METHOD)
    assert "<search> Pico-1B: Who invented Bosen? </search>" in shown
    assert "1 route, raw cost 0.25" in shown
    assert "Answer: Videl" in shown


def test_a_method_is_benchmarked_on_the_documented_questions(command, folder):
    command("sim", "data")
    shown = command("bench", METHOD, more=("--limit", "20", "--out", "results/cascade"))
    results = json.loads((folder / "results/cascade/results.json").read_text())
    mean = results["mean"]
    assert 0.05 < mean["em"] < 0.6
    assert 1 < mean["routes"] < 2
    assert mean["share/Pico-1B"] + mean["share/Omni-72B"] == pytest.approx(1)
    assert (mean["policy_tokens"], mean["status/answered"]) == (0, 1)
    assert re.search(r"format kept +- +- +-", shown)
    assert f"note: what was asked is the method {METHOD}, not a trained router" in shown
    assert results["config"]["method"] == METHOD

    page = (folder / "results/cascade/report.html").read_text()
    assert METHOD in page
    assert ">right</span>" in page
    assert ">wrong</span>" in page
    assert "faulty</span>" not in page, "a method keeps no format, and so breaks none"


def test_a_method_that_is_run_as_a_script_asks_the_expensive_candidate_what_the_cheap_one_is_not_sure_of(script):
    shown = script("custom_method")
    assert shown.index("<search> Pico-1B: Who sang Bosen? </search>") < shown.index("<search> Omni-72B:")
    assert "2 routes" in shown
    assert "Answer: Zatir" in shown


# ---------------------------------------------------------------- a policy back end


def test_a_policy_back_end_takes_the_place_of_the_engine(command):
    shown = command("ask", BACKEND)
    assert "<think> I ask Newton-8B. </think>\n<search> Newton-8B: Who invented Bosen? </search>" in shown
    assert "1 route" in shown
    told = re.search(r"<information> (.*) </information>", shown)[1]
    assert World(seed=0).fact("invented", "Bosen") in told
    assert f"Answer: {told}" in shown


def test_a_policy_back_end_is_benchmarked_and_its_tokens_are_counted(command, folder):
    command("sim", "data", more=("--train", "1", "--val", "6"))
    policy = ["--backend", BACKEND, "--model-path", str(SHIPPED_POLICY), "--pool", "sim", "--template", "tiny"]
    assert bench([*policy, "--data", "data/questions/val.parquet", "--out", "results/scripted"]) == 0
    mean = json.loads((folder / "results/scripted/results.json").read_text())["mean"]
    assert (mean["format_ok"], mean["routes"], mean["share/Newton-8B"]) == (1, 1, 1)
    assert mean["policy_tokens"] > 20


# ---------------------------------------------------------------- a data set


def test_a_data_set_becomes_files_that_a_training_takes(command, script, folder):
    script("own_dataset")
    command("data", "train", "examples/own_dataset.py:CsvFolder")
    command("data", "validation", "examples/own_dataset.py:CsvFolder")
    model = f"actor_rollout_ref.model.path={SHIPPED_POLICY}"
    shown = command("train", "router_r1.pool=sim", more=("--dry-run", model))
    assert "2 steps of 64 questions" in shown
    assert "missing" not in shown


def test_a_data_set_becomes_files_to_train_and_validate_on(command, script, folder):
    assert script("own_dataset").split() == ["data/my_csv/people/train.csv", "data/my_csv/people/test.csv"]
    command("data", "train", "examples/own_dataset.py:CsvFolder")
    command("data", "validation", "examples/own_dataset.py:CsvFolder")
    files = [folder / "data" / f"{kind}_people_tiny.parquet" for kind in ("train", "test")]
    assert [check_parquet(file) for file in files] == [{"train"}, {"test"}]
    rows = pq.read_table(files[0]).to_pylist()
    assert len(rows) == 256
    verb, name = rows[0]["extra_info"]["question"].rstrip("?").split()[1:]
    assert rows[0]["reward_model"]["ground_truth"]["target"] == [World(seed=0).fact(verb, name)]
    assert rows[0]["data_source"] == "people"


def test_rows_that_cannot_be_used_are_told_by_file_and_row(command, script, folder, capfd):
    script("own_dataset")
    file = folder / "data/my_csv/people/train.csv"
    file.write_text(file.read_text() + "Who is without an answer?,\n")  # one of 257
    command("data", "train", "examples/own_dataset.py:CsvFolder", more=("--n", "all"))
    file.write_text("question,answers\nWho?,\nWhom?,me\n")
    read = ["data", "train", "--source", "examples/own_dataset.py:CsvFolder", "--data-root", "data/my_csv"]
    assert main([*read, "--data-sources", "people", "--model", "tiny"]) == 2
    assert "people/train.csv: row 0: golden_answers must be a list" in capfd.readouterr().err.replace("\n", "")


# ---------------------------------------------------------------- a prompt template


def test_a_prompt_template_is_shown_with_the_candidates_in_it(command):
    shown = command("pool", "show")
    assert "- Newton-8B (also newton; 0.2 input, 0.2 output): specialist science" in shown
    assert "Question: Who invented Bosen?" in shown


def test_a_policy_is_asked_and_questions_are_written_with_a_prompt_template(command, script, folder):
    pool = pool_file("sim")
    (folder / "my_pool.yaml").write_text(pool.read_text())
    shown = command("ask", "examples/own_template.txt", more=("--backend", BACKEND, "--json"))
    record = json.loads(shown)
    assert (record["template"], record["status"]) == ("examples/own_template.txt", "answered")

    script("own_dataset")
    source = ("--source", "examples/own_dataset.py:CsvFolder", "--data-root", "data/my_csv")
    command("data", "examples/own_template.txt", more=(*source, "--data-sources", "people"))
    (row, *_) = pq.read_table(folder / "data/train_people_own_template.parquet").to_pylist()
    assert row["prompt"][0]["content"].startswith("Answer the question. You may ask other language models")


# ---------------------------------------------------------------- a router


def test_a_router_is_asked_in_a_plain_script(script):
    """Before any training, that is the shipped policy, in the world of seed 0."""
    shown = script("ask")
    assert re.search(r"^[A-Z][\w-]+ was asked '.*' and said '.*'$", shown, re.MULTILINE)
    assert re.search(r"^answer: \w+ \(raw cost [\d.]+, answered\)$", shown, re.MULTILINE)


def test_a_router_that_was_trained_in_this_folder_is_the_one_that_is_asked(script, folder):
    run = folder / "runs" / "mine"
    run.mkdir(parents=True)
    facts = {"pool": str(pool_file("sim")), "template": "tiny", "seed": 3, "rollout": {"max_turns": 0}}
    (run / "run.json").write_text(json.dumps(facts))
    (run / "hf").symlink_to(SHIPPED_POLICY)
    (folder / "runs" / "latest").symlink_to("mine")
    assert "answer: None (raw cost 0, max_turns)" in script("ask"), "the run's limits are in force"


# ---------------------------------------------------------------- all of them


def test_running_them_leaves_nothing_in_a_checkout_that_git_would_see(command, script, folder, project_root):
    if not (project_root / ".git").exists():
        pytest.skip("no checkout")
    before = status(project_root)
    there = set(folder.rglob("*"))
    script("custom_reward")
    script("own_dataset")
    command("data", "train", "examples/own_dataset.py:CsvFolder")
    command("ask", METHOD)
    command("sim", "data")
    command("bench", METHOD, more=("--limit", "1"))
    new = [str(path.relative_to(folder)) for path in set(folder.rglob("*")) - there if path.is_file()]
    assert any(path.startswith("results/") for path in new)
    assert any(path.startswith("data/") for path in new)
    assert set(new) == set(ignored(project_root, new))
    assert status(project_root) == before


def status(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def ignored(checkout: Path, paths: list[str]) -> list[str]:
    """Those of the paths that git would ignore in a checkout."""
    command = ["git", "-C", str(checkout), "check-ignore", "--no-index", "--stdin"]
    return subprocess.run(command, input="\n".join(paths), capture_output=True, text=True).stdout.splitlines()
