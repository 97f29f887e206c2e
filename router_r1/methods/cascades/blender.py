"""LLM-Blender (Jiang, Ren, Lin 2023, arXiv:2306.02561): all candidates are asked, their replies are ranked pair by
pair, and the best three are fused by a generative model.

The ranker is a logistic regression on the difference of two replies' features (vectors of question and reply and their
product) in the place of the paper's cross-encoder; a reply's rank is the sum of its chances against all others, as the
paper's MaxLogits is of logits. The fuser is a candidate of the pool that is shown the question and the three replies,
in the place of a Flan-T5 trained for it; without one, and where replies are recorded, which nobody can fuse, the best
reply is taken. All are asked whatever money counts, so that there is one point instead of a curve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.methods.cascades.cascade import Decision, check_replies
from router_r1.methods.cascades.reply_features import Logistic, reply_features
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.recorded.replies import RecordedReplies
from router_r1.rollout.policy import Dispatcher

NUM_FUSED = 3


class Blender:
    """See the module.

    Args:
        fuser: the candidate that fuses; None: the best reply is taken as it is.
    """

    def __init__(self, fuser: str | None = None) -> None:
        self.fuser = fuser

    def check(self, train: RecordedReplies) -> None:
        check_replies(train, "LLM-Blender")

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        self.check(train)
        self.candidates, self._encoder = train.candidates, encoder
        vectors = encoder.encode([question.text for question in train.questions])
        own = {
            name: reply_features(encoder, vectors, [q.samples[name][0].text for q in train.questions])
            for name in train.candidates
        }
        score = {name: np.array([q.samples[name][0].score for q in train.questions]) for name in train.candidates}
        differences, wins = [np.zeros((0, own[self.candidates[0]].shape[1]))], [np.zeros(0, dtype=bool)]
        for one, other in permutations(train.candidates, 2):
            told = score[one] != score[other]
            differences.append((own[one] - own[other])[told])
            wins.append((score[one] > score[other])[told])
        # Every pair is there both ways round, so that without an intercept p(a, b) = 1 - p(b, a).
        self._ranker = Logistic.fit(np.vstack(differences), np.concatenate(wins), intercept=False)

    def at(self, alpha: float) -> ReadyBlender:
        """The same for every alpha."""
        return ReadyBlender(self.candidates, self._encoder, self._ranker, self.fuser)

    def save(self, folder: Path) -> None:
        facts = {"candidates": list(self.candidates), "fuser": self.fuser, "bias": self._ranker.bias}
        write_fitted(folder, facts, {"weights": self._ranker.weights})

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        facts, arrays, _ = read_fitted(folder)
        self = cls(facts["fuser"])
        self.candidates, self._encoder = tuple(facts["candidates"]), encoder
        self._ranker = Logistic(arrays["weights"], facts["bias"])
        return self


@dataclass(frozen=True, eq=False)
class ReadyBlender:
    """Everybody is asked at once; failed routes are not ranked."""

    candidates: Sequence[str]
    encoder: Encoder
    ranker: Logistic
    fuser: str | None = None

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        asking = (routes.route(name, question, trajectory_id=request_id) for name in self.candidates)
        asked = tuple(await asyncio.gather(*asking))
        there = [number for number, route in enumerate(asked) if not route.failed]
        if not there:
            return Decision(asked, None)
        ranks = self.ranks(question, [asked[number].reply for number in there])
        best = [there[place] for place in np.argsort(-ranks, kind="stable")]
        if self.fuser is None:
            return Decision(asked, best[0])
        replies = [asked[number].reply for number in best[:NUM_FUSED]]
        fused = await routes.route(self.fuser, fusion_prompt(question, replies), trajectory_id=request_id)
        return Decision((*asked, fused), best[0], text=None if fused.failed else fused.reply)

    def ranks(self, question: str, replies: Sequence[str]) -> np.ndarray:
        """Sum of each reply's chances against all others; the highest is the best. [num_replies]"""
        vectors = np.repeat(self.encoder.encode([question]), len(replies), axis=0)
        features = reply_features(self.encoder, vectors, replies)
        pairs = features[:, None, :] - features[None, :, :]  # [num_replies, num_replies, num_features]
        chances = self.ranker(pairs.reshape(-1, features.shape[1])).reshape(len(replies), -1)
        return np.asarray(chances.sum(axis=1) - np.diag(chances))


def fusion_prompt(question: str, replies: Sequence[str]) -> str:
    """What the fuser is asked."""
    listed = "\n\n".join(f"Answer {number}: {reply.strip()}" for number, reply in enumerate(replies, start=1))
    return (
        "Several models answered the question below, the most trustworthy first. Write one answer from theirs: keep "
        "what is right, leave out what is not, and end with the final answer.\n\n"
        f"Question: {question}\n\n{listed}\n\nAnswer:"
    )
