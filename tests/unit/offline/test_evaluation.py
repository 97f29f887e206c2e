"""What choices are worth, beside constants and oracle, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.constant_routers import oracle
from router_r1.offline.bounds import bounds
from router_r1.offline.evaluation import evaluate
from router_r1.offline.parts import Choice, Part, part
from router_r1.offline.yardsticks import Yardstick
from router_r1.scores import ScoredQuestion, ScoreTable
from tests.doubles.score_tables import topical_table

ALPHAS = [0.0, 0.5, 1.0]


def table_of(score: list[list[float]], costs: list[float], sources: str = "") -> ScoreTable:
    scores = np.array(score)
    questions = tuple(
        ScoredQuestion(f"q{n}", sources[n] if sources else "nq", f"question {n}") for n in range(len(scores))
    )
    raw_cost = np.tile(costs, (len(scores), 1))
    offered = np.ones_like(scores, dtype=bool)
    return ScoreTable(questions, ("small", "large", "huge")[: len(costs)], scores, raw_cost, raw_cost * 2e-6, offered)


def part_of(test: ScoreTable, train: ScoreTable | None = None, seed: int = 0) -> Part:
    return Part(seed, train or test, test, np.arange(len(test)))


FOUR = table_of([[1, 1], [0, 1], [0, 1], [1, 0]], [1.0, 5.0])
"""small is right twice for 1, large three times for 5."""


def test_the_figures_of_one_seed():
    found = evaluate({"half": [[Choice.of_one(0.3, FOUR, np.array([0, 1, 1, 1]))]]}, [Yardstick.of(part_of(FOUR))])[
        "half"
    ]
    (point,) = found.points
    assert point.alpha == 0.3
    assert point.figures["score"] == 0.75
    assert point.figures["raw_cost"] == 4.0
    assert point.figures["spend_usd"] == pytest.approx(8e-6)
    # The hull has (0, 0), (1, .5), (5, .75), so .6875 at 4.
    assert point.figures["above_constant"] == pytest.approx(0.0625)
    assert point.figures["above_best_constant"] == 0.0
    assert point.figures["gap_recovered"] == 0.0
    assert point.figures["pgr"] == 1.0
    assert point.figures["top_share"] == 0.75
    assert point.figures["above_baseline"] is None
    # (0, 0), (4, .75), level to 5: from 1 on (3 * (.1875 + .75) / 2 + .75) / 4.
    assert found.curve["aiq"] == pytest.approx((3 * (0.1875 + 0.75) / 2 + 0.75) / 4)
    # PGR 1 for three of four calls: .75 / 2 + .25.
    assert found.curve["apgr"] == pytest.approx(0.625)
    assert found.curve["cpt_80"] == pytest.approx(0.6)
    assert found.datasets == {"nq": 0.75}


def test_a_method_that_asks_several_pays_for_all_of_them_and_all_of_them_count_as_routes():
    # It asks small everything, and large what small does not know: all four right, for (1 + 6 + 6 + 1) / 4.
    raw_cost = np.array([1.0, 6.0, 6.0, 1.0])
    asked = np.array([[0, -1], [0, 1], [0, 1], [0, -1]])
    choice = Choice(0.3, np.array([1.0, 1.0, 1.0, 1.0]), raw_cost, raw_cost * 2e-6, asked)
    found = evaluate({"cascade": [[choice]]}, [Yardstick.of(part_of(FOUR))])["cascade"]
    figures = found.points[0].figures
    assert figures["score"] == 1.0
    assert figures["raw_cost"] == 3.5
    assert figures["spend_usd"] == pytest.approx(7e-6)
    assert figures["above_constant"] == pytest.approx(1.0 - (0.5 + 0.25 * 2.5 / 4))  # hull: (1, .5), (5, .75)
    assert figures["above_best_constant"] == 0.25
    assert figures["pgr"] == 2.0
    assert figures["top_share"] == pytest.approx(4 / 6)  # of six routes small has four
    assert figures["kind_information"] == 0.0  # it always asks small first
    # A PGR of 2 for half of the questions being put to large: 2 / 2 / 2 and 2 from there.
    assert found.curve["apgr"] == pytest.approx(0.5 + 1.0)
    assert found.curve["cpt_50"] == pytest.approx(0.125)


def test_a_constant_is_nothing_above_itself_and_surely_so():
    methods = {name: [bound.choose(part_of(FOUR), ALPHAS)] for name, bound in bounds(FOUR.candidates).items()}
    found = evaluate(methods, [Yardstick.of(part_of(FOUR))], baseline="alone/small")
    for name in ("alone/small", "alone/large", "constant-at-cost"):
        for point in found[name].points:
            assert point.figures["above_constant"] == pytest.approx(0)
            assert point.figures["above_constant_p"] == 1.0
    assert found["alone/large"].points[0].figures["above_baseline"] == pytest.approx(0.25)
    assert found["constant-at-cost"].curve["aiq"] == pytest.approx(0.625)


def test_figures_are_means_over_seeds_and_a_measure_that_one_seed_lacks_is_not_known():
    level = table_of([[1, 1], [0, 0], [0, 1], [1, 0]], [1.0, 5.0])  # no gap between weak and strong
    yardsticks = [Yardstick.of(part_of(FOUR)), Yardstick.of(part_of(level))]
    choices = [[Choice.of_one(0.0, table, np.array([1, 1, 1, 1]))] for table in (FOUR, level)]
    (point,) = evaluate({"large": choices}, yardsticks)["large"].points
    assert point.figures["score"] == pytest.approx((0.75 + 0.5) / 2)
    assert [seed["score"] for seed in point.seeds] == [0.75, 0.5]
    assert point.figures["pgr"] is None
    assert [seed["pgr"] for seed in point.seeds] == [1.0, None]


def test_the_difference_at_equal_cost_stays_at_equal_cost_when_questions_are_drawn_anew():
    # A router that tosses a coin between two constants lies on the hull. Which of the two a question is asked moves its
    # score and its cost, but not the one less the other at the hull's price.
    draw = np.random.default_rng(0)
    table = table_of([[0.5, 1]] * 200, [1.0, 5.0])
    yardstick = Yardstick.of(part_of(table))
    above = yardstick.above_constant(Choice.of_one(0.0, table, draw.integers(0, 2, 200)))
    assert np.abs(above).max() < 1e-12


@given(st.integers(0, 50))
def test_the_mean_above_the_constant_is_what_the_frontier_says(seed):
    table = topical_table(40, seed=seed)
    draw = np.random.default_rng(seed)
    table = replace(table, raw_cost=draw.uniform(0, 9, table.score.shape))
    yardstick = Yardstick.of(part_of(table))
    asked = draw.integers(0, 3, len(table))
    score = yardstick.table.score_of(asked)
    above = yardstick.above_constant(Choice.of_one(0.0, table, asked))
    assert above.mean() == pytest.approx(yardstick.hull.em_above(score.em, score.raw_cost))


def test_constants_are_nothing_to_beat_where_nobody_is_ever_right():
    table = table_of([[0, 0], [0, 0]], [1.0, 5.0])
    choices = [[Choice.of_one(None, table, np.array([0, 1]))]]
    found = evaluate({"all": choices}, [Yardstick.of(part_of(table))])["all"]
    assert found.points[0].figures["above_constant"] == 0.0
    assert found.points[0].figures["gap_recovered"] is None


# ---------------------------------------------------------------- bounds


def chosen_by(name: str, part: Part) -> list[list[int]]:
    return [choice.first.tolist() for choice in bounds(part.test.candidates)[name].choose(part, ALPHAS)]


def test_a_candidate_that_is_not_offered_gives_way_to_the_best_that_is():
    test = replace(FOUR, offered=np.array([[True, True], [True, False], [False, True], [True, True]]))
    assert chosen_by("alone/large", part_of(test)) == [[1, 0, 1, 1]]


def test_the_constant_of_a_data_set_is_that_of_its_training_questions():
    train = table_of([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], [1.0, 5.0], "aabbb")
    test = table_of([[0, 0]] * 3, [1.0, 5.0], "abc")  # c is in no training question: the best of all
    assert chosen_by("told-data-set", part_of(test, train))[0] == [0, 1, 1]


def test_the_oracle_takes_the_cheapest_of_the_best_and_less_money_as_it_counts_more():
    test = table_of([[1, 1], [0, 1], [0, 0]], [1.0, 5.0])
    asked = chosen_by("oracle", part_of(test))
    assert asked[0] == [0, 1, 0]
    assert asked[-1] == [0, 0, 0]
    table = test.as_candidate_table()
    assert table.score_of(np.array(asked[0])) == oracle(table)


# ---------------------------------------------------------------- parts


def test_shuffled_labels_keep_how_good_each_candidate_is():
    table = topical_table(200)
    plain, shuffled = (part(table, 0, test_share=0.3, shuffle_labels=shuffle) for shuffle in (False, True))
    assert shuffled.train.score.mean(axis=0) == pytest.approx(plain.train.score.mean(axis=0))
    assert (shuffled.train.score != plain.train.score).any()
    assert (shuffled.test.score == plain.test.score).all()
    assert shuffled.train.questions == plain.train.questions
