"""From what each method got to what that is worth: figures at each cost weight, and of the whole curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from router_r1.constant_routers import Score
from router_r1.measures import route_measures
from router_r1.offline.curves import aiq, apgr, arena_score, cpt, gap_recovered
from router_r1.offline.parts import NOBODY, Choice
from router_r1.offline.resampling import Estimate, estimates
from router_r1.offline.yardsticks import Yardstick

Figures = dict[str, float | None]
"""Measure -> value; None where it is not defined."""

SCORE, ABOVE_CONSTANT = "score", "above_constant"
ABOVE_BEST_CONSTANT, ABOVE_BASELINE = "above_best_constant", "above_baseline"
TESTED = (ABOVE_CONSTANT, ABOVE_BEST_CONSTANT, ABOVE_BASELINE)
"""Differences that are tested; each has `<name>_low`, `<name>_high` and `<name>_p` beside it."""
POINT_MEASURES = ("raw_cost", "spend_usd", "gap_recovered", "pgr", "arena")
CURVE_MEASURES = ("aiq", "apgr", "cpt_50", "cpt_80")


@dataclass(frozen=True)
class Point:
    """A method at one cost weight: means over seeds, and each seed's own."""

    alpha: float | None
    figures: Figures
    seeds: list[Figures] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluated:
    """A method at all cost weights."""

    points: list[Point]
    """In the order of the cost weights; one of a method that has none."""
    curve: Figures
    """Means over seeds."""
    datasets: dict[str, float]
    """Score on each data set at the first cost weight."""


def evaluate(
    methods: Mapping[str, Sequence[Sequence[Choice]]], yardsticks: Sequence[Yardstick], *, baseline: str | None = None
) -> dict[str, Evaluated]:
    """Figures of all methods.

    Args:
        methods: name -> for each seed what it chose, at the same cost weights. Of choices without a cost weight the
            first is the method's point, and all of them are its curve.
        yardsticks: of each seed.
        baseline: the method that others are told beside, each at the same cost weight.
    """
    told = {name: [_points_of(choices) for choices in seeds] for name, seeds in methods.items()}
    places = [(name, number) for name, seeds in told.items() for number in range(len(seeds[0]))]
    columns = [(name, number, what) for (name, number), what in product(places, (SCORE, *TESTED))]
    values = [
        np.stack([_per_question(told, seed, yardstick, column, baseline) for column in columns], axis=1)
        for seed, yardstick in enumerate(yardsticks)
    ]
    sure = dict(zip(columns, estimates([y.part.numbers for y in yardsticks], values), strict=True))
    return {name: _evaluated(name, methods[name], told[name], yardsticks, sure, baseline) for name in methods}


def _points_of(choices: Sequence[Choice]) -> list[Choice]:
    return list(choices[:1]) if choices[0].alpha is None else list(choices)


_Column = tuple[str, int, str]
"""Method, number of its point, measure."""


def _per_question(
    told: Mapping[str, list[list[Choice]]], seed: int, yardstick: Yardstick, column: _Column, baseline: str | None
) -> np.ndarray:
    """[num_test]"""
    name, number, what = column
    choice = told[name][seed][number]
    if what == ABOVE_CONSTANT:
        return yardstick.above_constant(choice)
    if what == ABOVE_BEST_CONSTANT:
        return yardstick.above_best_constant(choice)
    if what == ABOVE_BASELINE and baseline is not None:
        others = told[baseline][seed]
        other = others[number] if number < len(others) else others[0]
        return np.asarray(choice.score - other.score)
    return choice.score


def _evaluated(
    name: str,
    seeds: Sequence[Sequence[Choice]],
    told: Sequence[Sequence[Choice]],
    yardsticks: Sequence[Yardstick],
    sure: Mapping[_Column, Estimate],
    baseline: str | None,
) -> Evaluated:
    points = []
    for number, first in enumerate(told[0]):
        own = [_figures(yardstick, choices[number]) for yardstick, choices in zip(yardsticks, told, strict=True)]
        figures = _means(own)
        for what in (SCORE, *TESTED):
            figures |= _as_figures(what, sure[name, number, what], known=what != ABOVE_BASELINE or baseline is not None)
        points.append(Point(first.alpha, figures, own))
    curve = _means([_curve(yardstick, choices) for yardstick, choices in zip(yardsticks, seeds, strict=True)])
    pairs = zip(yardsticks, told, strict=True)
    return Evaluated(points, curve, _by_dataset([(yardstick, choices[0]) for yardstick, choices in pairs]))


def _as_figures(what: str, found: Estimate, *, known: bool) -> Figures:
    figures: Figures = {what: found.mean, f"{what}_low": found.low, f"{what}_high": found.high}
    if what in TESTED:
        figures[f"{what}_p"] = found.p
    return figures if known else dict.fromkeys(figures)


def _figures(yardstick: Yardstick, choice: Choice) -> Figures:
    """Of one seed at one cost weight."""
    test, score, spend = yardstick.part.test, float(choice.score.mean()), float(choice.spend_usd.mean())
    routes = Counter(test.candidates[column] for column in choice.asked.ravel().tolist() if column != NOBODY)
    pairs = zip(test.questions, choice.first.tolist(), strict=True)
    asked_first = [(question.data_source, test.candidates[c]) for question, c in pairs if c != NOBODY]
    best = yardstick.hull.constants[-1].em
    return {
        SCORE: score,
        "raw_cost": float(choice.raw_cost.mean()),
        "spend_usd": spend,
        "gap_recovered": gap_recovered(score, best, yardstick.oracle.em),
        "pgr": yardstick.ends.pgr(score) if yardstick.ends else None,
        "arena": arena_score(score, 1000 * spend),
        **route_measures(routes, asked_first),
    }


def _curve(yardstick: Yardstick, choices: Sequence[Choice]) -> Figures:
    """Of one seed."""
    ends = yardstick.ends
    points = [Score(float(choice.score.mean()), float(choice.raw_cost.mean())) for choice in choices]
    figures: Figures = dict.fromkeys(CURVE_MEASURES)
    figures["aiq"] = aiq(points, *yardstick.cost_range)
    if ends:
        recovered = [ends.point(point.em, choice.asked) for point, choice in zip(points, choices, strict=True)]
        figures |= {"apgr": apgr(recovered), "cpt_50": cpt(recovered, 0.5), "cpt_80": cpt(recovered, 0.8)}
    return figures


def _by_dataset(seeds: Sequence[tuple[Yardstick, Choice]]) -> dict[str, float]:
    """Mean over the seeds that test questions of the data set."""
    found: dict[str, list[float]] = {}
    for yardstick, choice in seeds:
        sources = np.array([question.data_source for question in yardstick.part.test.questions])
        for source in np.unique(sources):
            found.setdefault(str(source), []).append(float(choice.score[sources == source].mean()))
    return {source: float(np.mean(found[source])) for source in sorted(found)}


def _means(seeds: Sequence[Figures]) -> Figures:
    """Of each measure; None if it is not defined for one of them."""
    found: Figures = {}
    for key in seeds[0]:
        values = [figures[key] for figures in seeds]
        known = [value for value in values if value is not None]
        found[key] = float(np.mean(known)) if len(known) == len(values) else None
    return found
