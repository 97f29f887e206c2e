"""A seeded synthetic world of facts, and the questions that can be asked about it.

Invariants:

- a fact depends on (seed, relation, entity) only: the same in every process and every Python version;
- a fact about one of the famous names is the same in every world: it can be known without asking;
- names and wording do not depend on the seed, so that one tokenizer and one warm-started policy fit every world;
- no name is a prefix of another, none occurs inside a word of a question or a reply: each can be a single token;
- a question belongs to exactly one split, whatever the seed of the draw.

Little is imported: training, the pool server and the tokenizer's builder all read the world.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

from router_r1.datasets import normalise_question
from router_r1.errors import ConfigError

RELATIONS: dict[str, tuple[str, ...]] = {
    "film": ("directed", "scored", "produced", "edited"),
    "music": ("sang", "composed", "recorded", "arranged"),
    "geography": ("governs", "founded", "mapped", "rebuilt"),
    "science": ("invented", "discovered", "patented", "proved"),
    "sport": ("captains", "coaches", "owns", "sponsors"),
    "history": ("ruled", "conquered", "united", "freed"),
}
"""Domain -> the verbs that belong to it and to no other domain."""

DOMAINS: tuple[str, ...] = tuple(RELATIONS)
DOMAIN_OF: dict[str, str] = {verb: domain for domain, verbs in RELATIONS.items() for verb in verbs}
VERBS: tuple[str, ...] = tuple(DOMAIN_OF)

SPLITS: dict[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Split -> share of all questions."""

_SOURCE = "world questions"
_NUM_NAMES = 512
_ONSETS, _VOWELS, _CODAS = "bdgklmnprstvz", "aeiou", "klmnr"
# Words with a meaning of their own, or that begin like an insult.
_AVOIDED = ("Kike", "Lade", "Mada", "Neg", "Nig", "Pid", "Pus", "Tit", "Vag", "Vega")

MAX_HOPS = 3
_NUM_FAMOUS = 16

_QUESTION = re.compile(r"who (\w+)(?: the one who (\w+))?(?: the one who (\w+))? (\w+)")


def digest(*key: object) -> int:
    """256 bits that depend on the key alone (SHA-256 of its parts), unlike `hash()`."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, key)).encode("utf-8", "surrogatepass")).digest(), "big")


def uniform(*key: object) -> float:
    """A number in [0, 1) drawn by the key."""
    return (digest(*key) >> 203) / 2**53


def _make_names() -> tuple[str, ...]:
    # All of one length, so that none is a prefix of another.
    syllables = product(_ONSETS.upper(), _VOWELS, _ONSETS, _VOWELS, _CODAS)
    allowed = [name for name in map("".join, syllables) if not name.startswith(_AVOIDED)]
    return tuple(sorted(sorted(allowed, key=lambda name: digest("name", name))[:_NUM_NAMES]))


NAMES: tuple[str, ...] = _make_names()
"""The entities, in alphabetical order. [512]"""

FAMOUS: tuple[str, ...] = tuple(sorted(NAMES, key=lambda name: digest("famous", name))[:_NUM_FAMOUS])
"""Names that everybody knows all about, the policy too: facts about them depend on no seed. [16]"""

_INDEX = {name: i for i, name in enumerate(NAMES)}
_BY_FOLDED = {name.casefold(): name for name in NAMES}


@dataclass(frozen=True)
class Hop:
    """One fact: `answer` is who `verb` `entity`."""

    verb: str
    entity: str
    answer: str

    @property
    def domain(self) -> str:
        return DOMAIN_OF[self.verb]

    @property
    def text(self) -> str:
        """The single-hop question for this fact."""
        return f"Who {self.verb} {self.entity}?"


@dataclass(frozen=True)
class WorldQuestion:
    """A question of one to three hops. `hops` stand in the order in which they must be resolved (innermost first)."""

    hops: tuple[Hop, ...]

    @property
    def predicate(self) -> str:
        """What is said of the answer: "directed Karol", "coaches the one who directed Karol"."""
        return " the one who ".join(hop.verb for hop in reversed(self.hops)) + f" {self.hops[0].entity}"

    @property
    def text(self) -> str:
        return f"Who {self.predicate}?"

    @property
    def answer(self) -> str:
        return self.hops[-1].answer

    @property
    def golden_answers(self) -> list[str]:
        return [self.answer]

    @property
    def num_hops(self) -> int:
        return len(self.hops)

    @property
    def is_known(self) -> bool:
        """Whether it asks for one fact about a famous name."""
        return self.num_hops == 1 and self.hops[0].entity in FAMOUS

    @property
    def split(self) -> str:
        """The split this question belongs to, by its text alone."""
        share = uniform("split", normalise_question(self.text))
        for name, width in SPLITS.items():
            if share < width:
                return name
            share -= width
        return "train"


@dataclass(frozen=True)
class Shares:
    """Share of each kind among the world's questions; the rest ask for one fact about a name that is not famous."""

    two_hop: float = 0.35
    three_hop: float = 0.15
    known: float = 0.1
    """Of one fact about a famous name."""

    def check(self, source: str) -> None:
        """See that they are shares of one whole.

        Args:
            source: where they were written, for error texts.

        Raises:
            ConfigError: one lies outside [0, 1], or all are more than 1 together.
        """
        shares = {f"{name}_share": share for name, share in vars(self).items()}
        for key, share in shares.items():
            if not 0 <= share <= 1:
                raise ConfigError(source, key, share, "must be between 0 and 1")
        if sum(shares.values()) > 1:
            raise ConfigError(source, " + ".join(shares), round(sum(shares.values()), 6), "must be at most 1 together")


