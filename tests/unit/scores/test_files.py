"""Files of scores: what they hold comes back, what is wrong in them is told with its row, and what failed counts
nowhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.scores import Sample, read_replies, read_samples, read_score_provenance, read_scores, write_scores

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def sample(identifier: str = "q0", candidate: str = "small", score: float = 1.0, **more) -> Sample:
    given = {
        "id": identifier,
        "data_source": "nq",
        "question": f"What is {identifier}?",
        "golden_answers": ("Paris",),
        "candidate": candidate,
        "reply": f"{candidate} says Paris.",
        "score": score,
        "f1": 0.5,
        "metric": "cover_em",
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "raw_cost": 2.0,
        "spend_usd": 3e-6,
        "latency_s": 0.25,
    }
    return Sample(**given | more)


PAIR = [sample(), sample(candidate="large", score=0.0, raw_cost=8.0)]


def written(path: Path, samples: list[Sample]) -> Path:
    write_scores(samples, path, provenance={"source": "test", "assumptions": ["é"]})
    return path


def test_what_is_written_comes_back_with_how_it_was_come_by(tmp_path):
    samples = [*PAIR, sample("q1", reply=None, f1=None, prompt_tokens=None, completion_tokens=None, latency_s=None)]
    samples.append(sample("q1", "large", offered=False, golden_answers=(), failed=True, score=0.0, reply=None))
    file = written(tmp_path / "scores.parquet", samples)

    assert read_samples(file).samples == samples
    assert read_score_provenance(file) == {"source": "test", "assumptions": ["é"]}


def test_a_table_has_the_mean_over_the_samples_and_what_is_offered(tmp_path):
    again = replace(PAIR[1], sample=1, score=1.0, raw_cost=4.0)
    others = [sample("q1", offered=False), sample("q1", "large", 0.5)]

    table = read_scores(written(tmp_path / "scores.parquet", [*PAIR, again, *others]))

    assert table.candidates == ("small", "large")
    assert [question.id for question in table.questions] == ["q0", "q1"]
    assert table.score.tolist() == [[1.0, 0.5], [1.0, 0.5]]
    assert table.raw_cost.tolist() == [[2.0, 6.0], [2.0, 2.0]]
    assert table.offered.tolist() == [[True, True], [False, True]]
    assert table.questions[0].golden_answers == ("Paris",)


def test_a_failed_answer_counts_nowhere_and_a_question_that_a_candidate_never_answered_is_left_out(tmp_path):
    samples = [sample(f"q{n}", name, 1.0) for n in range(10) for name in ("small", "large")]
    samples += [replace(samples[0], sample=1, failed=True, score=0.0, reply=None)]
    samples[-2] = replace(samples[-2], failed=True, score=0.0)

    table = read_scores(written(tmp_path / "scores.parquet", samples))

    assert [question.id for question in table.questions] == [f"q{n}" for n in range(9)]
    assert np.all(table.score == 1.0)


def test_with_too_many_failed_answers_there_is_no_table(tmp_path):
    samples = [sample(f"q{n}", name, 0.0, failed=n < 2) for n in range(10) for name in ("small", "large")]
    with pytest.raises(ConfigError, match=r"scores.parquet: failed: 4 of 20 answers failed.*--resume"):
        read_scores(written(tmp_path / "scores.parquet", samples))


def test_replies_are_found_by_question_and_candidate_in_the_order_of_their_samples(tmp_path):
    second = replace(PAIR[0], sample=1, reply="It is Rome.")
    replies = read_replies(written(tmp_path / "scores.parquet", [second, *PAIR]))
    assert [one.reply for one in replies["q0", "small"]] == ["small says Paris.", "It is Rome."]
    assert [one.completion_tokens for one in replies["q0", "large"]] == [4]


def test_scores_without_replies_have_none_to_give(tmp_path):
    file = written(tmp_path / "scores.parquet", [replace(one, reply=None) for one in PAIR])
    with pytest.raises(ConfigError, match="reply of small to question q0: was not recorded"):
        read_replies(file)


def test_half_a_surrogate_pair_in_a_reply_is_no_obstacle(tmp_path):
    file = written(tmp_path / "scores.parquet", [replace(PAIR[0], reply="a\ud83db"), PAIR[1]])
    assert read_samples(file).samples[0].reply == "a?b"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([PAIR[0]], "candidate = 'small': is the only one; give scores of two or more"),
        ([*PAIR, sample("q1")], "row 2: question = 'q1': has no score of large; 1 of 2 questions lack a candidate"),
        (
            [*PAIR, replace(PAIR[0], score=0.0)],
            "row 2: score of small for question q0 = 0.0: was 1 at ",
        ),
        (
            [PAIR[0], replace(PAIR[1], score=float("nan"))],
            "row 1: score of large for question q0 = nan: must be a number in [0, 1]",
        ),
        ([PAIR[0], replace(PAIR[1], score=1.5)], "row 1: score of large for question q0 = 1.5: must be a number in"),
        (
            [PAIR[0], replace(PAIR[1], raw_cost=-1.0)],
            "row 1: raw_cost of large for question q0 = -1.0: must be a finite number of 0 or more",
        ),
        (
            [PAIR[0], replace(PAIR[1], completion_tokens=-4)],
            "row 1: completion_tokens of large for question q0 = -4: must be 0 or more",
        ),
        ([PAIR[0], replace(PAIR[1], question="Another?")], "row 1: id = 'q0': names another question at "),
        ([], "scores.parquet: holds no scores"),
    ],
)
def test_rows_that_cannot_be_judged_by_are_refused_in_one_line_with_the_row(tmp_path, samples, message):
    with pytest.raises(ConfigError) as fault:
        read_scores(written(tmp_path / "scores.parquet", samples))
    assert message in str(fault.value)
    assert str(tmp_path / "scores.parquet") in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_row_that_says_the_same_once_more_counts_once(tmp_path):
    checked = read_samples(written(tmp_path / "scores.parquet", [*PAIR, PAIR[0]]))
    assert (checked.samples, checked.repeated) == (PAIR, 1)


def changed(path: Path, change) -> Path:
    pq.write_table(change(pq.read_table(written(path, PAIR))), path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("candidate"), "column candidate: is missing: this is no file of scores"),
        (lambda table: table.append_column("note", pa.array(["", ""])), "column note: is unknown; known are id,"),
        (
            lambda table: table.set_column(0, "id", pa.array(["q0", None])),
            "row 1: id: is empty; every row needs it",
        ),
        (
            lambda table: table.set_column(8, "score", pa.array(["good", "bad"])),
            "a column has another type: ",
        ),
    ],
)
def test_another_file_of_parquet_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError) as fault:
        read_samples(changed(tmp_path / "other.parquet", change))
    assert message in str(fault.value)


def test_columns_may_stand_in_any_order(tmp_path):
    file = changed(tmp_path / "other.parquet", lambda table: table.select(table.column_names[::-1]))
    assert read_samples(file).samples == PAIR


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_what_is_no_parquet_is_told_in_one_line(tmp_path, content):
    file = tmp_path / "scores.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as parquet"):
        read_scores(file)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    file = written(tmp_path / "scores.parquet", PAIR)
    with pytest.raises(TypeError):
        write_scores(PAIR, file, provenance={"source": object()})
    assert read_samples(file).samples == PAIR
