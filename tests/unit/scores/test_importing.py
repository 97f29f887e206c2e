"""Scores that others recorded: what is taken from which column of each layout, what it costs, and what is refused."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from router_r1.constant_routers import oracle
from router_r1.errors import ConfigError
from router_r1.scores import read_samples, read_score_provenance, read_scores
from router_r1.scores.importing import import_scores

pytest.importorskip("pyarrow")

PRICES = ("small=0.2/0.5", "large=10/30")


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def imported(format: str, *files: Path, prices: tuple[str, ...] = PRICES, **options):
    """The samples as they are read back, by (question's id, candidate)."""
    out = files[0].with_name("out.parquet")
    import_scores(format, files, out, prices=prices, **options)
    return {(one.id, one.candidate): one for one in read_samples(out).samples}, out


# ---------------------------------------------------------------- one object for each question


WIDE = {"id": "t0", "task": "gsm8k", "question": "2 + 2?", "metric": "GSM8K", "scores": {"small": 0.0, "large": 1}}


@pytest.mark.parametrize("format", ["shared", "llmrouter"])
def test_scores_alone_cost_the_price_times_an_assumed_length(tmp_path, format):
    samples, out = imported(format, lines(tmp_path / "train.jsonl", [WIDE]), reply_tokens=100)

    one = samples["t0", "large"]
    assert (one.data_source, one.question, one.metric, one.score) == ("gsm8k", "2 + 2?", "GSM8K", 1.0)
    assert (one.prompt_tokens, one.completion_tokens, one.reply) == (2, None, None)
    assert one.raw_cost == 100 * 30
    assert one.spend_usd == pytest.approx((2 * 10 + 100 * 30) / 1e6)
    assert samples["t0", "small"].raw_cost == 100 * 0.5
    facts = read_score_provenance(out)
    assert facts["source"] == f"import {format}"
    assert facts["prices_usd_per_1m_tokens"]["large"] == {"input": 10.0, "output": 30.0}
    assert "a reply of which nothing is known has 100 tokens" in facts["assumptions"]


def test_a_reply_has_a_token_for_every_four_characters(tmp_path):
    entries = {"small": {"score": 0.0, "reply": "12345"}, "large": {"score": 1.0, "reply": "It is 4."}}
    row = {"id": "g1", "task": "gsm8k", "question": "2 + 2?", "golden_answers": ["4"], "candidates": entries}
    samples, out = imported("shared", lines(tmp_path / "gsm8k.jsonl", [row]))

    assert samples["g1", "small"].completion_tokens == 2
    assert samples["g1", "small"].raw_cost == 2 * 0.5
    assert samples["g1", "large"].reply == "It is 4."
    assert samples["g1", "large"].golden_answers == ("4",)
    assert any("four characters" in rule for rule in read_score_provenance(out)["assumptions"])


def test_a_compressed_file_reads_like_any_other(tmp_path):
    file = tmp_path / "train.jsonl.gz"
    file.write_bytes(gzip.compress(lines(tmp_path / "train.jsonl", [WIDE]).read_bytes()))
    assert imported("shared", file)[0] == imported("shared", tmp_path / "train.jsonl")[0]


# ---------------------------------------------------------------- LLMRouter


def llmrouter_row(model: str, performance: float | None, **more) -> dict:
    row = {
        "task_name": "gsm8k",
        "query": "2 + 2?",
        "ground_truth": "4",
        "metric": "GSM8K",
        "choices": None,
        "model_name": model,
        "response": "It is 4.",
        "token_num": 453,
        "input_tokens": 449,
        "output_tokens": 4,
        "response_time": 1.5,
        "performance": performance,
        "embedding_id": 42,
    }
    return row | more


def test_llmrouter_counts_tokens_and_knows_a_question_by_its_words(tmp_path):
    rows = [llmrouter_row("small", 0.25), llmrouter_row("large", 1.0, response_time=None)]
    samples, _ = imported("llmrouter", lines(tmp_path / "routing.jsonl", rows))

    small, large = samples.values()
    assert small.id == large.id
    assert small.id.startswith("gsm8k-")
    assert (small.score, small.golden_answers, small.reply, small.latency_s) == (0.25, ("4",), "It is 4.", 1.5)
    assert (small.prompt_tokens, small.completion_tokens, small.raw_cost) == (449, 4, 4 * 0.5)
    assert large.spend_usd == pytest.approx((449 * 10 + 4 * 30) / 1e6)
    assert large.latency_s is None


def test_the_same_question_with_other_scores_is_refused_with_both_rows(tmp_path):
    rows = [llmrouter_row("small", 1.0), llmrouter_row("large", 1.0), llmrouter_row("small", 0.0)]
    with pytest.raises(ConfigError, match=r"routing.jsonl:3: score of small .* = 0.0: was 1 at .*routing.jsonl:1"):
        imported("llmrouter", lines(tmp_path / "routing.jsonl", rows))


# ---------------------------------------------------------------- RouteLLM


def test_routellm_takes_columns_of_scores_and_of_replies(tmp_path):
    rows = [
        ["prompt", "small", "large", "small_response", "large_response"],
        ["Who, then?", "False", "True", "Nobody\nknows.", "Ann, I think."],
        ["Where?", "True", "True", "Here.", "There."],
    ]
    samples, _ = imported("routellm", table(tmp_path / "gsm8k_responses.csv", rows))

    assert len(samples) == 4
    first = next(iter(samples.values()))
    assert (first.data_source, first.question, first.score, first.metric) == ("gsm8k", "Who, then?", 0.0, "correct")
    assert (first.reply, first.completion_tokens) == ("Nobody\nknows.", 4)


def test_routellm_without_replies_assumes_a_length(tmp_path):
    rows = [["prompt", "small", "large"], ["Who?", "False", "True"], ["Who?", "False", "True"]]
    file = table(tmp_path / "mmlu_anatomy.csv", rows)
    samples, out = imported("routellm", file, reply_tokens=10)
    assert [(one.data_source, one.reply, one.raw_cost) for one in samples.values()] == [
        ("mmlu_anatomy", None, 5.0),
        ("mmlu_anatomy", None, 300.0),
    ]
    assert len(read_scores(out)) == 1, "the same question with the same scores is one"


# ---------------------------------------------------------------- RouterArena


def arena_row(index: str, model: str, score: float | None, **more) -> dict:
    judged = None if score is None else {"ground_truth": "D", "score": score, "metric": "mcq_accuracy"}
    row = {
        "global_index": index,
        "question": f"Which of {index}?",
        "llm_selected": model,
        "generated_answer": "\\boxed{D}",
        "token_usage": {"input_tokens": 123, "output_tokens": 60, "total_tokens": 183},
        "success": True,
        "provider": "x",
        "error": None,
        "evaluation_result": judged,
    }
    return row | more


def test_routerarena_has_a_file_for_each_candidate_and_prices_in_its_own_layout(tmp_path):
    small = lines(tmp_path / "small.jsonl", [arena_row("ArcMMLU_6", "small", 0.0), arena_row("AIME_1", "small", None)])
    failed = {"success": False, "generated_answer": None, "token_usage": None}
    more = [arena_row(f"ArcMMLU_{n}", name, 1.0) for n in range(20, 29) for name in ("small", "large")]
    large = [arena_row("ArcMMLU_6", "large", 1.0, run_number=1), arena_row("ArcMMLU_7", "large", None, **failed)]
    whole = [arena_row("ArcMMLU_7", "small", 1.0), *more, *large]
    prices = tmp_path / "model_cost.json"
    cost = {"input_token_price_per_million": 0.25, "output_token_price_per_million": 1.25}
    prices.write_text(json.dumps({"small": cost, "large": cost}))

    samples, out = imported("routerarena", small, lines(tmp_path / "large.jsonl", whole), prices=(str(prices),))

    one = samples["ArcMMLU_6", "small"]
    assert (one.data_source, one.golden_answers, one.metric, one.score) == ("ArcMMLU", ("D",), "mcq_accuracy", 0.0)
    assert (one.prompt_tokens, one.completion_tokens, one.raw_cost) == (123, 60, 75.0)
    assert one.spend_usd == pytest.approx((123 * 0.25 + 60 * 1.25) / 1e6)
    assert ("AIME_1", "small") not in samples, "it was not judged"
    assert samples["ArcMMLU_7", "large"].failed
    assert "ArcMMLU_7" not in {question.id for question in read_scores(out).questions}


def test_questions_that_only_some_were_asked_are_refused_or_left_out(tmp_path):
    rows = [arena_row("A_1", "small", 1.0), arena_row("A_1", "large", 1.0), arena_row("A_2", "small", 0.0)]
    file = lines(tmp_path / "arena.jsonl", rows)

    with pytest.raises(ConfigError, match=r"arena.jsonl:3: question = 'A_2': has no score of large; 1 of 2"):
        imported("routerarena", file)

    samples, out = imported("routerarena", file, complete_only=True)
    assert {identifier for identifier, _ in samples} == {"A_1"}
    assert read_score_provenance(out)["num_incomplete_left_out"] == 1


# ---------------------------------------------------------------- RouterBench


BENCH = [
    ["sample_id", "prompt", "eval_name", "small", "large", "small|model_response", "large|model_response"],
    ["mmlu.1", "['Who?', 'Say it.']", "mmlu", "0.0", "1.0", "['Nobody.']", "Ann"],
]
COSTS = [["small|total_cost", "large|total_cost", "oracle_model_to_route_to"], ["1e-05", "0.002", "large"]]


def test_routerbench_has_its_costs_in_the_file(tmp_path):
    rows = [[*left, *right] for left, right in zip(BENCH, COSTS, strict=True)]
    samples, out = imported("routerbench", table(tmp_path / "bench.csv", rows), prices=())

    one = samples["mmlu.1", "small"]
    assert (one.data_source, one.question, one.reply) == ("mmlu", "Who?\nSay it.", "Nobody.")
    assert (one.score, one.spend_usd) == (0.0, 1e-5)
    assert one.raw_cost == pytest.approx(10.0)
    assert samples["mmlu.1", "large"].completion_tokens == 1
    assert any("whole cost" in rule for rule in read_score_provenance(out)["assumptions"])


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        (["small|total_cost"], ["1e-05"], "column large|total_cost: is missing: large has scores, and no costs"),
        (["small|total_cost", "large|total_cost", "huge|speed"], ["1", "1", "2"], "column huge|speed: is unknown;"),
        (["small|total_cost", "large|total_cost"], ["1e-05", ""], "bench.csv: row 0: large|total_cost: is empty"),
    ],
)
def test_columns_of_routerbench_that_do_not_fit_are_refused(tmp_path, header, cells, message):
    with pytest.raises(ConfigError) as fault:
        imported("routerbench", table(tmp_path / "bench.csv", [[*BENCH[0], *header], [*BENCH[1], *cells]]), prices=())
    assert message in str(fault.value)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([WIDE | {"scores": {"small": 1.0}}], "train.jsonl: candidate = 'small': is the only one"),
        (
            [WIDE, WIDE | {"id": "t1", "scores": {"small": 1.0}}],
            "train.jsonl:2: question = 't1': has no score of large",
        ),
        (
            [WIDE | {"scores": {"small": float("nan"), "large": 1.0}}],
            "train.jsonl:1: score of small for question t0 = nan",
        ),
        (
            [WIDE | {"scores": {"small": "good", "large": 1.0}}],
            "train.jsonl:1: score of small = 'good': must be a number",
        ),
        ([WIDE, WIDE | {"scores": {"small": 1.0, "large": 1}}], "train.jsonl:2: score of small for question t0 = 1.0"),
        (
            [WIDE | {"scores": {"small": 1.0, "vast": 1}}],
            "train.jsonl:1: candidate = 'vast': has no price; give --prices",
        ),
        # With the same scores it must not count as a row that says the same once more.
        ([WIDE, WIDE | {"question": "Another?"}], "train.jsonl:2: id = 't0': names another question at"),
        ([{"id": "t0", "task": "x", "question": "?"}], "train.jsonl:1: scores: is missing; give scores"),
        ([{"task": "x", "question": "?", "scores": {"small": 1}}], "train.jsonl:1: id: is missing; there are task,"),
        ([WIDE | {"question": " "}], "train.jsonl:1: question: must be text"),
    ],
)
def test_a_bad_row_is_told_in_one_line_with_file_row_and_remedy(tmp_path, rows, message):
    with pytest.raises(ConfigError) as fault:
        imported("shared", lines(tmp_path / "train.jsonl", rows))
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\x1f\x8b\x08cut off", "cannot be read: "),
        (gzip.compress(json.dumps(WIDE).encode(), mtime=0)[:-20], "cannot be read: "),
        (gzip.compress(json.dumps(WIDE).encode(), mtime=0)[:12] + b"no such block" * 9, "cannot be read: "),
        (b"\xff\xfe", "is not UTF-8 text: byte 0"),
        (b"{'id': 1}\n", "train.jsonl:1: is no JSON"),
        (b"3\n", "train.jsonl:1: must be a JSON object"),
        (b"", "holds no scores"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path, content, message):
    file = tmp_path / "train.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as fault:
        imported("shared", file)
    assert message in str(fault.value)


