"""FrugalGPT (Chen, Zaharia, Zou 2023, arXiv:2305.05176, section 3): candidates in order of price, and a scorer that
reads question and reply and stops the cascade where it is sure enough.

Which candidates are in the chain, three at most as in the paper, and their thresholds are chosen on training data, by
what the scorer says of replies that it has not seen. The paper fits them to a budget; here the budget is a cost weight.
The scorer is a logistic regression on the vectors of question and reply in the place of DistilBERT: it is fitted in
seconds on a CPU, and sees less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.methods.cascades.cascade import Decision, best_setting, check_replies, in_order_of_price
from router_r1.methods.cascades.reply_features import ReplyScorers
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.recorded.replies import RecordedReplies
from router_r1.rollout.policy import Dispatcher
from router_r1.scores import full_cost

LONGEST = 3
_QUANTILES = np.linspace(0.0, 1.0, 11)
_ROUNDS = 2


@dataclass(frozen=True)
class Chain:
    """Whom to ask in which order, and how sure one must be to stop."""

    columns: tuple[int, ...]
    thresholds: tuple[float, ...]
    """Of all but the last, whose reply is taken in any case."""


class FrugalGPT:
    """See the module."""

    def check(self, train: RecordedReplies) -> None:
        check_replies(train, "FrugalGPT")

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        self.check(train)
        table = train.table()
        self.candidates, self._order, self._full = train.candidates, in_order_of_price(train), full_cost(table)
        replies = [[q.samples[name][0].text for q in train.questions] for name in train.candidates]
        first = np.array([[q.samples[name][0].score for name in train.candidates] for q in train.questions])
        self._scorers, self._sure = ReplyScorers.fit(encoder, table.texts, replies, first > 0.5, seed=seed)
        self._score, self._raw_cost = first, table.raw_cost

    def at(self, alpha: float) -> ReadyFrugalGPT:
        chains = [
            self._with_thresholds(columns, alpha)
            for length in range(1, min(LONGEST, len(self._order)) + 1)
            for columns in combinations(self._order, length)
        ]
        best = best_setting(chains, self._outcome, alpha, self._full)
        return ReadyFrugalGPT(self.candidates, best, self._scorers)

    def _with_thresholds(self, columns: tuple[int, ...], alpha: float) -> Chain:
        """The best thresholds for a chain: one after another, from the last to the first, and once more."""
        levels = [[*np.quantile(self._sure[:, column], _QUANTILES), np.inf] for column in columns[:-1]]
        chain = Chain(columns, tuple(float(np.median(own)) for own in levels))
        for _ in range(_ROUNDS):
            for place in reversed(range(len(levels))):
                others = [_with(chain, place, float(level)) for level in levels[place]]
                chain = best_setting(others, self._outcome, alpha, self._full)
        return chain

    def _outcome(self, chain: Chain) -> tuple[np.ndarray, np.ndarray]:
        """Score and raw cost of each training question."""
        waiting = np.ones(len(self._score), dtype=bool)
        score, raw_cost = np.zeros(len(waiting)), np.zeros(len(waiting))
        for column, threshold in zip(chain.columns, (*chain.thresholds, -np.inf), strict=True):
            raw_cost += waiting * self._raw_cost[:, column]
            taken = waiting & (self._sure[:, column] >= threshold)
            score[taken] = self._score[taken, column]
            waiting &= ~taken
        return score, raw_cost

    def save(self, folder: Path) -> None:
        facts = {"candidates": list(self.candidates), "order": self._order, "full": self._full}
        arrays = {"sure": self._sure, "score": self._score, "raw_cost": self._raw_cost}
        write_fitted(folder, facts, arrays | self._scorers.arrays())

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        facts, arrays, _ = read_fitted(folder)
        self = cls()
        self.candidates, self._order, self._full = tuple(facts["candidates"]), facts["order"], facts["full"]
        self._scorers = ReplyScorers.of_arrays(encoder, arrays)
        self._sure, self._score, self._raw_cost = arrays["sure"], arrays["score"], arrays["raw_cost"]
        return self


def _with(chain: Chain, place: int, threshold: float) -> Chain:
    thresholds = [*chain.thresholds]
    thresholds[place] = threshold
    return Chain(chain.columns, tuple(thresholds))


@dataclass(frozen=True)
class ReadyFrugalGPT:
    """A chain, and who says whether a reply will do. A failed route is passed over."""

    candidates: Sequence[str]
    chain: Chain
    scorers: ReplyScorers

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        asked, sure = [], []
        for column, threshold in zip(self.chain.columns, (*self.chain.thresholds, -np.inf), strict=True):
            route = await routes.route(self.candidates[column], question, trajectory_id=request_id)
            asked.append(route)
            sure.append(-np.inf if route.failed else self.scorers(question, route.reply, column))
            if not route.failed and sure[-1] >= threshold:
                return Decision(tuple(asked), len(asked) - 1)
        best = int(np.argmax(sure))  # the last one failed: the surest of the others
        return Decision(tuple(asked), None if asked[best].failed else best)
