"""When a finding holds: a claim about a number that every seed gives once, and its interval over the seeds.

A claim says that a mean lies in a range. It holds if the whole 90 % t-interval of the mean lies in it, does not hold if
the whole interval lies outside, and cannot be said otherwise, or of fewer than three seeds. So each verdict has at most
one chance in ten of being wrong by the luck of the seeds, if what they give is about normal.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

LEAST_SEEDS = 3
"""Of fewer, nothing is said."""

# The 95th percentile of Student's t by degrees of freedom, from 1 (tables; Student 1908). Beyond, the last is used,
# which makes the interval a little too wide.
_T_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753)


class Verdict(StrEnum):
    """What can be said of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_BE_SAID = "cannot be said"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and the ends of its 90 % t-interval; both infinite for one seed."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def t_interval(values: Iterable[float]) -> Interval | None:
    """mean +- t s / sqrt(n), with the 95th percentile of Student's t for n - 1 degrees of freedom; None without values.

    Args:
        values: one of each seed.
    """
    found = list(values)
    if not found:
        return None
    mean = statistics.fmean(found)
    if len(found) == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    t = _T_95[min(len(found) - 1, len(_T_95)) - 1]
    half = t * statistics.stdev(found) / math.sqrt(len(found))
    return Interval(mean, mean - half, mean + half, len(found))


@dataclass(frozen=True)
class Claim:
    """That the mean over seeds of some number lies between two bounds; by default, that it is positive."""

    text: str
    by_seed: Mapping[int, float]
    """Seed -> the number; a seed that lacks a run is left out."""
    above: float = 0.0
    below: float = math.inf

    @property
    def interval(self) -> Interval | None:
        return t_interval(self.by_seed.values())

    @property
    def verdict(self) -> Verdict:
        found = self.interval
        if found is None or found.seeds < LEAST_SEEDS:
            return Verdict.CANNOT_BE_SAID
        if self.above < found.low and found.high < self.below:
            return Verdict.HOLDS
        if found.high <= self.above or self.below <= found.low:
            return Verdict.DOES_NOT_HOLD
        return Verdict.CANNOT_BE_SAID


def difference(these: Mapping[int, float], those: Mapping[int, float]) -> dict[int, float]:
    """Seed by seed, these minus those, for the seeds that both have: seeds differ more than what is compared."""
    return {seed: value - those[seed] for seed, value in these.items() if seed in those}
