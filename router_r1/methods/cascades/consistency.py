"""Answer-consistency cascade (Yue et al. 2023, arXiv:2310.03094): the cheap candidate is asked several times at a
temperature; where its answers agree the most frequent one is taken, else the strong candidate is asked.

Answers agree if the numbers that they come to are the same, or else the words (`rewards.outcome.normalize_answer`).
Three samples are drawn, rather than the paper's twenty. How many must agree, and who is strong, is chosen on training
data at the cost weight. The pool must give the cheap candidate a temperature, or all samples are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.methods.cascades.cascade import Decision, best_setting, check_replies, in_order_of_price
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.protocol import Route
from router_r1.recorded.conclusion import conclusion_of
from router_r1.recorded.replies import RecordedReplies
from router_r1.rewards.outcome import normalize_answer
from router_r1.rollout.policy import Dispatcher
from router_r1.scores import full_cost

NUM_SAMPLES = 3


@dataclass(frozen=True)
class Agreement:
    """How many of the samples must agree, and who is asked where they do not."""

    votes: int
    strong: int
    """The candidate's column; it is the cheap one where nobody else is asked."""


def most_frequent(replies: Sequence[str]) -> tuple[int, int]:
    """(the number of the first reply with the most frequent answer, how many have it)."""
    answers = [conclusion_of(reply) or normalize_answer(reply) for reply in replies]
    answer, votes = Counter(answers).most_common(1)[0]
    return answers.index(answer), votes


class AnswerConsistency:
    """See the module.

    Args:
        num_samples: of the cheap candidate.
    """

    def __init__(self, num_samples: int = NUM_SAMPLES) -> None:
        self.num_samples = num_samples

    def check(self, train: RecordedReplies) -> None:
        cheap = train.candidates[in_order_of_price(train)[0]]
        check_replies(train, "the answer-consistency cascade", samples=self.num_samples, of=cheap)

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        self.check(train)
        self.candidates, self._cheap = train.candidates, in_order_of_price(train)[0]
        name = train.candidates[self._cheap]
        table = train.table()
        self._full, self._score, self._raw_cost = full_cost(table), table.score, table.raw_cost
        own = [question.samples[name][: self.num_samples] for question in train.questions]
        voted = [most_frequent([reply.text for reply in replies]) for replies in own]
        self._votes = np.array([votes for _, votes in voted])
        self._voted_score = np.array([replies[first].score for replies, (first, _) in zip(own, voted, strict=True)])
        self._samples_cost = np.array([sum(reply.raw_cost for reply in replies) for replies in own])

    def at(self, alpha: float) -> ReadyAnswerConsistency:
        others = [column for column in range(len(self.candidates)) if column != self._cheap]
        never = Agreement(0, self._cheap)
        settings = [never, *(Agreement(v, o) for v in range(2, self.num_samples + 2) for o in others)]
        best = best_setting(settings, self._outcome, alpha, self._full)
        return ReadyAnswerConsistency(self.candidates, self._cheap, self.num_samples, best)

    def _outcome(self, agreement: Agreement) -> tuple[np.ndarray, np.ndarray]:
        agrees = self._votes >= agreement.votes
        strong = agreement.strong
        score = np.where(agrees, self._voted_score, self._score[:, strong])
        return score, self._samples_cost + np.where(agrees, 0.0, self._raw_cost[:, strong])

    def save(self, folder: Path) -> None:
        facts = {
            "candidates": list(self.candidates),
            "cheap": self._cheap,
            "num_samples": self.num_samples,
            "full": self._full,
        }
        arrays = {
            "score": self._score,
            "raw_cost": self._raw_cost,
            "votes": self._votes,
            "voted_score": self._voted_score,
            "samples_cost": self._samples_cost,
        }
        write_fitted(folder, facts, arrays)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        facts, arrays, _ = read_fitted(folder)
        self = cls(facts["num_samples"])
        self.candidates, self._cheap, self._full = tuple(facts["candidates"]), facts["cheap"], facts["full"]
        self._score, self._raw_cost, self._votes = arrays["score"], arrays["raw_cost"], arrays["votes"]
        self._voted_score, self._samples_cost = arrays["voted_score"], arrays["samples_cost"]
        return self


@dataclass(frozen=True)
class ReadyAnswerConsistency:
    """The cheap candidate's column, how often it is asked, and what is made of that."""

    candidates: Sequence[str]
    cheap: int
    num_samples: int
    agreement: Agreement

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        asked: list[Route] = []
        for _ in range(self.num_samples):
            asked.append(await routes.route(self.candidates[self.cheap], question, trajectory_id=request_id))
        said = [number for number, route in enumerate(asked) if not route.failed]
        first, votes = most_frequent([asked[number].reply for number in said]) if said else (0, -1)
        if votes < self.agreement.votes and self.agreement.strong != self.cheap:
            strong = self.candidates[self.agreement.strong]
            asked.append(await routes.route(strong, question, trajectory_id=request_id))
            if not asked[-1].failed:
                return Decision(tuple(asked), len(asked) - 1)
        return Decision(tuple(asked), said[first] if said else None)
