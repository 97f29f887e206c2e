"""The Router-R1 paper's own figures, to be shown beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

PAPER_FILE = "paper_results.yaml"
METRICS = {"em": ("Exact match", ".3f"), "f1": ("F1", ".3f"), "raw_cost": ("Raw cost per question", ".4g")}
"""Metric -> heading and format."""
MEAN = "mean"


@dataclass(frozen=True)
class PaperTable:
    """One of its tables, for one base model."""

    metric: str
    rows: Mapping[str, Mapping[str, float]]
    """Method, as the paper calls it -> data set (and `mean`, where it gives one) -> value."""


@cache
def _published() -> Any:
    text = resources.files("router_r1.benchmark").joinpath(PAPER_FILE).read_text(encoding="utf-8")
    return yaml.safe_load(text)


def source() -> str:
    """Where the figures stand."""
    return str(_published()["source"])


def note() -> str:
    """What a reader of the two side by side must know."""
    return (
        f"the paper's figures ({source()}) are of 500 test questions of each data set and all of Bamboogle's, with its "
        "own base model and candidates; other questions, or fewer, do not compare"
    )


def paper_table(base: str, metric: str = "em") -> PaperTable | None:
    """A table; None if the paper has none of this metric for this base model.

    Args:
        base: `qwen` or `llama`: the beginning of the base model's name.
    """
    of_metric = _published()[metric]
    model = next((name for name in of_metric if name.lower().startswith(base)), None)
    if model is None:
        return None
    columns = of_metric.get("columns", _published()["columns"])
    return PaperTable(metric, {name: dict(zip(columns, row, strict=True)) for name, row in of_metric[model].items()})


def name_in_paper(method: str) -> str | None:
    """What the paper calls a method of `--methods`; None if it is not in it."""
    known = _published()["methods"].items()
    return next((name for name, own in known if own == method or (own.endswith(":") and method.startswith(own))), None)
