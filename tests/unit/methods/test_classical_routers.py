"""What every single-round router of the table must do, and what each classical one computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.encoders import HashedWords
from router_r1.methods.routers import ROUTERS
from router_r1.methods.saved import FACTS_FILE
from tests.doubles.router_worlds import accuracy, table_of, two_kinds

pytest.importorskip("sklearn")
pytest.importorskip("skops")
pytest.importorskip("safetensors")

BOUNDS = ("random", "best-constant", "cheapest", "dearest")
FITTED = """
tfidf-ridge ridge knn knn-cv mlp svm similarity-ranking avengers-pro carrot-knn carrot-ridge llmrank routoo
""".split()
EVERY = (*BOUNDS, "per-data-set", *FITTED)
TRAIN, TEST = two_kinds(160), two_kinds(100, seed=1)
SHUFFLED = replace(TRAIN, score=TRAIN.score[np.random.default_rng(0).permutation(len(TRAIN))])
BEST_CONSTANT = 0.6  # the sage's; a router that tells verses from sums has 0.95


@pytest.fixture(scope="module")
def encoder():
    return HashedWords(64)


@pytest.fixture(scope="module")
def fitted(encoder):
    """A router by its name, fitted once on the two kinds."""
    made = {}

    def fit(name):
        if name not in made:
            made[name] = ROUTERS[name].make()
            made[name].fit(TRAIN, encoder, seed=0)
        return made[name]

    return fit


# ---------------------------------------------------------------- every router


@pytest.mark.parametrize("name", EVERY)
def test_utilities_come_for_every_question_and_do_not_depend_on_the_others(fitted, name):
    utilities = fitted(name).utilities(TEST.texts, 0.3)
    assert utilities.shape == (len(TEST), 3)
    assert np.isfinite(utilities).all()
    assert fitted(name).utilities(TEST.texts[7:9], 0.3) == pytest.approx(utilities[7:9], abs=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_router_is_the_same_router(fitted, encoder, tmp_path, name):
    fitted(name).save(tmp_path / name)
    loaded = type(fitted(name)).load(tmp_path / name, encoder)
    for alpha in (0.0, 0.5):
        assert (loaded.utilities(TEST.texts, alpha) == fitted(name).utilities(TEST.texts, alpha)).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_same_table_encoder_and_seed_give_the_same_router(fitted, encoder, name):
    again = ROUTERS[name].make()
    again.fit(TRAIN, encoder, seed=0)
    assert (again.utilities(TEST.texts[:20], 0.2) == fitted(name).utilities(TEST.texts[:20], 0.2)).all()


@pytest.mark.parametrize("name", sorted({*FITTED, "per-data-set"} - {"similarity-ranking"}))
def test_who_is_good_at_what_is_learned_and_beats_the_best_constant(fitted, name):
    assert accuracy(fitted(name).utilities(TEST.texts, 0.0), TEST) > BEST_CONSTANT + 0.15


@pytest.mark.parametrize("name", sorted({*EVERY} - {"random", "dearest"}))
def test_at_alpha_1_the_cheapest_is_asked(fitted, name):
    assert set(fitted(name).utilities(TEST.texts, 1.0).argmax(axis=1)) == {0}


@pytest.mark.parametrize("name", EVERY)
def test_scores_of_other_questions_teach_nothing(encoder, name):
    """The leak control: with the training scores shuffled no router is better than the best constant, and those that
    average over enough questions fall back to it."""
    router = ROUTERS[name].make()
    router.fit(SHUFFLED, encoder, seed=0)
    found = accuracy(router.utilities(TEST.texts, 0.0), TEST)
    assert found < BEST_CONSTANT + 0.12  # noise of 100 questions
    if name in ("knn-cv", "ridge", "similarity-ranking", "avengers-pro", "llmrank"):
        assert found > BEST_CONSTANT - 0.15


# ---------------------------------------------------------------- saved and loaded


def test_a_router_of_other_vectors_is_not_loaded(fitted, tmp_path):
    fitted("ridge").save(tmp_path)
    with pytest.raises(ConfigError, match=r"encoder = 'words-64': is not words-32: load it as what it is"):
        type(fitted("ridge")).load(tmp_path, HashedWords(32))


def test_a_router_of_another_method_is_not_loaded(fitted, encoder, tmp_path):
    fitted("ridge").save(tmp_path)
    with pytest.raises(ConfigError, match=r"router = 'EncoderRidge': is not SupportVectors"):
        type(fitted("svm")).load(tmp_path, encoder)


def test_a_part_of_a_router_is_not_loaded(fitted, encoder, tmp_path):
    fitted("ridge").save(tmp_path)
    (tmp_path / "model.skops").unlink()
    with pytest.raises(ConfigError, match="model: is missing from this fitted router; fit it anew"):
        type(fitted("ridge")).load(tmp_path, encoder)


def test_readable_features_of_another_version_are_not_loaded(fitted, encoder, tmp_path):
    fitted("llmrank").save(tmp_path)
    facts = (tmp_path / FACTS_FILE).read_text()
    (tmp_path / FACTS_FILE).write_text(facts.replace("starts with who", "starts with whom"))
    with pytest.raises(ConfigError, match="feature_names: are those of another version; fit it anew"):
        type(fitted("llmrank")).load(tmp_path, encoder)


# ---------------------------------------------------------------- bounds


def test_a_random_choice_depends_on_the_seed_and_the_questions_words_alone(encoder):
    routers = [ROUTERS["random"].make() for _ in range(2)]
    for seed, router in enumerate(routers):
        router.fit(TRAIN, encoder, seed=seed)
    texts = [f"question {n}" for n in range(3000)]
    shouted = [text.upper() + "?" for text in texts[:9]]
    drawn = routers[0].utilities(texts, 0.0)
    assert (routers[0].utilities(shouted, 0.9) == drawn[:9]).all()
    assert (routers[1].utilities(texts, 0.0).argmax(axis=1) != drawn.argmax(axis=1)).mean() > 0.5
    assert np.bincount(drawn.argmax(axis=1)) / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_best_constant_changes_with_the_weight_of_money(fitted):
    first = [int(fitted("best-constant").utilities(["any"], alpha).argmax()) for alpha in (0.0, 1.0)]
    assert [TRAIN.candidates[column] for column in first] == ["sage", "poet"]


def test_cheapest_and_dearest_take_the_better_one_of_equals_and_then_the_next(encoder):
    table = table_of(["a", "b"], np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]), ["nq", "nq"])
    table = replace(table, raw_cost=np.tile([5.0, 5.0, 9.0], (2, 1)))
    orders = {}
    for name in ("cheapest", "dearest"):
        router = ROUTERS[name].make()
        router.fit(table, encoder, seed=0)
        orders[name] = np.argsort(-router.utilities(["any"], 0.5)[0]).tolist()
    assert orders == {"cheapest": [1, 0, 2], "dearest": [2, 1, 0]}


def test_a_data_set_is_that_of_the_nearest_training_question(encoder):
    table = table_of(
        ["who sang Bosen", "how much is 12 times 9"], np.array([[1.0, 0.0], [0.0, 1.0]]), ["songs", "sums"]
    )
    router = ROUTERS["per-data-set"].make()
    router.fit(table, encoder, seed=0)
    assert router.quality(["who sang Kedor", "how much is 9 times 12"]).tolist() == [[1.0, 0.0], [0.0, 1.0]]


# ---------------------------------------------------------------- beside direct scripts


class DrawnVectors:
    """Each text somewhere else, so that no two neighbours are equally near."""

    name = "drawn"

    def encode(self, texts):
        drawn = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in drawn], dtype=np.float32)


def test_knn_is_what_scikit_learn_says():
    from sklearn.neighbors import KNeighborsRegressor

    encoder, router = DrawnVectors(), ROUTERS["knn"].make()
    router.fit(TRAIN, encoder, seed=0)
    direct = KNeighborsRegressor(5, metric="cosine", algorithm="brute").fit(encoder.encode(TRAIN.texts), TRAIN.score)
    assert router.quality(TEST.texts) == pytest.approx(direct.predict(encoder.encode(TEST.texts)), abs=1e-6)


def test_mlp_is_what_scikit_learn_says(fitted, encoder):
    from sklearn.neural_network import MLPRegressor

    direct = MLPRegressor(
        hidden_layer_sizes=(128, 64),
        activation="relu",
        solver="adam",
        learning_rate_init=1e-3,
        max_iter=500,
        random_state=0,
    ).fit(encoder.encode(TRAIN.texts), TRAIN.score)
    assert (fitted("mlp").quality(TEST.texts) == direct.predict(encoder.encode(TEST.texts))).all()


def test_svm_is_what_scikit_learn_says(fitted, encoder):
    from sklearn.svm import SVR

    inputs, asked = encoder.encode(TRAIN.texts), encoder.encode(TEST.texts)
    direct = [SVR(kernel="rbf", C=1.0).fit(inputs, TRAIN.score[:, n]).predict(asked) for n in range(3)]
    assert (fitted("svm").quality(TEST.texts) == np.column_stack(direct)).all()


def test_carrots_cost_is_that_of_the_question(encoder):
    """Verses cost ten times as much as sums, whoever writes them, and only CARROT sees that."""
    is_verse = np.array([question.data_source == "verses" for question in TRAIN.questions])
    table = replace(TRAIN, raw_cost=TRAIN.raw_cost * np.where(is_verse, 10, 1)[:, None])
    for name in ("carrot-knn", "carrot-ridge"):
        router = ROUTERS[name].make()
        router.fit(table, encoder, seed=0)
        of_verses, of_sums = router.utilities(TRAIN.texts[:2], 1.0)
        assert (of_verses < of_sums).all()