def test_a_list_of_objects_is_read_as_well(tmp_path):
    file = tmp_path / "train.json"
    file.write_text(json.dumps([WIDE, WIDE | {"id": "t1"}], indent=1))
    assert {identifier for identifier, _ in imported("shared", file)[0]} == {"t0", "t1"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["prompt", "small", "large"], ["Who?", "maybe", "True"]],
            "row 0: small = 'maybe': must be a number, or True",
        ),
        ([["question", "small", "large"], ["Who?", "True", "True"]], "row 0: prompt: is missing; there are question,"),
        ([["prompt", "small", "large", "vast_response"], ["Who?", "1", "0", "I"]], "column vast_response: is unknown"),
        ([["prompt", "small", "large"], ["Who?", "True"]], "row 0: has not as many cells as the first line"),
        ([["prompt", "small", "large"], ["Who?", "True", "nan"]], "row 0: score of large for question "),
    ],
)
def test_a_bad_cell_is_told_in_one_line_with_file_row_and_remedy(tmp_path, rows, message):
    with pytest.raises(ConfigError) as fault:
        imported("routellm", table(tmp_path / "a.csv", rows))
    assert message in str(fault.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "other"}, "--format = 'other': is unknown; known are llmrouter, routellm"),
        ({"reply_tokens": 0}, "--reply-tokens = 0: must be at least 1"),
        ({"prices": ("small=cheap/1",)}, "--prices = 'cheap/1': must be two numbers of 0 or more"),
        ({"prices": ("small=1",)}, "--prices = 'small=1': must be NAME=INPUT/OUTPUT"),
        ({"prices": ("small=-1/1",)}, "--prices = '-1/1': must be two numbers of 0 or more"),
        ({"prices": ("nowhere.json",)}, "nowhere.json: cannot be read as JSON"),
        ({"out": Path("scores.csv")}, "--out = 'scores.csv': must end in .parquet"),
    ],
)
def test_an_option_that_is_wrong_is_told_before_anything_is_read(options, message):
    given = {"format": "shared", "files": [Path("nowhere.jsonl")], "out": Path("scores.parquet"), **options}
    with pytest.raises(ConfigError) as fault:
        import_scores(**given)
    assert message in str(fault.value)


