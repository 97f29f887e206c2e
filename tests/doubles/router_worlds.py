"""Small tables of scores for tests of routers, in which it is known who is good at what."""

from __future__ import annotations

import numpy as np

from router_r1.scores import ScoredQuestion, ScoreTable

CANDIDATES = ("poet", "clerk", "sage")
"""Good at verses, at sums, and at both but never the best; the sage costs ten times as much."""
RAW_COST = (10.0, 20.0, 150.0)
RIGHT = {"verses": (0.95, 0.05, 0.6), "sums": (0.05, 0.95, 0.6)}
"""How often each is right on each kind."""

POETS = (
    "Basho Blake Burns Dante Donne Frost Goethe Heine Homer Keats Li Poe Pound Rilke Rumi Sappho Shelley Yeats".split()
)
THINGS = (
    "autumn bridges clouds doves gardens harbours islands lanterns mirrors nightingales oceans rivers roses".split()
)


def verses(rng: np.random.Generator) -> str:
    things, poets = rng.choice(THINGS, size=2), rng.choice(POETS, size=2)
    return f"who wrote the poem about {' and '.join(things)}, {' or '.join(poets)}"


def sums(rng: np.random.Generator) -> str:
    first, second, third = rng.integers(10, 10_000, size=3)
    return f"Calculate {first} + {second} * {third}. How much is left in total?"


def two_kinds(num_questions: int, *, seed: int = 0) -> ScoreTable:
    """Questions of both kinds, with scores of 0 and 1 drawn by `RIGHT`."""
    rng = np.random.default_rng(seed)
    kinds = [("verses", "sums")[n % 2] for n in range(num_questions)]
    texts = [verses(rng) if kind == "verses" else sums(rng) for kind in kinds]
    chance = np.array([RIGHT[kind] for kind in kinds])
    score = (rng.random(chance.shape) < chance).astype(float)
    return table_of(texts, score, kinds)


def table_of(texts: list[str], score: np.ndarray, kinds: list[str]) -> ScoreTable:
    questions = tuple(
        ScoredQuestion(f"q{n}", kind, text) for n, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    )
    names = CANDIDATES[: score.shape[1]]
    raw_cost = np.tile(RAW_COST[: len(names)], (len(texts), 1))
    offered = np.ones(score.shape, dtype=bool)
    return ScoreTable(questions, names, score, raw_cost, raw_cost * 1e-6, offered)


def accuracy(utilities: np.ndarray, table: ScoreTable) -> float:
    """Mean score of the candidates with the greatest utilities."""
    return float(table.score[np.arange(len(table)), utilities.argmax(axis=1)].mean())
