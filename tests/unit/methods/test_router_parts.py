"""What classical routers are made of, against values by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router_r1.errors import ConfigError
from router_r1.methods.avengers_pro import AvengersPro
from router_r1.methods.cross_validation import best_setting, folds, minus_squared_error, score_of_chosen
from router_r1.methods.encoders import HashedWords
from router_r1.methods.forest import ForestRouter
from router_r1.methods.knn import neighbour_means
from router_r1.methods.llmrank import LlmRank
from router_r1.methods.prompt_features import FEATURE_NAMES, features
from router_r1.methods.routoo import described
from router_r1.methods.similarity_ranking import battle_weights, mean_win_rates, ratings
from tests.doubles.router_worlds import two_kinds


def feature(name: str, text: str) -> float:
    return float(features([text])[0, FEATURE_NAMES.index(name)])


# ---------------------------------------------------------------- cross-validation


@given(st.integers(2, 40), st.integers(0, 3))
def test_every_row_is_held_out_once_and_never_fitted_on_then(num_questions, seed):
    parts = folds(num_questions, seed)
    assert sorted(row for _, held_out in parts for row in held_out) == list(range(num_questions))
    for fitted_on, held_out in parts:
        assert sorted([*fitted_on, *held_out]) == list(range(num_questions))


def test_what_the_chosen_candidates_score_is_what_a_setting_gains():
    predicted, score = np.array([[0.2, 0.9], [0.6, 0.5]]), np.array([[1.0, 0.25], [0.5, 1.0]])
    assert score_of_chosen(predicted, score) == 0.25 + 0.5
    assert minus_squared_error(predicted, score) == pytest.approx(-(0.64 + 0.4225 + 0.01 + 0.25))


def test_the_best_setting_is_the_first_of_those_that_gain_most():
    target = np.eye(2)[[0, 1] * 5]

    def predicted(fitted_on, held_out):
        return [1 - target[held_out], target[held_out], target[held_out]]

    assert best_setting(["wrong", "right", "right too"], predicted, target, gain=score_of_chosen, seed=0) == "right"


def test_one_question_leaves_nothing_to_hold_out():
    assert best_setting([3, 4], lambda *_: [], np.ones((1, 2)), gain=score_of_chosen, seed=0) == 3


# ---------------------------------------------------------------- neighbours and clusters


def test_neighbours_are_the_nearest_by_cosine_and_all_of_them_where_there_are_too_few():
    training = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    means = neighbour_means(np.array([[1.0, 0.0]]), training, np.array([[1.0], [0.0], [0.5]]), (1, 2, 9))
    assert [mean.tolist() for mean in means] == [[[1.0]], [[0.75]], [[0.5]]]


def test_clusters_are_mixed_by_a_softmax_of_their_similarity():
    class Axes:
        name = "axes"

        def encode(self, texts):
            return np.array([[0.6, 0.8]], dtype=np.float32)

    router = AvengersPro(num_nearest=2, beta=9.0)
    router.encoder = Axes()
    router.centres = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    router.mean_score = np.array([[1.0, 0.0], [0.0, 1.0], [7.0, 7.0]])
    weight = 1 / (1 + np.exp(9 * (0.8 - 0.6)))  # of the first; the third is not among the nearest two
    assert router.quality(["any"])[0] == pytest.approx([weight, 1 - weight])


# ---------------------------------------------------------------- similarity-weighted ranking


def test_battles_of_the_most_similar_question_weigh_ten_times_those_of_an_unrelated_one():
    weights = battle_weights(np.array([[0.8, 0.4, 0.0, -0.8]]))
    assert weights[0] == pytest.approx([100.0, 31.6227766, 10.0, 1.0])


def test_a_question_like_none_weighs_all_battles_the_same():
    assert battle_weights(np.array([[0.0, 0.0], [-0.5, -0.1]])).tolist() == [[10.0, 10.0], [10.0, 10.0]]


def test_who_wins_three_times_of_four_is_ahead_by_the_logarithm_of_three():
    victories = np.array([[5.0, 3.0], [1.0, 5.0]])  # what it has against itself does not count
    rating = ratings(victories)
    assert rating[0] - rating[1] == pytest.approx(np.log(0.751 / 0.251))  # with the prior of 0.001 each
    assert mean_win_rates(rating) == pytest.approx([0.751 / 1.002, 0.251 / 1.002])


def test_who_never_wins_has_a_finite_rating():
    rating = ratings(np.array([[0.0, 10.0, 10.0], [0.0, 0.0, 5.0], [0.0, 5.0, 0.0]]))
    assert np.isfinite(rating).all()
    assert rating[0] > rating[1] == pytest.approx(rating[2], abs=1e-6)


@given(arrays(float, (2, 4, 4), elements=st.floats(0.1, 100)))
def test_at_the_maximum_of_the_likelihood_each_wins_as_often_as_expected(victories):
    others = 1 - np.eye(4)
    won = victories * others
    won = won / won.sum(axis=(1, 2), keepdims=True) + 1e-3 * others
    rating = ratings(victories)
    expected = (won + won.transpose(0, 2, 1)) / (1 + np.exp(rating[:, None, :] - rating[:, :, None])) * others
    assert expected.sum(axis=2) == pytest.approx(won.sum(axis=2), abs=1e-6)


# ---------------------------------------------------------------- forests


def grown() -> tuple[ForestRouter, np.ndarray, np.ndarray]:
    class Forest(ForestRouter):
        def fit_quality(self, train, *, seed): ...

        def quality(self, questions): ...

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 5)).astype(np.float32)
    target = np.column_stack([inputs[:, 0] > 0, inputs[:, 1] + inputs[:, 2]]).astype(float)
    forest = Forest()
    forest.grow(inputs, target, num_trees=7, min_leaf=3, max_features=0.6, seed=4)
    return forest, inputs, target


def test_a_forest_of_arrays_predicts_what_scikit_learns_predicts():
    ensemble = pytest.importorskip("sklearn.ensemble")
    forest, inputs, target = grown()
    direct = ensemble.ExtraTreesRegressor(7, min_samples_leaf=3, max_features=0.6, random_state=4).fit(inputs, target)
    others = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)
    assert forest.forest_mean(others) == pytest.approx(direct.predict(others))


def test_contributions_and_the_mean_sum_up_to_the_prediction_and_go_to_the_features_that_matter():
    pytest.importorskip("sklearn")
    forest, inputs, target = grown()
    added = forest.forest_contributions(inputs)
    assert target.mean(axis=0) + added.sum(axis=1) == pytest.approx(forest.forest_mean(inputs))
    assert np.abs(added[:, :, 0]).mean(axis=0).argmax() == 0
    assert set(np.argsort(np.abs(added[:, :, 1]).mean(axis=0))[-2:]) == {1, 2}


# ---------------------------------------------------------------- readable features, and reasons


@given(st.lists(st.text(), max_size=3))
def test_any_text_has_finite_features(texts):
    found = features(texts)
    assert found.shape == (len(texts), len(FEATURE_NAMES))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("characters (log2)", "abc", 2.0),
        ("words (log2)", "one two three", 2.0),
        ("words in a sentence (log2)", "One two three. Four five six!", 2.0),
        ("share of different words", "to be or not to be", 4 / 6),
        ("starts with who", "Who sang it?", 1.0),
        ("starts with who", "Whoever sang it?", 0.0),
        ("asks how many or how much", "Tell me how many there are", 1.0),
        ("ends with a question mark", 'Who wrote "Faust"?"', 1.0),
        ("ends without a mark", "Water freezes at", 1.0),
        ("a gap to fill (___)", "Water is ____ at 0 degrees.", 1.0),
        ("choices (A) B. ...", "Which one? (A) iron (B) gold", 1.0),
        ("numbers (log2)", "1,000 and 2.5 and 7", 2.0),
        ("money or per cent", "It costs $5", 1.0),
        ("LaTeX commands per word", r"\frac \sqrt", 2 / 3),
        ("lines of code", "def f(x):\n    return x\n", 1.584963),
        ("words of arithmetic", "total cost", 1.0),
        ("letters of Chinese, Japanese or Korean", "谁是", 1.0),
    ],
)
def test_a_feature_is_what_its_name_says(name, text, value):
    assert feature(name, text) == pytest.approx(value, abs=1e-5)


def test_reasons_are_features_of_the_question_and_sum_up_to_the_candidates_lead():
    pytest.importorskip("sklearn")
    train = two_kinds(160)
    router = LlmRank()
    router.fit(train, HashedWords(), seed=0)
    question = "Calculate 17 + 4 * 1200. How much is left in total?"
    reasons = router.reasons(question, "clerk")
    sizes = [abs(contribution) for _, contribution in reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert {name for name, _ in reasons} <= set(FEATURE_NAMES)
    mean, predicted = train.score.mean(axis=0), router.quality([question])[0]
    lead_in_training, lead = mean[1] - mean.mean(), predicted[1] - predicted.mean()
    assert lead_in_training + sum(contribution for _, contribution in reasons) == pytest.approx(lead)
    assert reasons[0][1] > 0 > router.reasons(question, "poet")[0][1]
    with pytest.raises(ConfigError, match="LLMRank: candidate = 'bard': is none of poet, clerk, sage"):
        router.reasons(question, "bard")


def test_candidates_that_are_right_on_the_same_questions_have_similar_descriptors():
    right = np.random.default_rng(0).random((200, 1)) < 0.5
    descriptors = described(np.hstack([right, right, ~right]).astype(float))
    assert descriptors[0] == pytest.approx(descriptors[1], abs=1e-6)
    assert np.abs(descriptors[0] - descriptors[2]).max() > 0.5