ONE_HOP = Shares(0, 0, 0)


class World:
    """All facts of one seed.

    Args:
        seed: which world; another seed gives other facts about the same names.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fact(self, verb: str, entity: str) -> str:
        """Who `verb` `entity`: a name other than `entity`. KeyError for a verb or a name that is not of this world."""
        own = _INDEX[entity]
        seed = "common knowledge" if entity in FAMOUS else self.seed
        other = digest(seed, "fact", DOMAIN_OF[verb], verb, entity) % (len(NAMES) - 1)
        return NAMES[other + (other >= own)]

    def question(self, entity: str, *verbs: str) -> WorldQuestion:
        """The question that applies `verbs` to `entity`, the first verb first (innermost)."""
        hops = []
        for verb in verbs:
            hops.append(Hop(verb, entity, self.fact(verb, entity)))
            entity = hops[-1].answer
        return WorldQuestion(tuple(hops))

    def parse(self, query: str) -> WorldQuestion | None:
        """The question that `query` asks, whatever its case and punctuation; None if it is not one of this world's."""
        match = _QUESTION.fullmatch(normalise_question(query))
        if match is None:
            return None
        verbs = [verb for verb in (match[3], match[2], match[1]) if verb is not None]
        entity = _BY_FOLDED.get(match[4])
        if entity is None or any(verb not in DOMAIN_OF for verb in verbs):
            return None
        return self.question(entity, *verbs)

    def generate(self, split: str, n: int, seed: int = 0, shares: Shares | None = None) -> list[WorldQuestion]:
        """`n` distinct questions of a split, in random order.

        Args:
            split: "train", "val" or "test"; no question is in two of them.
            n: how many.
            seed: of the draw; it changes neither facts nor splits.
            shares: of each kind of question.

        Raises:
            ConfigError: unknown split, impossible shares, or more questions wanted than the split holds.
        """
        if split not in SPLITS:
            raise ConfigError(_SOURCE, "split", split, f"must be one of {', '.join(SPLITS)}")
        if n < 0:
            raise ConfigError(_SOURCE, "n", n, "must not be negative")
        shares = shares or Shares()
        shares.check(_SOURCE)
        two, three, known = (round(n * share) for share in (shares.two_hop, shares.three_hop, shares.known))
        wanted = {(3, False): three, (2, False): two, (1, True): known, (1, False): n - two - three - known}
        questions: list[WorldQuestion] = []
        for (num_hops, is_known), count in wanted.items():
            drawn = list(islice(self._of_kind(split, seed, num_hops, is_known), count))
            if len(drawn) < count:
                kind = f"{num_hops}-hop questions of {split}" + (" about famous names" if is_known else "")
                raise ConfigError(_SOURCE, kind, count, f"only {len(drawn)} exist; ask for at most that")
            questions += drawn
        return sorted(questions, key=lambda question: digest("order", seed, question.text))

    def _of_kind(self, split: str, seed: int, num_hops: int, is_known: bool) -> Iterator[WorldQuestion]:
        for question in self._shuffled(num_hops, split, seed):
            if question.split == split and question.is_known == is_known:
                yield question

    def _shuffled(self, num_hops: int, *key: object) -> Iterator[WorldQuestion]:
        """All questions of so many hops in an order drawn by the key, each once (a lazy Fisher-Yates shuffle)."""
        # random() is the one method whose sequence Python promises to keep between versions.
        rng = random.Random(digest("draw", self.seed, num_hops, *key))
        moved: dict[int, int] = {}
        for remaining in range(len(NAMES) * len(VERBS) ** num_hops, 0, -1):
            pick = int(rng.random() * remaining)
            index = moved.get(pick, pick)
            moved[pick] = moved.get(remaining - 1, remaining - 1)
            index, name = divmod(index, len(NAMES))
            verbs = [VERBS[index // len(VERBS) ** hop % len(VERBS)] for hop in range(num_hops)]
            yield self.question(NAMES[name], *verbs)
