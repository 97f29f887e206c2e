"""LLMRouter's routing data: one JSON object for each question and candidate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from router_r1.scores.formats.rows import (
    answers_of,
    count_of,
    identifier,
    json_rows,
    number_of,
    optional_text,
    text_of,
)
from router_r1.scores.formats.wide_json import wide_row
from router_r1.scores.prices import Pricing
from router_r1.scores.samples import Place, Sample


def read_llmrouter(file: Path, pricing: Pricing) -> Iterator[tuple[Place, Sample]]:
    """`default_routing_train_data.jsonl` of LLMRouter (github.com/ulab-uiuc/LLMRouter, llmrouter/data/README.md,
    "Routing Data JSONL"); rows that hold `scores` of all candidates are read as `wide_json` has them.

    Taken are `task_name` (the data source), `query`, `ground_truth`, `metric`, `model_name`, `response`, `performance`
    (the score), `input_tokens`, `output_tokens` and `response_time` (latency in seconds). A question is known by its
    task, words and ground truth, as there. Not taken: `token_num`, which has prompt and reply together, and the
    `choices` of multiple choice, which LLMRouter's routers do not read either.
    """
    for place, row in json_rows(file):
        if "scores" in row:
            yield from wide_row(place, row, pricing)
            continue
        task, query, name = (text_of(place, row, key) for key in ("task_name", "query", "model_name"))
        score = number_of(place, "performance", row.get("performance"))
        if score is None:
            continue
        golden = answers_of(row.get("ground_truth"))
        reply = optional_text(place, row, "response")
        cost = pricing.cost(
            place,
            name,
            query,
            reply=reply,
            prompt_tokens=count_of(place, "input_tokens", row.get("input_tokens")),
            completion_tokens=count_of(place, "output_tokens", row.get("output_tokens")),
        )
        yield (
            place,
            Sample(
                id=identifier(task, query, *golden),
                data_source=task,
                question=query,
                golden_answers=golden,
                candidate=name,
                reply=reply,
                score=score,
                metric=optional_text(place, row, "metric") or "correct",
                latency_s=number_of(place, "response_time", row.get("response_time")),
                **cost.as_columns(),
            ),
        )
