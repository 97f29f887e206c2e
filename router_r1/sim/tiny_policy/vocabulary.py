"""What the tiny policy's tokenizer and embeddings are made from: the words of its demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router_r1.pool import RoutingPool
from router_r1.prompts import Template, failed_route, invalid_search, render_messages
from router_r1.prompts.cost_words import LEVELS
from router_r1.sim.tiny_policy.demonstrations import (
    ANSWER,
    FIRST_HOP,
    GIVE_UP,
    KNOWN,
    NEXT_HOP,
    NOBODY,
    NONE,
    NOT_KNOWN,
    ONLY_HOP,
    OPEN,
    THEN,
    candidate_names,
    conclusion,
)
from router_r1.sim.tiny_policy.hearsay import grade_of
from router_r1.sim.tiny_policy.words import WORDS
from router_r1.sim.world.candidates import GENERALIST, REPLY_TEMPLATES, SPECIALIST
from router_r1.sim.world.facts import DOMAIN_OF, DOMAINS, NAMES, RELATIONS, VERBS

_WORDS_OF_THE_WORLD_WEIGHT = 200


def tokenizer_corpus(universe: RoutingPool, template: Template) -> Iterator[str]:
    """Text for the tokenizer's merges, without any name: the world's wording first, then common words."""
    asked = [f" Who {verb} the one who {verb} ?" for verb in VERBS]
    descriptors = list(dict.fromkeys(c.descriptor for c in universe.candidates))
    rest = f"{THEN} who . {THEN} {ANSWER}."
    thoughts = [
        f" {opening} {verb} is about {DOMAIN_OF[verb]}, {SPECIALIST} {NONE}, {GENERALIST} {NONE}. {rest}"
        f" In this question cost counts {words}. Ask ."
        for opening in (f"{FIRST_HOP} who", f"{NEXT_HOP} who", ONLY_HOP)
        for verb, words in zip(VERBS, [*LEVELS.values()] * 4, strict=True)
    ]
    known = [f" {KNOWN} {verb} . {conclusion('')}" for verb in VERBS]
    replies = [f" {text.format(answer='', predicate='')}" for text in REPLY_TEMPLATES]
    faults = [f" {failed_route('')}", f" {invalid_search('', ())}"]
    ends = [f" {text}" for text in (OPEN, conclusion(""), NOT_KNOWN, GIVE_UP, NOBODY)]
    prompt = render_messages(template, universe.model_copy(update={"candidates": ()}), "")[0]["content"]
    offers = [f" {descriptor} ; {descriptor} " for descriptor in descriptors]
    world = [*asked, *thoughts, *known, *replies, *faults, *ends, *offers, "user", "assistant", prompt]
    for text in world:
        for _ in range(_WORDS_OF_THE_WORLD_WEIGHT):
            yield text
    yield from (f" {word}" for word in WORDS)


def related_words(universe: RoutingPool) -> list[Sequence[str]]:
    """Words of one kind: names, candidates, verbs, domains, kinds and grades, and each domain with its verbs."""
    return [
        NAMES,
        candidate_names(universe),
        VERBS,
        DOMAINS,
        (SPECIALIST, GENERALIST),
        (*sorted(set(map(grade_of, universe.candidates))), NONE),
        tuple(LEVELS.values()),
        *((domain, *verbs) for domain, verbs in RELATIONS.items()),
    ]


def graded_words() -> dict[str, float]:
    """What a prompt says of the weight of cost, on a scale from -1 to 1."""
    return {word: 2 * weight - 1 for weight, word in LEVELS.items()}
