"""What candidates said to known questions, and how good it was: the samples of `scores`, as something that answers.

Invariants:

- every question has at least one sample of every candidate; scores are in [0, 1];
- ids are unique and, where there are replies, so are questions in their normal form;
- either all samples have a reply, or none has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from router_r1.datasets import MIN_SIMILARITY, QuestionIndex, normalise_question
from router_r1.errors import ConfigError
from router_r1.pool import Price
from router_r1.scores import Replies, Sample, ScoredQuestion, ScoreTable, read_samples
from router_r1.scores.formats.wide_json import read_wide_json
from router_r1.scores.prices import Prices, Pricing
from router_r1.scores.samples import checked_samples, replies_of, table_of


@dataclass(frozen=True)
class RecordedReply:
    """One sample of what one candidate said to one question."""

    text: str
    """"" where only the score is known."""
    score: float
    prompt_tokens: int
    completion_tokens: int
    raw_cost: float
    """Micro-USD of output."""
    spend_usd: float
    """USD of prompt and output."""


@dataclass(frozen=True)
class RecordedQuestion(ScoredQuestion):
    """A question, and what each candidate said to it."""

    samples: Mapping[str, tuple[RecordedReply, ...]] = field(default_factory=dict)
    """Candidate -> one reply or more, in the order in which they were drawn."""

    def sample(self, candidate: str, number: int) -> RecordedReply:
        """The sample of that number; behind the last one comes the first again."""
        samples = self.samples[candidate]
        return samples[number % len(samples)]


@dataclass(frozen=True, eq=False)
class RecordedReplies:
    """All that was recorded.

    Raises:
        ConfigError: it breaks an invariant of this module.
    """

    questions: tuple[RecordedQuestion, ...]
    candidates: tuple[str, ...]
    source: str = "recorded replies"
    """Where it was read, for error texts."""
    min_similarity: float = MIN_SIMILARITY
    """Of a question to one that is known, to count as the same (`datasets.nearest`)."""

    def __post_init__(self) -> None:
        if not self.questions:
            raise ConfigError(self.source, "question", None, "there is none")
        ids: set[str] = set()
        for question in self.questions:
            if question.id in ids:
                raise ConfigError(self.source, "id", question.id, "names two questions; give each its own")
            ids.add(question.id)
            for candidate in self.candidates:
                if not question.samples.get(candidate):
                    remedy = f"has nothing of {candidate}; every candidate must have answered every question"
                    raise ConfigError(self.source, "question", question.id, remedy)
        spoken = {bool(reply.text) for q in self.questions for samples in q.samples.values() for reply in samples}
        if len(spoken) > 1:
            silent = next(q.id for q in self.questions if any(not r.text for s in q.samples.values() for r in s))
            raise ConfigError(self.source, "reply", silent, "is empty for this question and not for others")
        if spoken == {True} and len(self._by_text) < len(self.questions):
            twice = next(q for q in self.questions if self._by_text[normalise_question(q.text)] is not q)
            raise ConfigError(self.source, "question", twice.id, "is asked a second time here; keep one of the two")

    @property
    def has_replies(self) -> bool:
        """Whether it is known what the candidates said, and not only how good it was."""
        return bool(self.questions[0].samples[self.candidates[0]][0].text)

    @cached_property
    def num_samples(self) -> dict[str, int]:
        """Candidate -> so many samples every question has of it at least."""
        return {name: min(len(question.samples[name]) for question in self.questions) for name in self.candidates}

    @cached_property
    def _by_text(self) -> dict[str, RecordedQuestion]:
        by_text: dict[str, RecordedQuestion] = {}
        for question in self.questions:
            by_text.setdefault(normalise_question(question.text), question)
        return by_text

    @cached_property
    def _index(self) -> QuestionIndex:
        return QuestionIndex(self._by_text, self.min_similarity)

    def find(self, query: str) -> RecordedQuestion | None:
        """The known question that was meant; None if none is alike enough."""
        found = self._index.find(normalise_question(query))
        return None if found is None else self._by_text[found]

    def only(self, questions: Iterable[RecordedQuestion]) -> RecordedReplies:
        """Some of its questions."""
        return RecordedReplies(tuple(questions), self.candidates, self.source, self.min_similarity)

    def with_ids(self, table: ScoreTable) -> RecordedReplies:
        """The questions of a table made of it, in the table's order."""
        by_id = {question.id: question for question in self.questions}
        return self.only(by_id[question.id] for question in table.questions)

    def with_scores_of(self, others: Sequence[int]) -> RecordedReplies:
        """The same replies, each with the score of one to another question: a control, where no reply tells its score.

        Args:
            others: for each question the number of the other one.
        """

        def swapped(question: RecordedQuestion, other: RecordedQuestion) -> RecordedQuestion:
            samples = {
                name: tuple(replace(reply, score=other.sample(name, n).score) for n, reply in enumerate(own))
                for name, own in question.samples.items()
            }
            return replace(question, samples=samples)

        pairs = zip(self.questions, others, strict=True)
        return self.only(swapped(question, self.questions[other]) for question, other in pairs)

    def table(self) -> ScoreTable:
        """Scores and costs, each the mean over a candidate's samples."""

        def cells(value: Callable[[RecordedReply], float]) -> np.ndarray:
            rows = [
                [np.mean([value(reply) for reply in question.samples[name]]) for name in self.candidates]
                for question in self.questions
            ]
            return np.array(rows, dtype=float)  # [num_questions, num_candidates]

        return ScoreTable(
            self.questions,
            self.candidates,
            score=cells(lambda reply: reply.score),
            raw_cost=cells(lambda reply: reply.raw_cost),
            spend_usd=cells(lambda reply: reply.spend_usd),
            offered=np.ones((len(self.questions), len(self.candidates)), dtype=bool),
            source=self.source,
        )


