"""A benchmark: what it measures, what it writes, and what it refuses."""

import csv
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from router_r1.benchmark.records import read_records
from router_r1.datasets import write_parquet
from tests.doubles.commands import bench as main
from tests.doubles.commands import captured, compare
from tests.integration.conftest import (
    CAPITALS,
    CandidateServer,
    PolicyServer,
    question_of,
    write_model,
    write_pool,
    write_questions,
)

RIGHT = dict(CAPITALS)


SECRET = "sk-secret"


def write_both(folder):
    return write_questions(folder / "test.parquet", {"easy": RIGHT, "wrong": {"France": "Lyon", "Poland": "Warsaw"}})


@pytest.fixture
def questions(tmp_path):
    return write_both(tmp_path)


@pytest.fixture
def bench(policy, pool_file, model_folder, tmp_path, capfd):
    """Run the command; returns exit code, standard output, standard error and the folder of the results."""

    def run(data, *extra, out="out"):
        options = ["--base_url", policy.url, "--model_path", str(model_folder), "--pool", str(pool_file)]
        files = [str(file) for file in (data if isinstance(data, list) else [data])]
        code = main([*options, "--data", *files, "--out", str(tmp_path / out), *extra])
        captured = capfd.readouterr()
        return code, captured.out, captured.err, tmp_path / out

    return run


