"""What one candidate said to one question, once, and what a set of such answers must be before anything is learned
from it.

Invariants of a checked set:

- a (question, candidate, sample) stands in it once; its numbers are finite and in their ranges;
- a question has one text, one data source and one set of golden answers, and is asked of every candidate;
- there are at least two candidates.

What failed counts nowhere: a mean is over the samples that were answered, and a question of which a candidate has
answered none is left out, as `candidate_answers` has it. With more than `MAX_FAILED_SHARE` of all samples failed there
is no table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from router_r1.candidate_answers import MAX_FAILED_SHARE
from router_r1.errors import ConfigError
from router_r1.scores.table import ScoredQuestion, ScoreTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One answer: a row of a file of scores, and its columns."""

    id: str
    """The question's, the same for all candidates; unique over the file."""
    data_source: str
    """The data set or task that it comes from."""
    question: str
    """As the candidates read it."""
    golden_answers: tuple[str, ...] = ()
    """() where only the scores are known."""
    candidate: str
    sample: int = 0
    """0, 1, ...: several answers of one candidate to one question."""
    offered: bool = True
    """Whether a router may ask it this question; scores of the others are there to learn from."""
    reply: str | None = None
    """Its words; None where they were not recorded."""
    score: float
    """By `metric`, in [0, 1]; 0 for a failed route."""
    f1: float | None = None
    """Token F1 of the whole reply; None where it was not measured."""
    metric: str
    """How the score was come by, such as `cover_em`: the reply holds a golden answer."""
    prompt_tokens: int | None = None
    """Of the question as it was sent; None where they were neither counted nor estimated."""
    completion_tokens: int | None = None
    """Of the reply."""
    raw_cost: float
    """Micro-USD of output."""
    spend_usd: float
    """USD of prompt and output, as if nothing had come from a cache."""
    latency_s: float | None = None
    """Seconds until the reply was there; None where it was not measured."""
    failed: bool = False
    """There was no reply: it says nothing of what the candidate knows."""

    @property
    def scored_question(self) -> ScoredQuestion:
        return ScoredQuestion(self.id, self.data_source, self.question, self.golden_answers)


Place = str
"""File and row, for error texts."""

Replies = Mapping[tuple[str, str], tuple[Sample, ...]]
"""(question's id, candidate) -> its samples, in order."""


@dataclass(frozen=True)
class CheckedSamples:
    """Samples that keep this module's invariants, in the order in which they were read."""

    samples: list[Sample]
    candidates: tuple[str, ...]
    """In the order in which they were met."""
    incomplete: int
    """Questions that were left out, since not every candidate was asked them."""
    repeated: int
    """Rows that said once more what another had said."""


def checked_samples(
    rows: Iterable[tuple[Place, Sample]], source: object, *, complete_only: bool = False
) -> CheckedSamples:
    """See that samples can be learned from and judged by.

    Args:
        source: the file or files, for error texts.
        complete_only: leave questions out that not every candidate was asked, rather than refuse them.

    Raises:
        ConfigError: they break an invariant of this module.
    """
    kept: dict[tuple[str, str, int], tuple[Place, Sample]] = {}
    questions: dict[str, tuple[Place, Sample]] = {}
    asked: dict[str, set[str]] = {}
    names: dict[str, None] = {}
    repeated = 0
    for place, sample in rows:
        _check_numbers(place, sample)
        first_place, first = questions.setdefault(sample.id, (place, sample))
        if not _is_same_question(sample, first):
            remedy = f"names another question at {first_place}; give each its own"
            raise ConfigError(place, "id", sample.id, remedy)
        key = (sample.id, sample.candidate, sample.sample)
        if key in kept:
            _check_same(place, sample, *kept[key])
            repeated += 1
            continue
        kept[key] = (place, sample)
        asked.setdefault(sample.id, set()).add(sample.candidate)
        names.setdefault(sample.candidate)
    if not kept:
        raise ConfigError(source, "", None, "holds no scores")
    if len(names) < 2:
        raise ConfigError(source, "candidate", next(iter(names)), "is the only one; give scores of two or more")
    incomplete = {identifier for identifier, found in asked.items() if len(found) < len(names)}
    if incomplete and not complete_only:
        place, sample = questions[next(identifier for identifier in asked if identifier in incomplete)]
        missing = next(name for name in names if name not in asked[sample.id])
        remedy = (
            f"has no score of {missing}; {len(incomplete)} of {len(asked)} questions lack a candidate: add them, or "
            "leave such questions out with --complete-only"
        )
        raise ConfigError(place, "question", sample.id, remedy)
    if len(incomplete) == len(asked):
        raise ConfigError(source, "question", None, "there is none of which every candidate has a score")
    left = [sample for _, sample in kept.values() if sample.id not in incomplete]
    return CheckedSamples(left, tuple(names), len(incomplete), repeated)


