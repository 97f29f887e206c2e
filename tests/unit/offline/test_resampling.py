"""Bootstrap intervals and paired tests: what is certain, what is chance, and what several tests at once may claim."""

from __future__ import annotations

import numpy as np
import pytest

from router_r1.offline.resampling import RESAMPLES, estimates, holm


def test_the_mean_is_over_seeds_of_means_over_questions():
    groups = [np.array([0, 1, 2]), np.array([2, 5])]
    (found,) = estimates(groups, [np.array([[1.0], [0.0], [0.5]]), np.array([[0.2], [0.4]])])
    assert found.mean == pytest.approx((0.5 + 0.3) / 2)


def test_the_interval_is_that_of_a_mean_of_coin_tosses():
    tosses = np.tile([1.0, 0.0], 200)[:, None]
    (found,) = estimates([np.arange(400)], [tosses])
    half = 1.96 * np.sqrt(0.25 / 400)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_a_question_that_every_seed_tests_counts_once_so_that_more_seeds_do_not_feign_certainty():
    tosses = np.tile([1.0, 0.0], 100)[:, None]
    (once,) = estimates([np.arange(200)], [tosses])
    (thrice,) = estimates([np.arange(200)] * 3, [tosses] * 3)
    assert thrice == once
    other = np.random.default_rng(0).permutation(200)
    (shuffled,) = estimates([np.arange(200), other], [tosses, tosses[other]])
    assert (shuffled.low, shuffled.high) == pytest.approx((once.low, once.high))


def test_a_constant_difference_is_certain_and_none_is_none():
    sure, none, noise = estimates([np.arange(50)], [np.column_stack([np.full(50, 0.1), np.zeros(50), np.zeros(50)])])
    assert (sure.low, sure.high) == pytest.approx((0.1, 0.1))
    assert sure.p == pytest.approx(2 / (RESAMPLES + 1))
    assert (none.low, none.high, none.p) == (0.0, 0.0, 1.0)
    assert noise == none


def test_what_rounding_leaves_is_no_difference():
    (found,) = estimates([np.arange(50)], [np.full((50, 1), 1e-16)])
    assert found.p == 1.0


def test_p_is_below_five_per_cent_where_the_interval_keeps_clear_of_zero():
    draw = np.random.default_rng(0)
    columns = draw.normal(loc=np.linspace(-0.3, 0.3, 25), size=(100, 25))
    for found in estimates([np.arange(100)], [columns]):
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_paired_differences_are_surer_than_the_two_scores_are():
    draw = np.random.default_rng(0)
    hard = draw.integers(0, 2, 300).astype(float)
    better = np.where(draw.random(300) < 0.1, 1.0, hard)
    difference, score = estimates([np.arange(300)], [np.column_stack([better - hard, better])])
    assert difference.low > 0
    assert difference.high - difference.low < (score.high - score.low) / 2


def test_the_same_questions_are_drawn_every_time():
    values = np.random.default_rng(0).random((40, 2))
    both = estimates([np.arange(40)], [values])
    for number, found in enumerate(both):
        (alone,) = estimates([np.arange(40)], [values[:, [number]]])
        assert (alone.low, alone.high, alone.p) == pytest.approx((found.low, found.high, found.p))


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
