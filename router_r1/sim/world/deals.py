"""How the pool `dealt` is dealt: which of its candidates a question may ask, and by which names.

Invariants:

- a deal depends on (split, index) only, and no deal of one split is one of another's but by chance of the draw;
- at most one specialist of each domain, so that a domain names its specialist; two or three generalists;
- a name says nothing: every name bears every candidate in some deal.
"""

from __future__ import annotations

import random

from router_r1.pool import Deal
from router_r1.sim.world.candidates import GENERALISTS, SPECIALISTS
from router_r1.sim.world.facts import DOMAINS, digest

DEALT_NAMES: tuple[str, ...] = tuple(
    """
    Amber Beacon Cedar Comet Coral Delta Echo Ember Falcon Fjord Garnet Harbor Heron Indigo Ivory Jasper Juniper Kestrel
    Lark Lotus Lynx Maple Meteor Mistral Nova Onyx Opal Orchid Osprey Pebble Prism Quartz Raven Saffron Sequoia Sierra
    Tundra Velvet Willow Zephyr
    """.split()
)
"""What candidates are called; none is a word of the world. [40]"""

_STRONGEST, _STRONGEST_SHARE = GENERALISTS[0].name, 0.5
"""In half of the pools that would lack the strongest generalist, it takes another one's place."""
_NUM_SPECIALISTS, _NUM_GENERALISTS = (4, 5, 6), (2, 3)


def world_deal(split: str, index: int) -> Deal:
    """The deal of a question: its split's `index`-th."""
    return draw_world_deal(random.Random(digest("deal", split, index)))


def draw_world_deal(rng: random.Random) -> Deal:
    """Six to nine candidates: one specialist in each of four to six domains, and two or three generalists."""
    domains = rng.sample(DOMAINS, k=rng.choice(_NUM_SPECIALISTS))
    specialists = [rng.choice([s.name for s in SPECIALISTS if s.domain == domain]) for domain in domains]
    generalists = rng.sample([g.name for g in GENERALISTS], k=rng.choice(_NUM_GENERALISTS))
    if _STRONGEST not in generalists and rng.random() < _STRONGEST_SHARE:
        generalists[0] = _STRONGEST
    candidates = specialists + generalists
    rng.shuffle(candidates)
    return Deal(tuple(zip(rng.sample(DEALT_NAMES, k=len(candidates)), candidates, strict=True)))
