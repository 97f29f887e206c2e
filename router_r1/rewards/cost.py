"""The cost term of the reward: raw cost normalised against a sliding window of recent training trajectories."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from router_r1.protocol import Trajectory

NEUTRAL = 0.5
"""The cost term where nothing can be said: no spread in the window yet, or a failed route."""

_MIN_SPREAD = 1e-8


class CostWindow:
    """The last `size` costs of one run; turns a raw cost into c in [0, 1], 1 = cheap.

    x = sqrt(raw cost); lo and hi are the `low`-th and `high`-th percentile of the window, linearly interpolated;
    c = 1 - clip((x - lo) / (hi - lo), 0, 1), or 0.5 while hi - lo < 1e-8.
    """

    def __init__(self, size: int = 1000, low: float = 5.0, high: float = 95.0) -> None:
        if size < 1 or not 0 <= low < high <= 100:
            raise ValueError(f"need size >= 1 and 0 <= low < high <= 100, got {size=}, {low=}, {high=}")
        self.low, self.high = low, high
        self._roots: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._roots)

    def observe(self, raw_cost: float) -> float:
        """Enter a raw cost (micro-USD of output), then normalise it, itself included.

        Raises:
            ValueError: the cost is negative or not finite; nothing was entered.
        """
        self._roots.append(_root(raw_cost))
        return self.normalize(raw_cost)

    def normalize(self, raw_cost: float) -> float:
        """c of a raw cost against the window as it stands, without entering it; 0.5 while the window is empty.

        Raises:
            ValueError: the cost is negative or not finite.
        """
        x = _root(raw_cost)
        if not self._roots:
            return NEUTRAL
        roots = np.fromiter(self._roots, float, len(self._roots))
        low, high = map(float, np.percentile(roots, (self.low, self.high)))
        if high - low < _MIN_SPREAD:
            return NEUTRAL
        return 1.0 - min(max((x - low) / (high - low), 0.0), 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides later values, as JSON types. Floats survive JSON bit by bit."""
        return {"size": self._roots.maxlen, "low": self.low, "high": self.high, "roots": list(self._roots)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, its size and percentiles included."""
        self.low, self.high = state["low"], state["high"]
        self._roots = deque(state["roots"], maxlen=state["size"])


def trajectory_cost(window: CostWindow, trajectory: Trajectory, *, train: bool) -> float:
    """The cost term c of a trajectory.

    With a failed route it is 0.5 and does not enter the window: an outage saves nothing. In validation (`train=False`)
    it is the value against the window of the training so far, which it does not enter; 0.5 before any training.
    """
    if trajectory.failed_routes:
        return NEUTRAL
    return window.observe(trajectory.raw_cost) if train else window.normalize(trajectory.raw_cost)


def _root(raw_cost: float) -> float:
    if not math.isfinite(raw_cost) or raw_cost < 0:
        raise ValueError(f"raw cost must be finite and not negative, got {raw_cost}")
    return math.sqrt(raw_cost)
