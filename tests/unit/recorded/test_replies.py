"""What is read of a file of recorded replies, and what is refused."""

from __future__ import annotations

import copy

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import Price
from router_r1.recorded import load_recorded
from router_r1.scores import Sample, write_scores
from tests.doubles.recorded import PRICES, sum_lines, sum_question, write_lines

LINES = sum_lines(20)


@pytest.fixture
def read(tmp_path):
    return lambda lines, prices=PRICES: load_recorded(write_lines(tmp_path / "sums.jsonl.gz", lines), prices)


def test_tokens_are_a_quarter_of_the_characters_where_none_were_counted(read):
    lines = copy.deepcopy(LINES[:1])
    said = lines[0]["candidates"]
    said["Small-7B"] |= {"reply": "x" * 41, "prompt_tokens": 10}
    said["Large-70B"] |= {"completion_tokens": 100, "prompt_tokens": 10}
    (question,) = read(lines).questions
    (small,), (large,) = question.samples["Small-7B"], question.samples["Large-70B"]
    assert (small.completion_tokens, small.raw_cost) == (11, 11.0)
    assert small.spend_usd == pytest.approx((10 * 0.5 + 11 * 1.0) * 1e-6)
    assert (large.raw_cost, large.spend_usd) == (2000.0, pytest.approx((10 * 5.0 + 2000) * 1e-6))


def test_the_table_has_scores_and_costs_of_all(read):
    table = read(LINES).table()
    assert table.candidates == ("Small-7B", "Large-70B")
    assert table.score.mean(axis=0).tolist() == [9 / 20, 1.0]
    assert (table.raw_cost[:, 1] > table.raw_cost[:, 0]).all()
    assert table.questions[3].golden_answers == ("39",)


def test_a_question_is_found_in_other_letters_and_with_a_mistake_or_two(read):
    recorded, asked = read(LINES), sum_question(8, 7)
    assert recorded.find(asked.upper().replace(".", "")).id == "sum-1"
    assert recorded.find(asked.replace("marbles in", "marbels in")).id == "sum-1"
    assert recorded.find("Who directed the film?") is None


def test_candidates_without_a_price_are_left_out_and_those_that_said_nothing_are_told(read):
    lines = copy.deepcopy(LINES)
    for line in lines:
        line["candidates"]["Third-3B"] = {"score": 1.0, "reply": "It is so."}
    assert read(lines).candidates == ("Small-7B", "Large-70B")
    with pytest.raises(ConfigError, match=r"sums.jsonl.gz: candidate = 'Other': has said nothing here"):
        read(lines, {**PRICES, "Other": Price(input=1, output=1)})
    with pytest.raises(ConfigError, match=r"sums.jsonl.gz: has no costs"):
        read(lines, None)


def _spoilt(change):
    lines = copy.deepcopy(LINES[:2])
    change(lines)
    return lines


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[1]["candidates"].pop("Small-7B"), "question = 'sum-1': has no score of Small-7B"),
        (lambda lines: lines[1].update(id="sum-0"), "id = 'sum-0': names another question at"),
        (lambda lines: lines[1].update(question=lines[0]["question"]), "question = 'sum-1': is asked a second time"),
        (
            lambda lines: lines[1]["candidates"]["Small-7B"].update(score=1.5),
            "sum-1 = 1.5: must be",
        ),
        (
            lambda lines: lines[1]["candidates"]["Small-7B"].update(score=float("nan")),
            "sum-1 = nan: must be",
        ),
        (lambda lines: lines[1]["candidates"]["Small-7B"].update(reply=""), "reply = 'sum-1': is empty for this"),
        (lambda lines: lines[1].pop("candidates"), "jsonl.gz:2: scores: is missing"),
        (lambda lines: lines[1]["candidates"].update({"Small-7B": 1}), "jsonl.gz:2: scores: is missing"),
        (lambda lines: lines.clear(), "candidate = 'Small-7B': has said nothing here"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(read, change, told):
    with pytest.raises(ConfigError, match=told) as fault:
        read(_spoilt(change))
    assert "\n" not in str(fault.value)


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recorded(tmp_path / "none.jsonl", PRICES)
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        load_recorded(tmp_path / "broken.jsonl", PRICES)


def test_a_file_of_samples_is_read_with_its_own_costs(tmp_path):
    pytest.importorskip("pyarrow")
    shared = {"id": "1", "data_source": "sums", "question": "1 + 1?", "golden_answers": ("2",), "metric": "correct"}
    rows = [
        Sample(
            **shared, candidate=name, sample=sample, reply=reply, score=score, prompt_tokens=3, completion_tokens=2,
            raw_cost=cost, spend_usd=cost * 1e-6, failed=failed,
        )
        for name, sample, reply, score, cost, failed in [
            ("A", 1, "It is 3.", 0.0, 4.0, False),
            ("A", 0, "It is 2.", 1.0, 2.0, False),
            ("B", 0, "It is 2.", 1.0, 40.0, False),
        ]
    ]  # fmt: skip
    write_scores(rows, tmp_path / "scores.parquet", provenance={})
    recorded = load_recorded(tmp_path / "scores.parquet")
    assert [reply.text for reply in recorded.questions[0].samples["A"]] == ["It is 2.", "It is 3."]
    assert recorded.num_samples == {"A": 2, "B": 1}
    assert recorded.table().score.tolist() == [[0.5, 1.0]]
    assert recorded.table().raw_cost.tolist() == [[3.0, 40.0]]
    dearer = {"A": Price(input=0, output=10), "B": Price(input=0, output=1)}
    assert load_recorded(tmp_path / "scores.parquet", dearer).table().raw_cost.tolist() == [[20.0, 2.0]]


def test_scores_without_replies_make_a_table_at_an_assumed_length(read):
    lines = copy.deepcopy(LINES[:2])
    for line in lines:
        for said in line["candidates"].values():
            del said["reply"]
    recorded = read(lines)
    assert not recorded.has_replies
    assert recorded.table().raw_cost.tolist() == [[256.0, 5120.0]] * 2
