"""RouterBench's wide table as CSV: a row for each question, three columns for each candidate."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.routing.replies import estimate_tokens
from router_r1.scores.formats.rows import csv_rows, number_of, text_of
from router_r1.scores.prices import Pricing
from router_r1.scores.samples import Place, Sample

_REPLY, _COST = "|model_response", "|total_cost"
_OWN = ("sample_id", "prompt", "eval_name")
_NOT_TAKEN = ("", "Unnamed: 0", "idx", "oracle_model_to_route_to")


def read_routerbench(file: Path, pricing: Pricing) -> Iterator[tuple[Place, Sample]]:
    """`routerbench_0shot` and its like (huggingface.co/datasets/withmartian/routerbench; Hu et al. 2024,
    arXiv:2403.12031; the columns are those that github.com/withmartian/routerbench writes), written as CSV.

    Taken are `sample_id` (the id), `prompt`, `eval_name` (the data source), and for each candidate the column of its
    name (the score), `<candidate>|model_response` (the reply, optional) and `<candidate>|total_cost`, in USD, of prompt
    and reply together. That is the spend and, since the reply's part is not told, the raw cost too: no price is needed.
    Prompts and replies that are written as a Python list of strings are joined by line breaks. Where the cell of a
    score is empty the candidate was not asked.
    """
    pricing.assume("raw cost is the whole cost of prompt and reply, since the file does not tell them apart")
    pricing.assume("tokens are estimated: one for every four characters")
    for place, row in csv_rows(file):
        question = _joined(text_of(place, row, "prompt"))
        for name in _candidates(place, row):
            score = number_of(place, name, row[name])
            if score is None:
                continue
            spend = number_of(place, name + _COST, row[name + _COST])
            if spend is None:
                raise ConfigError(
                    place, name + _COST, None, "is empty, but the candidate has a score; give what it cost"
                )
            written = row.get(name + _REPLY)
            reply = None if written is None else _joined(written)
            yield (
                place,
                Sample(
                    id=text_of(place, row, "sample_id"),
                    data_source=text_of(place, row, "eval_name"),
                    question=question,
                    candidate=name,
                    reply=reply,
                    score=score,
                    metric="correct",
                    prompt_tokens=estimate_tokens(question),
                    completion_tokens=None if reply is None else estimate_tokens(reply),
                    raw_cost=spend * 1e6,
                    spend_usd=spend,
                ),
            )


def _candidates(place: Place, row: dict[str, str]) -> list[str]:
    names = [name for name in row if "|" not in name and name not in (*_OWN, *_NOT_TAKEN)]
    for name in names:
        if name + _COST not in row:
            raise ConfigError(place, f"column {name}{_COST}", None, f"is missing: {name} has scores, and no costs")
    known = {*_OWN, *_NOT_TAKEN, *(name + end for name in names for end in ("", _REPLY, _COST))}
    for name in row:
        if name not in known:
            raise ConfigError(place, f"column {name}", None, f"is unknown; a candidate X has X, X{_REPLY} and X{_COST}")
    return names


def _joined(text: str) -> str:
    """The strings of a written list, a line each; any other text as it is."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    try:
        parts = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return "\n".join(parts) if parts and all(isinstance(part, str) for part in parts) else text
