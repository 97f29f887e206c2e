"""The cost weight of a question: drawn when its row is written, so that all samples of the question share it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def drawn_weight(weights: Sequence[float], seed: int, index: int) -> float | None:
    """One of the weights for the question at `index`; None if there are none.

    Each stretch of `len(weights)` questions has every weight once, in an order of its own: however many questions there
    are, no weight has more than one question more than another.
    """
    if not weights:
        return None
    stretch, place = divmod(index, len(weights))
    ranks = [hashlib.sha256(f"{seed}:{stretch}:{number}".encode()).digest() for number in range(len(weights))]
    return weights[sorted(range(len(weights)), key=ranks.__getitem__)[place]]
