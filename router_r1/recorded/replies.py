"""A file of what candidates said to known questions, and how good it was.

Two layouts are read:

- JSON lines, also gzipped, one question a line: `id`, `question`, `candidates: {name: {score, reply}}`, and optionally
  `task`, `golden_answers` and, for a candidate, `prompt_tokens` and `completion_tokens`;
- parquet, one row per (question, candidate, sample), the file that `router-r1 scores collect` writes: `id`,
  `data_source`, `question`, `candidate`, `score`, and optionally `golden_answers`, `sample`, `reply`, the tokens,
  `raw_cost`, `spend_usd` and `failed`. What failed is left out.

Invariants of what was read:

- every question has at least one sample of every candidate; scores are in [0, 1];
- ids are unique and, where there are replies, so are questions in their normal form;
- either all samples have a reply, or none has.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from router_r1.datasets import MIN_SIMILARITY, QuestionIndex, normalise_question
from router_r1.errors import ConfigError, config_error
from router_r1.pool import Price
from router_r1.routing.replies import estimate_tokens
from router_r1.scores import Replies, Sample, ScoredQuestion, ScoreTable


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

Prices = Mapping[str, Price]
"""Candidate -> USD per 1M tokens."""
_Tokens = Annotated[int, Field(ge=0)]
_Money = Annotated[float, Field(ge=0)]


class _Row(BaseModel):
    """One (question, candidate, sample), whatever the layout; unknown columns are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: str = Field(coerce_numbers_to_str=True)
    data_source: str = Field(default="recorded", validation_alias=AliasChoices("data_source", "task"))
    question: str = Field(min_length=1)
    golden_answers: tuple[str, ...] = ()
    candidate: str
    sample: int = Field(default=0, ge=0)
    reply: str | None = None
    score: float = Field(ge=0, le=1)
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    raw_cost: _Money | None = None
    spend_usd: _Money | None = None
    failed: bool = False


def load_recorded(
    path: str | Path, prices: Prices | None = None, *, min_similarity: float = MIN_SIMILARITY
) -> RecordedReplies:
    """Read a file of recorded replies.

    Tokens that the file does not count are estimated as the route service does it: characters / 4, rounded up; where
    neither replies nor tokens are known, a reply counts as `UNKNOWN_TOKENS`.

    Args:
        prices: of the candidates; others of the file are left out. None: all of them, at the costs that the file has.

    Raises:
        ConfigError: it cannot be read, something in it is wrong, or there is neither a price nor a cost.
    """
    path = Path(path)
    places = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
    rows = [(place, row) for place, raw in places if (row := _checked(place, raw)) and not row.failed]
    samples: dict[str, dict[str, list[tuple[_Row, RecordedReply]]]] = {}
    for place, row in rows:
        if prices is None or row.candidate in prices:
            said = _reply(place, row, prices[row.candidate] if prices else None)
            samples.setdefault(row.id, {}).setdefault(row.candidate, []).append((row, said))
    questions = tuple(_question(path, by_candidate) for by_candidate in samples.values())
    met = dict.fromkeys(row.candidate for _, row in rows)
    candidates = tuple(met if prices is None else [name for name in prices if name in met])
    return RecordedReplies(questions, candidates, str(path), min_similarity)


def recorded_of(table: ScoreTable, replies: Replies) -> RecordedReplies:
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
    return RecordedReplies(questions, table.candidates, table.source)


def _of_sample(sample: Sample) -> RecordedReply:
    """Tokens that were not counted are 0: what the reply cost is known."""
    tokens = sample.prompt_tokens or 0, sample.completion_tokens or 0
    return RecordedReply(sample.reply or "", sample.score, *tokens, sample.raw_cost, sample.spend_usd)


UNKNOWN_TOKENS = 256
"""Of a reply of which nothing is known: then prices alone tell the candidates apart."""


def _question(path: Path, by_candidate: Mapping[str, list[tuple[_Row, RecordedReply]]]) -> RecordedQuestion:
    rows = [row for said in by_candidate.values() for row, _ in said]
    first = rows[0]
    for row in rows:
        if row.question != first.question:
            raise ConfigError(path, "id", row.id, "names two questions; give each its own")
    if len({(row.candidate, row.sample) for row in rows}) < len(rows):
        raise ConfigError(path, "sample", first.id, "is there twice for one candidate; number the samples from 0")
    samples = {
        name: tuple(reply for _, reply in sorted(said, key=lambda pair: pair[0].sample))
        for name, said in by_candidate.items()
    }
    return RecordedQuestion(first.id, first.data_source, first.question, first.golden_answers, samples)


def _reply(place: str, row: _Row, price: Price | None) -> RecordedReply:
    text = row.reply or ""
    prompt = estimate_tokens(row.question) if row.prompt_tokens is None else row.prompt_tokens
    completion = row.completion_tokens
    if completion is None:
        completion = estimate_tokens(text) if text else UNKNOWN_TOKENS
    if price is not None:
        raw_cost = completion * price.output
        return RecordedReply(text, row.score, prompt, completion, raw_cost, (prompt * price.input + raw_cost) * 1e-6)
    if row.raw_cost is None or row.spend_usd is None:
        remedy = "has no cost here, so its price is needed; give a pool file that has it"
        raise ConfigError(place, "candidate", row.candidate, remedy)
    return RecordedReply(text, row.score, prompt, completion, row.raw_cost, row.spend_usd)


def _checked(place: str, row: dict[str, Any]) -> _Row:
    try:
        return _Row.model_validate(row)
    except ValidationError as fault:
        raise config_error(place, fault) from None


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every candidate of every line."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                place = f"{path}:{number}"
                question = json.loads(line)
                if not isinstance(question, dict) or not isinstance(said := question.pop("candidates", None), dict):
                    raise ConfigError(place, "candidates", None, "is missing; give {name: {score, reply}}")
                for name, reply in said.items():
                    if not isinstance(reply, dict):
                        raise ConfigError(place, f"candidates.{name}", reply, "must be an object: {score, reply}")
                    yield place, {**question, "candidate": name, **reply}
    except OSError as fault:
        remedy = f"cannot be read ({fault.strerror or fault}); give a file of recorded replies"
        raise ConfigError(path, "", None, remedy) from None
    except (UnicodeDecodeError, EOFError, json.JSONDecodeError) as fault:
        raise ConfigError(path, "", None, f"is no JSON lines file: {fault}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as fault:
        raise ConfigError(path, "", None, f"cannot be read: {next(iter(str(fault).splitlines()), '')}") from None
    for number, row in enumerate(rows):
        yield f"{path} row {number}", {key: value for key, value in row.items() if value is not None}