# ---------------------------------------------------------------- prices


def test_prices_come_from_files_too_and_names_are_compared_as_in_a_pool(tmp_path):
    (tmp_path / "llms.json").write_text(json.dumps({"Small": {"input_price": 1, "output_price": 2, "size": "7B"}}))
    pool = tmp_path / "pool.yaml"
    entry = "  - {name: Large-9B, aliases: [large], model: m, price: {input: 3, output: 4}, descriptor: x}\n"
    pool.write_text(f"name: p\ncandidates:\n{entry}")
    samples, _ = imported(
        "shared", lines(tmp_path / "t.jsonl", [WIDE]), prices=(str(tmp_path / "llms.json"), str(pool)), reply_tokens=10
    )
    assert [one.raw_cost for one in samples.values()] == [20, 40]


def test_a_file_of_prices_that_lacks_one_is_refused(tmp_path):
    (tmp_path / "llms.json").write_text(json.dumps({"small": {"size": "7B"}}))
    with pytest.raises(ConfigError, match=r"llms.json: small: has no price; give input_price and output_price"):
        imported("shared", lines(tmp_path / "t.jsonl", [WIDE]), prices=(str(tmp_path / "llms.json"),))


# ---------------------------------------------------------------- real scores


@pytest.fixture
def real(project_root) -> Path:
    folder = project_root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data are not there")
    return folder


def test_the_recorded_gsm8k_comes_out_as_its_readme_says(real, tmp_path):
    out = tmp_path / "gsm8k.parquet"
    prices = ["Mixtral-8x7B-Instruct=0.6/0.6", "GPT-4-1106-preview=10/30"]
    import_scores("shared", [real / "recorded" / "gsm8k.jsonl.gz"], out, prices=prices)
    table = read_scores(out)
    assert len(table) == 857
    assert dict(zip(table.candidates, table.score.mean(axis=0).round(3), strict=True)) == {
        "Mixtral-8x7B-Instruct": 0.652,
        "GPT-4-1106-preview": 0.859,
    }


@pytest.mark.slow
def test_the_routing_scores_have_the_best_constant_and_oracle_that_are_known(real, tmp_path):
    folder, out = real / "routing_scores", tmp_path / "scores.parquet"
    import_scores("llmrouter", [folder / "train.jsonl.gz"], out, prices=[str(folder / "candidates.json")])
    table = read_scores(out)
    assert table.score.shape == (5608, 9)
    assert table.score.mean(axis=0).max() == pytest.approx(0.621, abs=0.001)
    assert oracle(table.as_candidate_table()).em == pytest.approx(0.802, abs=0.001)
