"""The measure of routing: how routes spread over the candidates, and whether that depends on what was asked.

Pure functions of counts. A router that asks one candidate whatever the question has a top share of 1, one effective
candidate, and no information. One that asks another candidate for each kind of question has much information; one that
asks any candidate at random has as many effective candidates, but no information.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

TOP_SHARE, EFFECTIVE_CANDIDATES, KIND_INFORMATION = "top_share", "effective_candidates", "kind_information"
"""What the measures are called wherever they are written down."""

COLUMNS = {
    "share of the most used": TOP_SHARE,
    "effective candidates": EFFECTIVE_CANDIDATES,
    "bits on the first asked": KIND_INFORMATION,
}
"""Heading in a table -> measure."""

COST_WEIGHT = "cost_weight_"
"""Begins the name of a group of questions that have one cost weight: `cost_weight_0.6`."""


def top_share(routes: Mapping[str, float]) -> float:
    """Share of the most used candidate in all routes, in [0, 1]; 0 if there are no routes.

    Args:
        routes: candidate -> number of routes to it, or any multiple of that; none negative.
    """
    total = math.fsum(routes.values())
    return max(routes.values()) / total if total else 0.0


def effective_candidates(routes: Mapping[str, float]) -> float:
    """How many candidates, used alike, would spread routes as much: exp(H), with H = -sum p ln p of their shares p.

    It is 1 if all routes go to one candidate, n if n candidates share them evenly, and 0 if there are no routes. It is
    the Hill number of order 1 (Hill 1973, Diversity and evenness, Ecology 54:427-432) of Shannon's entropy in nats.

    Args:
        routes: as for `top_share`.
    """
    total = math.fsum(routes.values())
    if not total:
        return 0.0
    shares = [count / total for count in routes.values()]
    return math.exp(-math.fsum(share * math.log(share) for share in shares if share))


def kind_information(asked: Iterable[tuple[str, str]]) -> float:
    """Mutual information between the kind of a question and the candidate asked first, in bits; 0 without pairs.

    I = sum over pairs of p(k, c) log2 (p(k, c) / (p(k) p(c))), from 0, where the choice does not depend on the kind, up
    to the smaller of the two entropies (Cover and Thomas 2006, Elements of Information Theory, chapter 2).

    The p are the frequencies seen (the plug-in estimate), which is too high on few trajectories: for a choice that
    does not depend on the kind, by about (kinds - 1)(candidates - 1) / (2 n ln 2) bits (Miller 1955).

    Args:
        asked: (kind, candidate) of every trajectory that asked a candidate.
    """
    pairs = Counter(asked)
    total = pairs.total()
    kinds, candidates = Counter[str](), Counter[str]()
    for (kind, candidate), count in pairs.items():
        kinds[kind] += count
        candidates[candidate] += count
    information = math.fsum(
        count / total * math.log2(count * total / (kinds[kind] * candidates[candidate]))
        for (kind, candidate), count in pairs.items()
    )
    return max(0.0, information)  # a rounding error below 0 is none


def route_measures(routes: Mapping[str, float], asked: Iterable[tuple[str, str]]) -> dict[str, float]:
    """All three by name; the arguments are those of the functions above."""
    return {
        TOP_SHARE: top_share(routes),
        EFFECTIVE_CANDIDATES: effective_candidates(routes),
        KIND_INFORMATION: kind_information(asked),
    }
