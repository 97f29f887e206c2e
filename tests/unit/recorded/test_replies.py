"""What is read of a file of recorded replies, and what is refused."""

from __future__ import annotations

import copy

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import Price
from router_r1.recorded import load_recorded
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


def test_candidates_without_a_price_are_left_out(read):
    assert read(LINES, {"Large-70B": PRICES["Large-70B"], "Other": Price(input=1, output=1)}).candidates == (
        "Large-70B",
    )
    with pytest.raises(ConfigError, match=r"sums.jsonl.gz:1: candidate = 'Small-7B': has no cost here"):
        read(LINES, None)


def _spoilt(change):
    lines = copy.deepcopy(LINES[:2])
    change(lines)
    return lines


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[1]["candidates"].pop("Small-7B"), "question = 'sum-1': has nothing of Small-7B"),
        (lambda lines: lines[1].update(id="sum-0"), "id = 'sum-0': names two questions"),
        (lambda lines: lines[1].update(question=lines[0]["question"]), "question = 'sum-1': is asked a second time"),
        (lambda lines: lines[1]["candidates"]["Small-7B"].update(score=1.5), r"jsonl.gz:2: score = 1.5: "),
        (lambda lines: lines[1]["candidates"]["Small-7B"].update(score=float("nan")), r"jsonl.gz:2: score = nan: "),
        (lambda lines: lines[1]["candidates"]["Small-7B"].update(reply=""), "reply = 'sum-1': is empty for this"),
        (lambda lines: lines[1].pop("candidates"), "jsonl.gz:2: candidates: is missing"),
        (lambda lines: lines[1]["candidates"].update({"Small-7B": 1}), "candidates.Small-7B = 1: must be an object"),
        (lambda lines: lines.clear(), "question: there is none"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(read, change, told):
    with pytest.raises(ConfigError, match=told) as fault:
        read(_spoilt(change))
    assert "\n" not in str(fault.value)


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recorded(tmp_path / "none.jsonl")
    (tmp_path / "plain.jsonl.gz").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recorded(tmp_path / "plain.jsonl.gz")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON lines file"):
        load_recorded(tmp_path / "broken.jsonl")


def test_a_file_of_samples_is_read_with_its_own_costs(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "id": "1", "data_source": "sums", "question": "1 + 1?", "golden_answers": ["2"], "candidate": name,
            "sample": sample, "reply": reply, "score": score, "prompt_tokens": 3, "completion_tokens": 2,
            "raw_cost": cost, "spend_usd": cost * 1e-6, "failed": failed,
        }
        for name, sample, reply, score, cost, failed in [
            ("A", 1, "It is 3.", 0.0, 4.0, False),
            ("A", 0, "It is 2.", 1.0, 2.0, False),
            ("A", 2, "", 0.0, 0.0, True),
            ("B", 0, "It is 2.", 1.0, 40.0, False),
        ]
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    recorded = load_recorded(tmp_path / "scores.parquet")
    assert [reply.text for reply in recorded.questions[0].samples["A"]] == ["It is 2.", "It is 3."]
    assert recorded.num_samples == {"A": 2, "B": 1}
    assert recorded.table().score.tolist() == [[0.5, 1.0]]
    assert recorded.table().raw_cost.tolist() == [[3.0, 40.0]]


def test_scores_without_replies_make_a_table_at_an_assumed_length(read):
    lines = copy.deepcopy(LINES[:2])
    for line in lines:
        for said in line["candidates"].values():
            del said["reply"]
    recorded = read(lines)
    assert not recorded.has_replies
    assert recorded.table().raw_cost.tolist() == [[256.0, 5120.0]] * 2
