"""RouterArena's cached results: one JSON object for each question and candidate, a file for each candidate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from router_r1.errors import ConfigError
from router_r1.scores.formats.rows import answers_of, count_of, json_rows, number_of, optional_text, text_of
from router_r1.scores.prices import Pricing
from router_r1.scores.samples import Place, Sample


def read_routerarena(file: Path, pricing: Pricing) -> Iterator[tuple[Place, Sample]]:
    """`cached_results/<model>.jsonl` of RouterArena (github.com/RouteWorks/RouterArena; Lu et al. 2025,
    arXiv:2510.00202).

    Taken are `global_index` (the id; what stands before its last underscore is the data source), `question`,
    `llm_selected` (the candidate), `generated_answer`, `token_usage.input_tokens` and `.output_tokens`, `success`,
    `run_number` (the sample, from 1), and of `evaluation_result` `ground_truth`, `score` and `metric`. Not taken:
    `inference_cost`, which is 0 there for candidates without a price; costs are tokens times the prices given. Rows
    that were answered and not judged (`evaluation_result` null, as in many of the published files) are left out.
    """
    for place, row in json_rows(file):
        judged, answered = _part(place, row, "evaluation_result"), row.get("success") is not False
        score = number_of(place, "evaluation_result.score", judged.get("score"))
        if answered and score is None:
            continue
        name, identifier = text_of(place, row, "llm_selected"), text_of(place, row, "global_index")
        question, reply = text_of(place, row, "question"), optional_text(place, row, "generated_answer")
        usage = _part(place, row, "token_usage")
        cost = pricing.cost(
            place,
            name,
            question,
            reply=reply or "",
            prompt_tokens=count_of(place, "token_usage.input_tokens", usage.get("input_tokens")),
            completion_tokens=count_of(place, "token_usage.output_tokens", usage.get("output_tokens")),
        )
        yield (
            place,
            Sample(
                id=identifier,
                data_source=identifier.rpartition("_")[0] or identifier,
                question=question,
                golden_answers=answers_of(judged.get("ground_truth")),
                candidate=name,
                sample=max(0, (count_of(place, "run_number", row.get("run_number")) or 1) - 1),
                reply=reply if answered else None,
                score=score if answered and score is not None else 0.0,
                metric=optional_text(place, judged, "metric") or "correct",
                failed=not answered,
                **cost.as_columns(),
            ),
        )


def _part(place: Place, row: dict[str, Any], key: str) -> dict[str, Any]:
    """An object within the row; {} where there is null."""
    part = row.get(key)
    if part is not None and not isinstance(part, dict):
        raise ConfigError(place, key, None, "must be an object, or null")
    return part or {}
