"""What a finding is, and the table that trainings are told in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router_r1.benchmark.tables import Sheet
from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.findings.reading import BySeed, Found
from router_r1.findings.verdicts import Claim, t_interval
from router_r1.findings.work import Benchmark, Training
from router_r1.measures import EFFECTIVE_CANDIDATES, KIND_INFORMATION, TOP_SHARE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PAPER = "arXiv:2506.09033v3"

ALIKE = 0.05
"""Differences of EM that are smaller count as none."""


@dataclass(frozen=True)
class Told:
    """What the runs say about a finding."""

    claims: Sequence[Claim]
    sheets: Sequence[Sheet] = ()
    pictures: Mapping[str, Callable[[Axes], None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One finding."""

    letter: str
    question: str
    trainings: tuple[Training, ...]
    tell: Callable[[Found], Told]
    benchmarks: tuple[Benchmark, ...] = ()
    paper: str = ""
    """What the paper has beside it, with its place there; other models and questions, so that only signs compare."""

    @property
    def runs(self) -> tuple[Training | Benchmark, ...]:
        """All that it needs, each training before its benchmarks."""
        return (*self.trainings, *self.benchmarks)


BASE = Training("base")
"""The default, which nearly all findings share."""


def cell(values: BySeed, form: str = ".3f") -> str:
    """Mean and half of its interval; empty if it is not known."""
    found = t_interval(values.values())
    if found is None:
        return ""
    mean = format(found.mean, form)
    return mean if found.seeds == 1 else f"{mean} ± {format(found.half_width, form)}"


_MEASURES = {
    "EM": ("em", ".3f"),
    "raw cost": ("raw_cost", ".2f"),
    "routes": ("routes", ".2f"),
    "format kept": ("format_valid", ".3f"),
    "top share": (TOP_SHARE, ".3f"),
    "effective candidates": (EFFECTIVE_CANDIDATES, ".2f"),
    "bits on the first asked": (KIND_INFORMATION, ".2f"),
    "EM above the best constant": (EM_ABOVE_CONSTANT, ".3f"),
}


def runs_sheet(found: Found, runs: Mapping[str, str], title: str = "Validation at the end") -> Sheet:
    """Trainings in rows, measures in columns.

    Args:
        runs: what a row is called -> name of the training.
    """
    rows = [
        (label, [str(len(found.trained.get(name, {})))]
         + [cell(found.last(name, measure), form) for measure, form in _MEASURES.values()])
        for label, name in runs.items()
    ]  # fmt: skip
    return Sheet(title, "run", ["seeds", *_MEASURES], rows)
