"""A single-round router of your own: long questions go to the better candidate, short ones to the cheaper one.

    python examples/custom_router.py

fits it on a small table of scores and shows, for three weights of money, what it would ask and what that scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.encoders import load_encoder
from router_r1.methods.fitted import FittedRouter
from router_r1.methods.single_round import chosen
from router_r1.scores import ScoredQuestion, ScoreTable


class ByLength(FittedRouter):
    """The mean score of each candidate on short questions, and on long ones.

    Args:
        long: words from which on a question is long.
    """

    FACTS, ARRAYS = ("long",), ("mean_score",)  # all that `quality` needs, so that it can be saved and loaded

    def __init__(self, long: int = 8) -> None:
        self.long = long

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        is_long = self._is_long(train.texts)
        parts = [train.score[is_long == kind] for kind in (False, True)]
        self.mean_score = np.array([(part if len(part) else train.score).mean(axis=0) for part in parts])

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return self.mean_score[self._is_long(questions).astype(int)]

    def _is_long(self, questions: Sequence[str]) -> np.ndarray:
        return np.array([len(question.split()) >= self.long for question in questions])


def small_table() -> ScoreTable:
    """Two candidates on four questions; the large one costs ten times as much."""
    texts = (
        "Who sang Bosen?",
        "What is the capital of France?",
        "Who married the person who founded the company that made Bosen?",
        "In which city was the author of the novel that won in 1987 born?",
    )
    questions = tuple(ScoredQuestion(str(number), "example", text) for number, text in enumerate(texts))
    score = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    raw_cost = np.tile([10.0, 100.0], (4, 1))  # micro-USD of output
    return ScoreTable(questions, ("Small", "Large"), score, raw_cost, raw_cost * 1e-6, np.ones((4, 2), dtype=bool))


def main() -> None:
    table = small_table()
    router = ByLength()
    router.fit(table, load_encoder(), seed=0)
    for alpha in (0.0, 0.3, 0.9):
        asked = chosen(router.utilities(table.texts, alpha), table.offered)
        score = table.score[np.arange(len(table)), asked].mean()
        names = ", ".join(table.candidates[column] for column in asked)
        print(f"alpha {alpha:.1f}: {names}; mean score {score:.2f}")


if __name__ == "__main__":
    main()
