"""What every router that is a torch network must do: learn, fall back, repeat itself, and be what its file says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from router_r1.errors import ConfigError  # noqa: E402
from router_r1.methods.encoders import HashedWords  # noqa: E402
from router_r1.methods.routers import ROUTERS  # noqa: E402
from router_r1.methods.single_round import SingleRoundRouter, chosen  # noqa: E402
from router_r1.scores import ScoredQuestion, ScoreTable  # noqa: E402

SLOW = {"graphrouter"}  # 2,000 steps over the whole graph
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name, entry in ROUTERS.items()
    if "torch" in entry.needs
]
ENCODER = HashedWords()
RIGHT = np.array([[0.9, 0.2, 0.7], [0.1, 0.9, 0.7]])
"""How often small, large and all-round are right: on sums, and on singers. All-round is the best for all."""
COSTS = np.array([10.0, 90.0, 50.0])


def kinds(count: int) -> np.ndarray:
    """0 for a sum, 1 for a singer. [count]"""
    return np.arange(count) % 2


def sums_and_singers(count: int, *, seed: int) -> ScoreTable:
    lot = np.random.default_rng(seed)
    texts = [
        f"Compute {lot.integers(99)} plus {lot.integers(99)}" if kind == 0 else f"Who sang song {lot.integers(99)}?"
        for kind in kinds(count)
    ]
    questions = tuple(ScoredQuestion(f"q{n}", "mixed", text) for n, text in enumerate(texts))
    score = (lot.uniform(size=(count, 3)) < RIGHT[kinds(count)]).astype(float)
    costs = np.tile(COSTS, (count, 1))
    offered = np.ones_like(score, dtype=bool)
    return ScoreTable(questions, ("small", "large", "all-round"), score, costs, costs * 1e-6, offered)


def shuffled(table: ScoreTable) -> ScoreTable:
    """Every question with the scores of another one."""
    score = np.random.default_rng(0).permutation(table.score)
    return ScoreTable(
        table.questions, table.candidates, score, table.raw_cost, table.spend_usd, table.offered, table.source
    )


TRAIN, TEST = sums_and_singers(400, seed=1), sums_and_singers(60, seed=2)


def fit(name: str, table: ScoreTable = TRAIN, seed: int = 0) -> SingleRoundRouter:
    router = ROUTERS[name].make()
    router.fit(table, ENCODER, seed=seed)
    return router


@cache
def fitted(name: str) -> SingleRoundRouter:
    return fit(name)


def expected_score(router: SingleRoundRouter) -> float:
    """On the test questions, without the luck of single answers."""
    asked = chosen(router.utilities(TEST.texts, 0.0), TEST.offered)
    return float(RIGHT[kinds(len(TEST)), asked].mean())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_whom_to_ask_what(name):
    assert expected_score(fitted(name)) > 0.8  # all-round alone 0.7, the best for each kind 0.9


@pytest.mark.slow  # every network is fitted anew
@pytest.mark.parametrize("name", NAMES)
def test_from_shuffled_scores_it_learns_little_but_who_is_best_for_all(name):
    assert 0.6 < expected_score(fit(name, shuffled(TRAIN))) < 0.78


@pytest.mark.parametrize("name", NAMES)
def test_where_only_money_counts_it_asks_the_cheapest(name):
    assert set(chosen(fitted(name).utilities(TEST.texts, 1.0), TEST.offered)) == {0}


@pytest.mark.slow  # twice
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_router_and_leaves_the_callers_random_numbers_and_threads(name):
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = fit(name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert np.array_equal(again.utilities(TEST.texts, 0.2), fitted(name).utilities(TEST.texts, 0.2))


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_router_is_the_one_that_was_saved(name, tmp_path):
    router = fitted(name)
    router.save(tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.suffix not in (".json", ".safetensors")]
    loaded = type(router).load(tmp_path, ENCODER)
    for alpha in (0.0, 0.4):
        assert np.array_equal(loaded.utilities(TEST.texts, alpha), router.utilities(TEST.texts, alpha))


def test_a_router_is_not_loaded_with_another_encoder(tmp_path):
    fitted("bert").save(tmp_path)
    with pytest.raises(
        ConfigError, match="encoder = 'words-64': is not the encoder that it was fitted with, words-384"
    ):
        type(fitted("bert")).load(tmp_path, HashedWords(64))


def test_a_file_of_another_router_is_refused(tmp_path):
    fitted("bert").save(tmp_path)
    with pytest.raises(ConfigError, match="holds no fitted IrtRouter"):
        type(fitted("irt-router")).load(tmp_path, ENCODER)
