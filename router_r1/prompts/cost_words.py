"""What a prompt says of a cost weight: one word, which a small model can learn to tell from the others."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS: dict[float, str] = {0.0: "nothing", 0.2: "little", 0.4: "some", 0.6: "much", 0.8: "more", 0.95: "most"}
"""Cost weight (alpha of the reward, in [0, 1]) -> how much cost counts."""

COST_WEIGHTS = tuple(LEVELS)
"""A weight for each word."""


def cost_word(weight: float | None) -> str:
    """How much cost counts at this weight: the word of the nearest level, of two the lower; None is a weight of 0."""
    asked = weight or 0.0
    return LEVELS[min(LEVELS, key=lambda level: abs(level - asked))]


def fault_of(weights: Sequence[float]) -> str:
    """Why a policy could not learn all these weights, in words; "" if it could."""
    if not weights:
        return "must name at least one weight"
    if not all(0 <= weight <= 1 for weight in weights):
        return "must be numbers in [0, 1]"
    told: dict[str, float] = {}
    for weight in weights:
        word = cost_word(weight)
        if word in told:
            levels = ", ".join(f"{level:g}" for level in LEVELS)
            return f"a prompt tells {told[word]:g} and {weight:g} alike ({word}); give one weight at most near {levels}"
        told[word] = weight
    return ""
