"""What the demonstrations' choices know beforehand, as a language model takes it from words that it has read.

The specialist of a question's field is preferred to a generalist, that one to a specialist of another field; where cost
counts nothing who sounds dear, where it counts most who sounds cheap. Nothing of it is measured: the words say less, or
other, than the candidates are worth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from router_r1.pool import Candidate
from router_r1.prompts.cost_words import COST_WEIGHTS
from router_r1.sim.world.candidates import ALL, SPECIALIST

_SOUNDS_DEAR = {"expert": 1, "brilliant": 1, "solid": 0, "plain": -1, "light": -1, "tiny": -1}
"""Grade -> how dear the word sounds. Who is worth it is another matter: the brilliant boast, the plain are modest."""
GRADES_TOLD = tuple(_SOUNDS_DEAR)
"""In the order in which a thought names those on offer."""


def field_of(candidate: Candidate) -> str:
    """What a descriptor says that its candidate is good at: a domain, or what stands for all of them."""
    kind, *rest = candidate.descriptor.split()
    return rest[0] if kind == SPECIALIST else ALL


def grade_of(candidate: Candidate) -> str:
    """The last word of a descriptor."""
    return candidate.descriptor.split()[-1]


@dataclass(frozen=True, kw_only=True)
class Hearsay:
    """What the demonstrations' choices know beforehand."""

    specialist_leaning: float = 6.0
    """Nats by which the specialist of the question's domain is preferred to one of another."""
    generalist_leaning: float = 4.7
    """Nats by which a generalist is."""
    cost_leaning: float = 2.5
    """Nats by which who sounds dear is preferred where cost counts nothing, and who sounds cheap where it counts most;
    in between by the weight of cost."""

    def choose(
        self, rng: random.Random, offered: Sequence[Candidate], domain: str | None, cost_weight: float
    ) -> Candidate:
        """Whom a search goes to.

        Args:
            domain: of the question; None if it has none.
            cost_weight: in [0, 1].
        """
        dear = self.cost_leaning * (1 - 2 * cost_weight / max(COST_WEIGHTS))

        def odds(candidate: Candidate) -> float:
            field = field_of(candidate)
            fits = self.specialist_leaning * (field == domain) + self.generalist_leaning * (field == ALL)
            return math.exp(fits + dear * _SOUNDS_DEAR[grade_of(candidate)])

        return rng.choices(offered, weights=[odds(candidate) for candidate in offered])[0]


HEARSAY = Hearsay()
"""That of the shipped policy."""
