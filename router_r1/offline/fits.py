"""Fitted routers in a benchmark's folder: each is fitted once, and whom it chose is written down beside it.

`fits/<method>/<seed>/` holds the router as it saved itself, and then `chosen.json`: what is there is finished, whatever
ended the benchmark, and is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from router_r1.atomic import write_text
from router_r1.methods.encoders import Encoder
from router_r1.methods.single_round import RouterEntry, chosen
from router_r1.offline.parts import Choice, Part

FITS, CHOSEN_FILE = "fits", "chosen.json"
_EXPLAINED, _REASONS = 8, 5  # questions of a seed, and reasons for each

_DISTRIBUTIONS = {
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "torch_geometric": "torch-geometric",
}
"""Modules that a package of another name brings."""


@runtime_checkable
class TellsReasons(Protocol):
    """A router that can say why it chose whom."""

    def reasons(self, question: str, candidate: str) -> list[tuple[str, float]]:
        """What speaks for the candidate, or against it, and how much of its predicted score that is; the greatest in
        size first."""
        ...


@dataclass(frozen=True)
class Reason:
    """Why a question was asked of whom."""

    question: str
    candidate: str
    score: float
    """What the candidate scored."""
    reasons: list[list[Any]]
    """(what, how much), the greatest first."""


@dataclass(frozen=True)
class Fit:
    """What a fitted router chose for the test questions of a seed."""

    fit_s: float
    """Seconds that it took to fit, on this machine."""
    choose_s: float
    """Seconds that it took to read all test questions and choose, for one cost weight; vectors were there."""
    alphas: list[float]
    asked: list[list[int]]
    """The candidate's column for each cost weight and test question."""

    reasons: list[Reason] = field(default_factory=list)
    """Of a router that tells them: for a few test questions, at the first cost weight."""

    @property
    def choices(self) -> list[Choice]:
        return [Choice(alpha, np.array(row)) for alpha, row in zip(self.alphas, self.asked, strict=True)]


def missing_packages(entry: RouterEntry) -> list[str]:
    """What to install before the router can be made, as pip calls it."""
    return [_DISTRIBUTIONS.get(name, name) for name in entry.needs if find_spec(name) is None]


def fit(entry: RouterEntry, part: Part, encoder: Encoder, alphas: Sequence[float], folder: Path, *, name: str) -> Fit:
    """Fit the router and have it choose; or take what is in the folder already.

    Args:
        folder: of the benchmark; holds nothing of other questions.
        name: the router's.
    """
    own = folder / FITS / name / str(part.seed)
    done = _read(own / CHOSEN_FILE)
    if done is not None and done.alphas == list(alphas):
        return done
    began = time.monotonic()
    if done is None:
        router = entry.make()
        router.fit(part.train, encoder, seed=part.seed)
        fit_s = time.monotonic() - began
        router.save(own)
    else:
        router, fit_s = type(entry.make()).load(own, encoder), done.fit_s
    began = time.monotonic()
    asked = [chosen(router.utilities(part.test.texts, alpha), part.test.offered).tolist() for alpha in alphas]
    choose_s = (time.monotonic() - began) / len(alphas)
    reasons = _reasons(router, part, asked[0]) if isinstance(router, TellsReasons) else []
    found = Fit(fit_s, choose_s, list(alphas), asked, reasons)
    write_text(own / CHOSEN_FILE, json.dumps(asdict(found)) + "\n")
    return found


def _reasons(router: TellsReasons, part: Part, asked: Sequence[int]) -> list[Reason]:
    rows = np.linspace(0, len(part.test) - 1, min(_EXPLAINED, len(part.test)), dtype=int).tolist()
    told = []
    for row in rows:
        question, candidate = part.test.questions[row].text, part.test.candidates[asked[row]]
        why = [list(reason) for reason in router.reasons(question, candidate)[:_REASONS]]
        told.append(Reason(question, candidate, float(part.test.score[row, asked[row]]), why))
    return told


def _read(file: Path) -> Fit | None:
    if not file.exists():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    return Fit(**{**kept, "reasons": [Reason(**reason) for reason in kept["reasons"]]})