@dataclass(frozen=True)
class Finished:
    folder: Path
    out: str  # what was printed
    questions: Path
    requests: list[dict[str, Any]]  # of the policy

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    """One benchmark of two data sets; most of its time goes into the pictures."""
    root = tmp_path_factory.mktemp("finished")
    model, questions = write_model(root / "model"), write_both(root)
    with CandidateServer().running() as candidates, PolicyServer(model).running() as policy:
        pool = write_pool(root / "pool.yaml", candidates.url)
        options = ["--base-url", policy.url, "--model-path", model, "--pool", pool, "--data", questions]
        options += ["--seed", "5", "--api-key", SECRET, "--out", root / "out"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ROUTER_R1_API_KEY", "")  # the command puts the key there, and it is taken away again
            code, out, messages = captured(main, [str(word) for word in options])
    assert code == 0, messages
    assert SECRET not in out + messages
    return Finished(root / "out", out, questions, policy.requests)


def test_results_per_data_set_and_their_unweighted_mean(finished):
    results, out = finished.results, finished.out
    easy, wrong, mean = results["datasets"]["easy"], results["datasets"]["wrong"], results["mean"]
    assert (easy["n"], easy["em"], easy["f1"], easy["format_ok"]) == (5, 1.0, 1.0, 1.0)
    assert (wrong["n"], wrong["em"]) == (2, 0.5)
    assert (mean["n"], mean["em"]) == (7, 0.75)
    assert (easy["routes"], easy["turns"], easy["failed_routes"]) == (1, 2, 0)
    assert (easy["raw_cost"], easy["spend_usd"]) == (2.0, pytest.approx(1.2e-5))
    assert (easy["tokens_in"], easy["tokens_out"]) == (10, 4)
    assert 0 < easy["latency_p50_s"] <= easy["latency_p95_s"]
    assert (easy["share/Atlas-7B"], easy["share/Borealis-70B"], easy["status/answered"]) == (1, 0, 1)
    shown = {line.split()[0]: line.split()[1:] for line in reversed(out.splitlines()) if line.split()}
    assert shown["EM"] == ["1.000", "0.500", "0.750"]
    assert ["Atlas-7B", "1.000", "1.000", "1.000"] in [line.split() for line in out.splitlines()]
    rows = [line.split() for line in out.splitlines() if line.startswith(" easy")]
    assert rows[0][:4] == ["easy", "1.000", "2", "1.2e-05"], "EM and cost side by side"
    assert rows[1][:4] == ["easy", "1.00", "2.00", "0"], "routes, turns, failed routes"


def test_what_the_results_depend_on_is_kept_with_them(finished):
    results = finished.results
    assert (results["seed"], results["n_samples"], results["data"]) == (5, 1, [str(finished.questions)])
    assert results["packages"]["openai"]
    assert "commit" in results
    config = results["config"]
    assert config["sampling"] == {"temperature": 0.0, "top_p": 1.0, "seed": 5, "logprobs": False}
    assert config["limits"]["max_turns"] == 4
    assert [c["name"] for c in config["candidates"]] == ["Atlas-7B", "Borealis-70B"]


def test_no_file_of_a_benchmark_holds_a_key(finished):
    files = [file for file in finished.folder.rglob("*") if file.is_file()]
    assert len(files) > 4
    assert [file.name for file in files if SECRET.encode() in file.read_bytes()] == []


def test_the_table_file_has_the_same_numbers(finished):
    results = finished.results
    rows = {row.pop("dataset"): row for row in csv.DictReader((finished.folder / "results.csv").open())}
    assert list(rows) == ["easy", "wrong", "mean"]
    assert {key: float(value) for key, value in rows["easy"].items()} == results["datasets"]["easy"]
    assert {key: float(value) for key, value in rows["mean"].items()} == results["mean"]


def test_every_trajectory_is_kept(finished):
    lines = [json.loads(line) for line in (finished.folder / "trajectories.jsonl").read_text().splitlines()]
    assert len(lines) == 7
    line = next(line for line in lines if line["data_source"] == "wrong" and "France" in line["question"])
    assert (line["golden_answers"], line["answer"], line["em"], line["format_error"]) == (["Lyon"], "Paris", 0.0, "")
    assert line["turns"][0]["route"]["candidate"] == "Atlas-7B"


# ---------------------------------------------------------------- candidates that refuse


def test_candidates_are_asked_a_word_before_any_question(bench, questions, candidates, policy):
    assert bench(questions)[0] == 0
    assert [r["messages"][0]["content"] for r in candidates.requests[:2]] == ["Say yes."] * 2
    assert bench(questions, "--skip-preflight", out="again")[0] == 0
    assert len(candidates.requests) - len(candidates.asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_candidate_that_refuses_the_key_ends_it_before_a_question_is_asked(
    bench, questions, candidates, policy, status
):
    candidates.refuses_after, candidates.refusal = -1, status
    code, out, err, folder = bench(questions)
    assert (code, out, policy.requests, candidates.asked) == (2, "", [], [])
    assert f"HTTP {status}" in err
    assert "--skip-preflight" in err
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_that_is_withdrawn_ends_it_with_one_line_and_what_is_finished_is_kept(
    bench, pool_file, candidates, status, tmp_path
):
    write_pool(pool_file, candidates.url, max_concurrency=1)  # one after another
    questions = write_both(tmp_path)
    candidates.refuses_after, candidates.refusal = 4, status
    code, out, err, folder = bench(questions)
    told = " ".join(err.split())
    assert (code, out) == (1, "")
    assert f"error: Atlas-7B at {candidates.url.split('/')[2]}: HTTP {status}" in told
    assert f"go on with --resume --out {folder}" in told
    assert not (folder / "results.json").exists()
    candidates.refuses_after = None
    before, finished = len(candidates.asked), len(read_records(folder / "trajectories.jsonl"))
    assert finished in (3, 4)  # the fourth may still be reading its reply when the fifth is refused
    assert bench(questions, "--resume")[0] == 0
    assert len(candidates.asked) - before == 7 - finished  # what is finished is not asked again


def test_one_query_that_is_forbidden_is_a_failed_route(bench, questions, candidates):
    """Some providers answer 403 to a text that they do not like."""
    candidates.forbidden.add(question_of("France"))
    code, _, _, folder = bench(questions)
    assert code == 0
    assert json.loads((folder / "results.json").read_text())["mean"]["failed_routes"] == 2


# ---------------------------------------------------------------- measures


def test_failed_routes_are_counted(bench, questions, candidates):
    candidates.broken.add(question_of("France"))
    code, _, _, folder = bench(questions)
    results = json.loads((folder / "results.json").read_text())
    assert code == 0
    assert (results["datasets"]["easy"]["failed_routes"], results["mean"]["failed_routes"]) == (1, 2)
    assert results["datasets"]["easy"]["em"] == 0.8


def test_a_policy_that_never_routes_is_told_from_one_that_chooses_by_the_question(bench, questions, policy):
    """Both score alike here: only the measures of routing tell them apart."""
    _, collapsed, _, first = bench(questions, out="first")
    policy.experts = dict.fromkeys(("France", "Poland"), "Borealis-70B")
    _, chosen, _, second = bench(questions, out="second")
    one, other = (json.loads((folder / "results.json").read_text()) for folder in (first, second))
    assert one["mean"]["em"] == other["mean"]["em"]
    assert (one["mean"]["top_share"], one["mean"]["effective_candidates"]) == (1.0, 1.0)
    assert (one["mean"]["kind_information"], other["datasets"]["easy"]["kind_information"]) == (0.0, 0.0)
    assert other["datasets"]["wrong"]["top_share"] == 1.0
    assert other["datasets"]["easy"]["top_share"] == 0.6
    assert other["mean"]["top_share"] == 4 / 7
    assert 0 < other["mean"]["kind_information"] < 1
    for out, folder, cells in ((collapsed, first, ["1.000"] * 3), (chosen, second, ["0.600", "1.000", "0.571"])):
        assert ["share", "of", "the", "most", "used", *cells] in [line.split() for line in out.splitlines()]
        assert "share of the most used" in (folder / "report.html").read_text()


# ---------------------------------------------------------------- beside the best constant


def constants_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())["constants"]


def test_a_router_is_told_beside_what_its_candidates_alone_would_score(bench, questions, candidates, policy):
    """Both candidates know the capitals: whoever asks one of them for every question is as good for the same money."""
    policy.experts = {"Italy": "Borealis-70B"}
    code, out, _, folder = bench(questions, "--constants")
    results = json.loads((folder / "results.json").read_text())
    mean, easy = results["mean"], results["datasets"]["easy"]
    assert code == 0
    assert (mean["em"], mean["best_constant_em"], mean["em_above_constant"]) == (0.75, 0.75, 0.0)
    assert (easy["oracle_em"], easy["regret"], results["datasets"]["wrong"]["oracle_em"]) == (1.0, 0.0, 0.5)
    assert constants_of(folder)["candidates"]["Borealis-70B"] == {"em": 0.75, "raw_cost": 2.0}
    assert [point["first"] for point in constants_of(folder)["hull"]] == ["nobody", "Atlas-7B"]
    assert len(candidates.asked) == 7 + 2 * 7
    assert ["EM", "above", "it", "+0.000", "+0.000", "+0.000"] in [line.split() for line in out.splitlines()]
    assert "best constant at that cost" in (folder / "report.html").read_text()
    assert (folder / "constants.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["dataset"]: row for row in csv.DictReader((folder / "results.csv").open())}
    assert rows["mean"]["em_above_constant"] == "0.0"


def test_a_router_that_asks_each_question_of_the_one_who_knows_is_above_the_best_constant(
    bench, pool_file, candidates, policy, tmp_path
):
    """The one server tells its two candidates apart by how their queries are worded."""
    pool = yaml.safe_load(pool_file.read_text())
    for candidate, message in zip(pool["candidates"], ("A: {query}", "B: {query}"), strict=True):
        candidate["message"] = message
    pool_file.write_text(yaml.safe_dump(pool))
    for country in ("France", "Italy"):
        candidates.replies[f"A: {question_of(country)}"] = "It is Oslo."
    for country in ("Spain", "Austria", "Poland"):
        candidates.replies[f"B: {question_of(country)}"] = "It is Oslo."
    policy.experts = {"France": "Borealis-70B", "Italy": "Borealis-70B"}
    file = write_questions(tmp_path / "test.parquet", {"easy": RIGHT})
    code, _, _, folder = bench(file, "--constants")
    mean = json.loads((folder / "results.json").read_text())["mean"]
    assert code == 0
    assert (mean["em"], mean["raw_cost"], mean["oracle_em"]) == (1.0, 2.0, 1.0)
    assert (mean["best_constant_em"], mean["em_above_constant"]) == (
        pytest.approx(0.6),
        pytest.approx(0.4),
    )


def test_real_candidates_are_not_asked_every_question_unless_that_is_wanted(bench, questions, candidates):
    _, out, _, folder = bench(questions)
    assert len(candidates.asked) == 7
    assert "constants" not in json.loads((folder / "results.json").read_text())
    assert "best constant" not in out


def test_a_benchmark_of_too_many_failed_routes_says_nothing_of_the_candidates(bench, questions, candidates):
    candidates.broken.add(question_of("France"))
    code, out, _, folder = bench(questions, "--constants")
    assert code == 0
    assert "what the candidates alone would score is not known" in out
    assert "em_above_constant" not in json.loads((folder / "results.json").read_text())["mean"]


def test_a_finished_benchmark_asks_the_candidates_later_and_only_what_is_left(bench, questions, candidates, policy):
    bench(questions)
    before = len(policy.requests)
    assert bench(questions, "--resume", "--constants")[0] == 0
    asked = len(candidates.asked)
    code, _, _, folder = bench(questions, "--resume", "--constants")
    assert code == 0
    assert (len(policy.requests), len(candidates.asked)) == (before, asked)
    assert json.loads((folder / "results.json").read_text())["mean"]["em_above_constant"] == 0.0


def test_runs_are_compared_by_what_they_are_above_the_best_constant(bench, questions, tmp_path, capfd):
    folders = [bench(questions, *more, out=out)[3] for out, more in (("plain", []), ("asked", ["--constants"]))]
    assert compare([*map(str, folders), "--out", str(tmp_path / "both")]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    rows = {row["run"]: row for row in csv.DictReader((tmp_path / "both" / "comparison.csv").open())}
    assert ["asked", "0.750", "2", "0.750", "+0.000", "0.750", "0.750", "0.000"] in lines
    assert ["plain", "0.750", "2"] in lines
    assert (rows["plain"]["em_above_constant"], rows["asked"]["em_above_constant"]) == ("", "0.0")


def test_a_cached_reply_is_not_paid_again_and_costs_the_policy_as_much(bench, candidates, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    questions = write_questions(tmp_path / "test.parquet", {"easy": RIGHT})
    folders = [bench(questions, "--cache", "readwrite", out=out)[3] for out in ("first", "second")]
    paid, saved = (json.loads((folder / "results.json").read_text())["datasets"]["easy"] for folder in folders)
    assert (paid["spend_usd"], saved["spend_usd"]) == (pytest.approx(1.2e-5), 0)
    assert paid["raw_cost"] == saved["raw_cost"] == 2.0
    assert len(candidates.asked) == 5


def test_all_trajectories_are_in_flight_at_once(bench, questions, policy):
    policy.gate = threading.Barrier(7, timeout=60)
    assert bench(questions)[0] == 0


def test_several_samples_of_a_question_are_averaged(bench, questions, policy):
    code, _, _, folder = bench(questions, "--n_samples", "3", "--temperature", "1")
    results = json.loads((folder / "results.json").read_text())
    assert code == 0
    assert (results["datasets"]["wrong"]["n"], results["datasets"]["wrong"]["trajectories"]) == (2, 6)
    assert len({request["seed"] for request in policy.requests}) == len(policy.requests)


def test_greedy_by_default(finished):
    assert {request["temperature"] for request in finished.requests} == {0.0}


def test_a_limit_holds_for_each_data_set(bench, questions):
    _, _, _, folder = bench(questions, "--limit", "1")
    results = json.loads((folder / "results.json").read_text())
    assert {name: row["n"] for name, row in results["datasets"].items()} == {"easy": 1, "wrong": 1}


def test_several_files_make_one_benchmark(bench, tmp_path):
    files = [write_questions(tmp_path / f"{name}.parquet", {name: RIGHT}) for name in ("a", "b")]
    _, _, _, folder = bench(files)
    assert list(json.loads((folder / "results.json").read_text())["datasets"]) == ["a", "b"]


def test_a_template_writes_the_prompts_anew(bench, tmp_path, policy):
    file = write_questions(tmp_path / "other.parquet", {"x": RIGHT}, content="Question: a prompt for another pool")
    assert bench(file, "--template", "tiny")[0] == 0
    assert "Candidates: knows things Atlas-7B;" in policy.tokenizer.decode(policy.requests[0]["prompt"])


# ---------------------------------------------------------------- cost weights


@pytest.fixture
def weighing(tmp_path):
    """A template that tells the cost weight."""
    path = tmp_path / "weighing.txt"
    path.write_text("{pool_inline}\nCost counts {cost_weight}.\nQuestion: {question}")
    return path


def weigh(path: Path, *weights: float) -> None:
    """Give the rows of a question file these cost weights in turn."""
    rows = pq.read_table(path).to_pylist()
    for number, row in enumerate(rows):
        row["extra_info"]["cost_weight"] = weights[number % len(weights)]
    write_parquet(rows, path)


def told_in(request: dict[str, Any], policy: PolicyServer) -> str:
    return policy.tokenizer.decode(request["prompt"]).partition("Cost counts ")[2].partition(".")[0]


def test_a_cost_weight_writes_every_prompt_anew_and_is_kept_with_the_results(bench, questions, weighing, policy):
    weigh(questions, 0.0, 0.95)
    code, out, err, folder = bench(questions, "--template", str(weighing), "--cost_weight", "0.6")
    assert code == 0, err
    assert {told_in(request, policy) for request in policy.requests} == {"much"}
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["cost_weight"] == 0.6
    assert list(results["cost_weights"]) == ["0.6"]
    note = "every prompt says that cost counts much (cost weight 0.6)"
    assert f"note: {note}" in out
    assert note in (folder / "report.html").read_text()


def test_without_one_each_question_keeps_its_own_and_the_results_are_by_weight_too(bench, tmp_path, weighing, policy):
    questions = write_questions(
        tmp_path / "test.parquet", {"easy": RIGHT, "wrong": {"France": "Lyon", "Italy": "Rome"}}
    )
    weigh(questions, *[0.0] * 5, 0.95, 0.0)
    code, out, err, folder = bench(questions, "--template", str(weighing))
    assert code == 0, err
    assert {told_in(request, policy) for request in policy.requests} == {"nothing", "most"}
    found = json.loads((folder / "results.json").read_text())["cost_weights"]
    assert [(weight, row["n"], row["em"]) for weight, row in found.items()] == [("0", 6, 1.0), ("0.95", 1, 0.0)]
    rows = [line.split() for line in out.partition("By cost weight")[2].splitlines()]
    assert ["0.95", "0.000", "2", "1.00", "1.000", "1.00", "0.000"] in rows
    assert "By cost weight" in (folder / "report.html").read_text()
    records = [json.loads(line) for line in (folder / "trajectories.jsonl").read_text().splitlines()]
    assert sorted(record["cost_weight"] for record in records) == [0.0] * 6 + [0.95]


def test_several_cost_weights_of_one_policy_stand_beside_each_other(bench, questions, weighing, tmp_path, capfd):
    options = ["--template", str(weighing), "--limit", "1", "--cost-weight"]
    folders = [bench(questions, *options, weight, out=f"at-{weight}")[3] for weight in ("0.2", "0.8")]
    assert compare([*map(str, folders), "--out", str(tmp_path / "both")]) == 0
    shown = [line.split() for line in capfd.readouterr().out.partition("By cost weight")[2].splitlines()]
    assert [line[:4] for line in shown if line and line[0].startswith("at-")] == [
        ["at-0.2,", "0.2", "0.500", "2"],
        ["at-0.8,", "0.8", "0.500", "2"],
    ]
    rows = list(csv.DictReader((tmp_path / "both" / "comparison.csv").open()))
    assert [(row["run"], row["cost_weight"], row["mean"]) for row in rows] == [
        ("at-0.2", "", "0.5"),
        ("at-0.2", "0.2", "0.5"),
        ("at-0.8", "", "0.5"),
        ("at-0.8", "0.8", "0.5"),
    ]


def test_a_cost_weight_that_the_template_does_not_tell_is_refused(bench, questions, policy, tmp_path):
    silent = tmp_path / "silent.txt"
    silent.write_text("{pool_inline}\n{question}")
    code, _, err, _ = bench(questions, "--template", str(silent), "--cost-weight", "0.6")
    assert code == 2
    assert f"--cost-weight = 0.6: is told by no prompt of template {silent}" in err
    assert not policy.requests


# ---------------------------------------------------------------- refusals


def test_prompts_that_offer_other_candidates_are_refused(bench, tmp_path, policy):
    file = write_questions(tmp_path / "other.parquet", {"x": RIGHT}, content="Question: a prompt for another pool")
    code, _, err, _ = bench(file)
    assert code == 2
    assert "row 0" in err
    assert "--template" in err
    assert not policy.requests


def test_a_missing_column_and_a_missing_file_are_refused_before_anything_is_started(bench, questions, tmp_path, policy):
    table = pq.read_table(questions)
    pq.write_table(table.drop_columns(["reward_model"]), tmp_path / "bad.parquet")
    for file, named in (("bad.parquet", "reward_model"), ("none.parquet", "none.parquet")):
        code, _, err, folder = bench(tmp_path / file)
        assert code == 2
        assert named in err
        assert err.count("\n") == 1
        assert not folder.exists()
    assert not policy.requests


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_started(bench, tmp_path, policy):
    pool = "Atlas-7B Borealis-70B "
    file = write_questions(tmp_path / "long.parquet", {"x": RIGHT}, content=pool + "word " * 5000)
    code, _, err, _ = bench(file)
    assert code == 2
    assert "max_prompt_length" in err
    assert "row 0" in err
    assert not policy.requests


@pytest.mark.parametrize("options", [["--n_samples", "2"], ["--n_samples", "0"], ["--limit", "0"]])
def test_impossible_numbers_are_refused(bench, questions, options, policy):
    code, _, err, _ = bench(questions, *options)
    assert code == 2
    assert options[0].partition("_")[0] in err
    assert not policy.requests


def test_results_are_never_overwritten(bench, finished):
    before = finished.results
    code, _, err, _ = bench(finished.questions, "--template", "tiny", out=finished.folder)
    assert code == 2
    assert str(finished.folder) in err
    assert finished.results == before


def test_a_policy_that_dies_ends_the_benchmark_without_results(bench, questions, policy):
    policy.dies_after = 9
    code, out, err, folder = bench(questions)
    assert (code, out) == (1, "")
    assert "engine is dead" in err
    assert not (folder / "results.json").exists()
    assert (folder / "trajectories.jsonl").exists()


def test_without_data_the_run_must_have_some(policy, pool_file, capfd):
    assert main(["--base_url", policy.url, "--pool", str(pool_file)]) == 2
    assert "--data" in capfd.readouterr().err
