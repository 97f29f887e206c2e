"""RouteLLM's evaluation data: a CSV with a row for each question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.scores.formats.rows import csv_rows, identifier, number_of, text_of
from router_r1.scores.prices import Pricing
from router_r1.scores.samples import Place, Sample

_RESPONSE = "_response"


def read_routellm(file: Path, pricing: Pricing) -> Iterator[tuple[Place, Sample]]:
    """`gsm8k_responses.csv`, `mmlu_<subject>.csv` of RouteLLM (github.com/lm-sys/RouteLLM, routellm/evals).

    Taken are `prompt`, and for each candidate the column of its name (True or False: whether it was right) and, where
    there is one, `<candidate>_response` (the reply). The data source is the file's name without `_responses.csv` or
    `.csv`. A question has no id there; it is known by its words.
    """
    data_source = file.name.removesuffix(".gz").removesuffix(".csv").removesuffix("_responses")
    for place, row in csv_rows(file):
        question = text_of(place, row, "prompt")
        for name in _candidates(place, row):
            score = number_of(place, name, row[name])
            if score is None:
                continue
            reply = row.get(name + _RESPONSE)
            yield (
                place,
                Sample(
                    id=identifier(data_source, question),
                    data_source=data_source,
                    question=question,
                    candidate=name,
                    reply=reply,
                    score=score,
                    metric="correct",
                    **pricing.cost(place, name, question, reply=reply).as_columns(),
                ),
            )


def _candidates(place: Place, row: dict[str, str]) -> list[str]:
    names = [name for name in row if name != "prompt" and not name.endswith(_RESPONSE)]
    for name in row:
        if name.endswith(_RESPONSE) and name.removesuffix(_RESPONSE) not in names:
            remedy = f"is unknown: there is no column {name.removesuffix(_RESPONSE)} with the scores to these replies"
            raise ConfigError(place, f"column {name}", None, remedy)
    return names