# ---------------------------------------------------------------- reading


def load_recorded(
    path: str | Path, prices: Mapping[str, Price] | None = None, *, min_similarity: float = MIN_SIMILARITY
) -> RecordedReplies:
    """Read a file of recorded replies: a file of scores (parquet), or JSON lines (`scores.formats.wide_json`).

    Args:
        prices: of the candidates, in USD per 1M tokens; others of the file are left out. Lengths that the file does not
            count are what `scores.prices` makes of them. None: all candidates, at the costs that the file has.

    Raises:
        ConfigError: it cannot be read, something in it is wrong, there is neither a price nor a cost, or a candidate
            with a price is not in it.
    """
    path = Path(path)
    pricing = None if prices is None else Pricing(Prices.of_candidates(prices))
    if path.suffix == ".parquet":
        samples = read_samples(path).samples
        if prices is not None and pricing is not None:
            samples = [_priced(path, sample, pricing) for sample in samples if sample.candidate in prices]
        rows = [(str(path), sample) for sample in samples]
    elif prices is None or pricing is None:
        raise ConfigError(path, "", None, "has no costs, so prices are needed; give a pool file that has them")
    else:
        rows = list(read_wide_json(path, pricing, only=prices))
    met = {sample.candidate for _, sample in rows}
    for name in prices or ():
        if name not in met:
            raise ConfigError(path, "candidate", name, "has said nothing here; leave it out, or give what it said")
    checked = checked_samples(rows, path)
    return recorded_of(table_of(checked, path), replies_of(checked.samples), min_similarity=min_similarity)


def _priced(path: Path, sample: Sample, pricing: Pricing) -> Sample:
    cost = pricing.cost(
        path,
        sample.candidate,
        sample.question,
        reply=sample.reply,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
    )
    return replace(sample, **cost.as_columns())


def recorded_of(table: ScoreTable, replies: Replies, *, min_similarity: float = MIN_SIMILARITY) -> RecordedReplies:
    """The replies behind a table of scores: its questions and candidates, in its order.

    Args:
        replies: as they stand in the file of scores; what failed is left out, and a reply that was not kept is "".

    Raises:
        ConfigError: they break an invariant of this module.
    """

    def samples(identifier: str, candidate: str) -> tuple[RecordedReply, ...]:
        own = replies.get((identifier, candidate), ())
        return tuple(_of_sample(sample) for sample in own if not sample.failed)

    questions = tuple(
        RecordedQuestion(q.id, q.data_source, q.text, q.golden_answers, {c: samples(q.id, c) for c in table.candidates})
        for q in table.questions
    )
    return RecordedReplies(questions, table.candidates, table.source, min_similarity)


def _of_sample(sample: Sample) -> RecordedReply:
    """Tokens that were not counted are 0: what the reply cost is known."""
    tokens = sample.prompt_tokens or 0, sample.completion_tokens or 0
    return RecordedReply(sample.reply or "", sample.score, *tokens, sample.raw_cost, sample.spend_usd)
