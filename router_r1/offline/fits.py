"""Fitted routers and cascades in a benchmark's folder: each is fitted once, and what it did is written down beside it.

`fits/<method>/<seed>/` holds the method as it saved itself, and then `chosen.json`: what is there is finished, whatever
ended the benchmark, and is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from router_r1.atomic import write_text
from router_r1.event_loops import wait_for
from router_r1.methods.cascades import CascadeEntry, ReadyCascade, play
from router_r1.methods.encoders import Encoder
from router_r1.methods.single_round import RouterEntry, chosen
from router_r1.offline.parts import Choice, Part
from router_r1.recorded import RecordedReplies, RecordedRoutes

FITS, CHOSEN_FILE = "fits", "chosen.json"
_EXPLAINED, _REASONS = 8, 5  # questions of a seed, and reasons for each


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
    """What a fitted method did with the test questions of a seed."""

    fit_s: float
    """Seconds that it took to fit, on this machine; of a cascade, with its thresholds for every cost weight."""
    choose_s: float
    """Seconds that it took to read all test questions and choose, for one cost weight; vectors of questions were
    there, a cascade read the replies, too."""
    choices: list[Choice]
    """For each cost weight."""
    reasons: list[Reason] = field(default_factory=list)
    """Of a router that tells them: for a few test questions, at the first cost weight."""


Entry = RouterEntry | CascadeEntry


def fit(entry: Entry, part: Part, encoder: Encoder, alphas: Sequence[float], folder: Path, *, name: str) -> Fit:
    """Fit the method and have it choose; or take what is in the folder already.

    Args:
        folder: of the benchmark; holds nothing of other questions.
        name: the method's.

    Raises:
        ConfigError: a cascade lacks replies that it reads; nothing is left in the folder.
    """
    own = folder / FITS / name / str(part.seed)
    done = _read(own / CHOSEN_FILE)
    if done is not None and [choice.alpha for choice in done.choices] == list(alphas):
        return done
    began = time.monotonic()
    if isinstance(entry, CascadeEntry):
        choose, reasons = _cascade(entry, part, encoder, alphas, own, is_fitted=done is not None)
    else:
        choose, reasons = _router(entry, part, encoder, own, is_fitted=done is not None)
    fit_s = time.monotonic() - began if done is None else done.fit_s
    began = time.monotonic()
    choices = [choose(alpha) for alpha in alphas]
    choose_s = (time.monotonic() - began) / len(alphas)
    found = Fit(fit_s, choose_s, choices, reasons(choices[0]))
    kept = {
        "fit_s": found.fit_s,
        "choose_s": found.choose_s,
        "choices": [choice.as_json() for choice in choices],
        "reasons": [asdict(reason) for reason in found.reasons],
    }
    write_text(own / CHOSEN_FILE, json.dumps(kept) + "\n")
    return found


_Fitted = tuple[Callable[[float], Choice], Callable[[Choice], list[Reason]]]
"""What it does at a cost weight, and why it did that."""


def _router(entry: RouterEntry, part: Part, encoder: Encoder, own: Path, *, is_fitted: bool) -> _Fitted:
    router = entry.make()
    if is_fitted:
        router = type(router).load(own, encoder)
    else:
        router.fit(part.train, encoder, seed=part.seed)
        router.save(own)

    def choose(alpha: float) -> Choice:
        return Choice.of_one(alpha, part.test, chosen(router.utilities(part.test.texts, alpha), part.test.offered))

    def reasons(choice: Choice) -> list[Reason]:
        return _reasons(router, part, choice.first.tolist()) if isinstance(router, TellsReasons) else []

    return choose, reasons


def _cascade(
    entry: CascadeEntry, part: Part, encoder: Encoder, alphas: Sequence[float], own: Path, *, is_fitted: bool
) -> _Fitted:
    train, test = part.train_replies, part.test_replies
    assert train is not None
    assert test is not None
    cascade = entry.make()
    if is_fitted:
        cascade = type(cascade).load(own, encoder)
    else:
        cascade.fit(train, encoder, seed=part.seed)
        cascade.save(own)
    ready = {alpha: cascade.at(alpha) for alpha in alphas}

    def choose(alpha: float) -> Choice:
        return _played(alpha, ready[alpha], test, reads_replies=entry.reads_replies)

    return choose, lambda choice: []


def _played(alpha: float, cascade: ReadyCascade, test: RecordedReplies, *, reads_replies: bool) -> Choice:
    played = wait_for(play(cascade, test, RecordedRoutes(test, reads_replies=reads_replies)))
    return Choice(alpha, played.score, played.raw_cost, played.spend_usd, played.asked)


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
    choices = [Choice.of_json(choice) for choice in kept["choices"]]
    return Fit(kept["fit_s"], kept["choose_s"], choices, [Reason(**reason) for reason in kept["reasons"]])