def _is_same_question(one: Sample, other: Sample) -> bool:
    """Golden answers may be missing where a candidate did not answer."""
    answers = {found.golden_answers for found in (one, other) if found.golden_answers}
    return (one.data_source, one.question) == (other.data_source, other.question) and len(answers) < 2


def _check_numbers(place: Place, sample: Sample) -> None:
    what = f"of {sample.candidate} for question {sample.id}"
    for key, most in (("score", 1.0), ("f1", 1.0), ("raw_cost", math.inf), ("spend_usd", math.inf)):
        value = getattr(sample, key)
        if value is not None and not (0 <= value <= most and math.isfinite(value)):
            remedy = "must be a number in [0, 1]" if most == 1 else "must be a finite number of 0 or more"
            raise ConfigError(place, f"{key} {what}", value, remedy)
    for key in ("prompt_tokens", "completion_tokens", "latency_s"):
        value = getattr(sample, key)
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise ConfigError(place, f"{key} {what}", value, "must be 0 or more, or left empty")


def _check_same(place: Place, sample: Sample, first_place: Place, first: Sample) -> None:
    """See that a row that stands there twice says the same."""
    if sample.score != first.score:
        remedy = f"was {first.score:g} at {first_place}; keep one of them, or number them as samples"
        raise ConfigError(place, f"score of {sample.candidate} for question {sample.id}", sample.score, remedy)


def replies_of(samples: Iterable[Sample]) -> Replies:
    """The samples of each question and candidate, by number."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.id, sample.candidate), []).append(sample)
    return {key: tuple(sorted(own, key=lambda sample: sample.sample)) for key, own in found.items()}


def table_of(checked: CheckedSamples, source: object) -> ScoreTable:
    """The mean over the samples that were answered; questions that a candidate never answered are left out.

    Raises:
        ConfigError: so many samples failed that the rest is no fair sample, or a question is left that offers nobody.
    """
    failed = sum(sample.failed for sample in checked.samples)
    if failed > MAX_FAILED_SHARE * len(checked.samples):
        remedy = (
            f"{failed} of {len(checked.samples)} answers failed, which leaves no fair sample; ask those again "
            "(router-r1 scores collect --resume)"
        )
        raise ConfigError(source, "failed", None, remedy)
    column_of = {name: column for column, name in enumerate(checked.candidates)}
    questions: dict[str, ScoredQuestion] = {}
    for sample in checked.samples:
        if sample.id not in questions or sample.golden_answers:
            questions[sample.id] = sample.scored_question
    row_of = {identifier: row for row, identifier in enumerate(questions)}
    shape = (len(row_of), len(column_of))
    count, offered = np.zeros(shape), np.zeros(shape, dtype=bool)
    sums = {key: np.zeros(shape) for key in ("score", "raw_cost", "spend_usd")}
    for sample in checked.samples:
        cell = row_of[sample.id], column_of[sample.candidate]
        offered[cell] = sample.offered
        if not sample.failed:
            count[cell] += 1
            for key, total in sums.items():
                total[cell] += getattr(sample, key)
    answered = np.flatnonzero((count > 0).all(axis=1))
    if not len(answered):
        raise ConfigError(source, "failed", None, "there is no question that every candidate answered; ask again")
    means = {key: total[answered] / count[answered] for key, total in sums.items()}
    of_row = tuple(questions.values())
    kept = tuple(of_row[row] for row in answered)
    return ScoreTable(kept, checked.candidates, offered=offered[answered], source=str(source), **means)
