"""One JSON object for each question, with all candidates in it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from router_r1.errors import ConfigError
from router_r1.scores.formats.rows import answers_of, count_of, json_rows, number_of, optional_text, text_of
from router_r1.scores.prices import Pricing
from router_r1.scores.samples import Place, Sample


def read_wide_json(
    file: Path, pricing: Pricing, *, only: Container[str] | None = None
) -> Iterator[tuple[Place, Sample]]:
    """`{id, task, question, golden_answers?, metric?, scores: {candidate: score}}`, or with replies
    `candidates: {candidate: {score, reply?, prompt_tokens?, completion_tokens?}}` in the place of `scores`.

    Taken are `id`, `task` (the data source), `question`, `golden_answers`, `metric` ("correct" where there is none),
    scores, replies and counted tokens. A candidate whose score is null was not asked.

    Args:
        only: the candidates to take; None: all.
    """
    for place, row in json_rows(file):
        yield from wide_row(place, row, pricing, only=only)


def wide_row(
    place: Place, row: dict[str, Any], pricing: Pricing, *, only: Container[str] | None = None
) -> Iterator[tuple[Place, Sample]]:
    """The samples of one such object."""
    question = text_of(place, row, "question")
    for name, entry in _answers(place, row).items():
        score = number_of(place, f"score of {name}", entry.get("score"))
        if score is None or (only is not None and name not in only):
            continue
        reply = optional_text(place, entry, "reply")
        yield (
            place,
            Sample(
                id=text_of(place, row, "id"),
                data_source=text_of(place, row, "task"),
                question=question,
                golden_answers=answers_of(row.get("golden_answers")),
                candidate=name,
                reply=reply,
                score=score,
                metric=optional_text(place, row, "metric") or "correct",
                **pricing.cost(
                    place,
                    name,
                    question,
                    reply=reply,
                    prompt_tokens=count_of(place, "prompt_tokens", entry.get("prompt_tokens")),
                    completion_tokens=count_of(place, "completion_tokens", entry.get("completion_tokens")),
                ).as_columns(),
            ),
        )


def _answers(place: Place, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Candidate -> {score, reply?}."""
    match row:
        case {"scores": dict() as scores}:
            return {name: {"score": score} for name, score in scores.items()}
        case {"candidates": dict() as entries} if all(isinstance(entry, dict) for entry in entries.values()):
            return entries
    raise ConfigError(
        place, "scores", None, "is missing; give scores {candidate: score}, or candidates {candidate: {score}}"
    )
