"""Scores of candidates on questions: what a table must hold, how it is parted, and what money counts for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.methods.single_round import chosen
from router_r1.scores import ScoredQuestion, ScoreTable, cheapness, full_cost, split, utility


def table_of(score: list[list[float]], raw_cost: list[list[float]] | None = None) -> ScoreTable:
    scores = np.array(score)
    costs = np.ones_like(scores) if raw_cost is None else np.array(raw_cost)
    questions = tuple(ScoredQuestion(f"q{n}", "nq", f"question {n}") for n in range(len(scores)))
    names = ("small", "large", "huge")[: scores.shape[1]]
    return ScoreTable(questions, names, scores, costs, costs * 1e-6, np.ones_like(scores, dtype=bool), "scores.parquet")


@pytest.mark.parametrize(
    ("score", "raw_cost", "message"),
    [
        ([[1.0], [0.0]], None, "scores.parquet: candidate = 'small': is the only one; give two or more"),
        ([[1.0, np.nan]], None, "score of large for question q0 = nan: must be a number in [0, 1]"),
        ([[1.0, 1.5]], None, "score of large for question q0 = 1.5: must be a number in [0, 1]"),
        ([[1.0, 0.5]], [[1.0, -2.0]], "raw_cost of large for question q0 = -2.0: must be a finite number of 0 or more"),
    ],
)
def test_a_table_that_cannot_be_judged_by_is_refused(score, raw_cost, message):
    with pytest.raises(ConfigError) as fault:
        table_of(score, raw_cost)
    assert message in str(fault.value)


def test_a_question_that_stands_there_twice_is_refused():
    table = table_of([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ConfigError, match="id = 'q0': names two questions"):
        replace(table, questions=(table.questions[0], table.questions[0]))


def test_a_question_that_offers_nobody_is_refused():
    with pytest.raises(ConfigError, match="offered = 'q1': offers no candidate"):
        replace(table_of([[1.0, 0.0], [0.0, 1.0]]), offered=np.array([[True, True], [False, False]]))


def test_only_the_best_that_is_offered_is_chosen_and_among_equals_the_first():
    utilities = np.array([[0.2, 0.9, 0.5], [0.7, 0.7, 0.1]])
    offered = np.array([[True, False, True], [True, True, True]])
    assert chosen(utilities, offered).tolist() == [2, 0]


def test_the_constants_of_a_table_weigh_every_question_the_same():
    table = table_of([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 4.0]] * 3)
    table = replace(table, questions=tuple(replace(q, data_source=f"task {n}") for n, q in enumerate(table.questions)))
    alone = table.as_candidate_table().alone
    assert alone["small"].em == pytest.approx(2 / 3)
    assert alone["large"].raw_cost == 4.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 50))
def test_utility_lies_between_quality_and_cheapness_which_is_linear_in_money(alpha, score, cost):
    table = table_of([[0.0, 0.0]], [[10.0, 40.0]])
    cheap = cheapness(np.array([cost]), full_cost(table))
    assert cheap[0] == pytest.approx(max(0.0, 1 - cost / 40))
    value = utility(np.array([score]), cheap, alpha)[0]
    assert min(score, cheap[0]) - 1e-9 <= value <= max(score, cheap[0]) + 1e-9


def test_candidates_that_cost_nothing_are_all_as_cheap_as_can_be():
    free = table_of([[0.0, 0.0]], [[0.0, 0.0]])
    assert cheapness(free.raw_cost, full_cost(free)).tolist() == [[1.0, 1.0]]


@given(st.integers(0, 5))
def test_a_question_falls_into_the_same_part_whatever_else_is_in_the_table(seed):
    table = table_of(np.random.default_rng(0).uniform(size=(60, 2)).tolist())
    train, test = split(table, seed=seed)
    assert sorted(q.id for q in (*train.questions, *test.questions)) == sorted(q.id for q in table.questions)
    fewer, _ = split(table.rows(range(0, 60, 2)), seed=seed)
    assert {q.id for q in fewer.questions} == {q.id for q in train.questions} & {f"q{n}" for n in range(0, 60, 2)}


def test_another_spelling_of_a_question_falls_into_the_same_part():
    table = table_of([[0.0, 1.0]] * 60)
    shouted = replace(table, questions=tuple(replace(q, text=f"  {q.text.upper()}? ") for q in table.questions))
    assert [q.id for q in split(table)[1].questions] == [q.id for q in split(shouted)[1].questions]


def test_too_few_questions_to_part_are_refused():
    with pytest.raises(ConfigError, match="question = 1: too few to part"):
        split(table_of([[0.0, 1.0]]))
