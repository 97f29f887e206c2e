"""The simulated candidates: what each knows, how each words it, how long each takes.

Invariants:

- at temperature 0 (`sample` 0) a reply depends on (world seed, candidate, normalised query) only;
- what a candidate knows never depends on `sample`: a higher temperature changes the wording and the wrong name only;
- a wrong answer is worded as confidently as a right one; whether a candidate admits that it does not know, instead of
  giving one, depends on the query alone.

Prices are not here: they belong to the pool files (`configs/pools/sim.yaml`, `dealt.yaml`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from router_r1.datasets import normalise_question
from router_r1.sim.world.facts import DOMAINS, NAMES, World, WorldQuestion, digest, uniform


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One simulated candidate."""

    name: str
    skill: float
    """Probability of knowing a single-hop fact outside its own domain."""
    domain: str | None = None
    """The domain a specialist is good at; None: all alike."""
    domain_skill: float = 0.0
    """Probability of knowing a single-hop fact of its own domain."""
    two_hop_skill: float = 0.0
    """Probability of answering a two-hop question that is asked whole; of three hops, half of it."""
    admits: float = 0.0
    """Share of the facts it does not know of which it says so, instead of giving a wrong name."""
    wordy: bool = False
    """Surrounds the answer with words that cost tokens and say nothing."""
    latency_ms: float
    """Median of the log-normal latency, milliseconds."""
    latency_sigma: float = 0.4
    """Standard deviation of the latency's logarithm."""

    def knows_share(self, domain: str, num_hops: int = 1) -> float:
        """Probability of a right answer to a question of `num_hops` hops asked whole."""
        if num_hops > 1:
            return self.two_hop_skill if num_hops == 2 else self.two_hop_skill / 2
        return self.domain_skill if domain == self.domain else self.skill


def _named_specialist(name: str, domain: str, latency_ms: float) -> Profile:
    return Profile(name=name, domain=domain, domain_skill=0.95, skill=0.15, latency_ms=latency_ms)


NAMED: tuple[Profile, ...] = (
    _named_specialist("CineMind-7B", "film", 20),
    _named_specialist("Melodia-7B", "music", 20),
    _named_specialist("Atlas-8B", "geography", 25),
    _named_specialist("Newton-8B", "science", 25),
    _named_specialist("Arena-7B", "sport", 20),
    _named_specialist("Chronos-8B", "history", 25),
    Profile(name="Omni-72B", skill=0.85, two_hop_skill=0.5, wordy=True, latency_ms=60),
    Profile(name="Pico-1B", skill=0.25, latency_ms=10),
)
"""The eight of the pool `sim`, whose names stay the same."""

ALL = "all"
"""What stands for the domain in the name of a generalist."""
SPECIALIST, GENERALIST = "specialist", "generalist"
"""How a descriptor begins: `specialist film plain`, `generalist solid`."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What the last word of a dealt candidate's descriptor comes to."""

    word: str
    skill: float
    """Of a specialist, in its own domain."""
    general_skill: float
    """Of a generalist, in any domain."""
    two_hop_skill: float
    """Of a generalist."""
    admits: float = 0.0
    wordy: bool = False
    latency_ms: float


GRADES: tuple[Grade, ...] = (
    Grade(word="expert", skill=0.96, general_skill=0.9, two_hop_skill=0.2, latency_ms=60),
    Grade(word="solid", skill=0.86, general_skill=0.84, two_hop_skill=0.12, latency_ms=35),
    # The boaster: the grandest word, and many of them.
    Grade(word="brilliant", skill=0.5, general_skill=0.45, two_hop_skill=0.05, wordy=True, latency_ms=50),
    # The modest one: better than it says.
    Grade(word="plain", skill=0.9, general_skill=0.82, two_hop_skill=0.12, admits=0.8, latency_ms=25),
    Grade(word="light", skill=0.74, general_skill=0.5, two_hop_skill=0.05, admits=0.8, latency_ms=15),
)
TINY = Profile(name="all-tiny", skill=0.2, two_hop_skill=0.02, latency_ms=8)
"""The dwarf among the generalists."""

_ELSEWHERE = 0.1
"""Skill of a specialist outside its own domain."""


def _graded(domain: str, grade: Grade) -> Profile:
    is_specialist = domain != ALL
    return Profile(
        name=f"{domain}-{grade.word}",
        domain=domain if is_specialist else None,
        domain_skill=grade.skill if is_specialist else 0.0,
        skill=_ELSEWHERE if is_specialist else grade.general_skill,
        two_hop_skill=_ELSEWHERE if is_specialist else grade.two_hop_skill,
        admits=grade.admits,
        wordy=grade.wordy,
        latency_ms=grade.latency_ms,
    )


SPECIALISTS: tuple[Profile, ...] = tuple(_graded(domain, grade) for domain in DOMAINS for grade in GRADES)
"""Of the pool `dealt`: one of each grade in each domain. [30]"""
GENERALISTS: tuple[Profile, ...] = (*(_graded(ALL, grade) for grade in GRADES), TINY)
"""Of the pool `dealt`. [6]"""

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (*NAMED, *SPECIALISTS, *GENERALISTS)}

IGNORANCE = "I do not know."
"""What a candidate says that admits it."""

# The answer stands in every template; {predicate} is what the question says of it.
_WORLD_TEMPLATES = (
    "{answer} {predicate}.",
    "The answer is {answer}.",
    "It is {answer} who {predicate}.",
    "I believe it is {answer}.",
)
_PLAIN_TEMPLATES = ("The answer is {answer}.", "I believe it is {answer}.", "It is {answer}.")
_WORDY_OPENINGS = ("Let me answer this carefully.", "This is a good question to ask.")
_WORDY_CLOSINGS = (
    "This is well documented in many independent sources.",
    "You can find this in any of the usual books.",
)

REPLY_TEMPLATES: tuple[str, ...] = tuple(
    dict.fromkeys((*_WORLD_TEMPLATES, *_PLAIN_TEMPLATES, *_WORDY_OPENINGS, *_WORDY_CLOSINGS, IGNORANCE))
)
"""Every wording that a reply is put together from."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Tokens as the simulated server bills them: each word and each punctuation mark is one."""
    return sum(1 for _ in _TOKEN.finditer(text))


def truncate(text: str, max_tokens: int) -> str:
    """The first `max_tokens` tokens of `text`, by the rule of `count_tokens`."""
    ends = [match.end() for match in _TOKEN.finditer(text)]
    return text if len(ends) <= max_tokens else text[: ends[max_tokens - 1]]


@dataclass(frozen=True)
class Known:
    """A query that a source of questions recognised."""

    key: str
    """Identifies the question; equal for all spellings of it."""
    answer: str
    skill: Callable[[Profile], float]
    """Probability that a candidate answers it rightly."""
    wrong: Callable[[int], str]
    """A wrong answer, chosen by a random integer."""
    predicate: str | None = None
    """What the question says of its answer, if its wording allows to say so."""


class QuestionSource(Protocol):
    """Something that recognises questions and knows their answers."""

    def find(self, query: str) -> Known | None: ...


class WorldSource:
    """The questions of a synthetic world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def find(self, query: str) -> Known | None:
        question = self._world.parse(query)
        if question is None:
            return None
        return Known(
            key=normalise_question(question.text),
            answer=question.answer,
            skill=lambda profile: profile.knows_share(question.hops[-1].domain, question.num_hops),
            wrong=lambda draw: _wrong_name(question, draw),
            predicate=question.predicate,
        )


def _wrong_name(question: WorldQuestion, draw: int) -> str:
    taken = {question.answer, question.hops[0].entity}
    others = [name for name in NAMES if name not in taken]
    return others[draw % len(others)]


class SimulatedPool:
    """Answers queries the way the candidates of `PROFILES` would.

    Args:
        world: the facts; its seed also seeds what each candidate knows.
        sources: further questions that are recognised, asked in order after the world's.
        latencies: candidate -> (median in ms, sigma), where it differs from its profile.
    """

    def __init__(
        self,
        world: World,
        sources: Sequence[QuestionSource] = (),
        latencies: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.world = world
        self._latencies = {name: (p.latency_ms, p.latency_sigma) for name, p in PROFILES.items()} | dict(
            latencies or {}
        )
        self._sources: tuple[QuestionSource, ...] = (WorldSource(world), *sources)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(PROFILES)

    def reply(self, candidate: str, query: str, sample: int = 0) -> str:
        """What the candidate says to `query`.

        Args:
            candidate: a key of `PROFILES`.
            query: the question, or anything else: an unknown one is answered by some name, with confidence.
            sample: 0 for the greedy reply; another number for another wording.
        """
        profile = PROFILES[candidate]
        known = next((found for source in self._sources if (found := source.find(query))), None)
        key = known.key if known else normalise_question(query)
        draw = digest(self.world.seed, "reply", candidate, key, sample)
        if known is None:
            answer = NAMES[draw % len(NAMES)]
        elif uniform(self.world.seed, "knows", candidate, key) < known.skill(profile):
            answer = known.answer
        elif uniform(self.world.seed, "admits", candidate, key) < profile.admits:
            return IGNORANCE
        else:
            answer = known.wrong(draw)
        return _word(profile, answer, known.predicate if known else None, digest("wording", draw))

    def latency_s(self, candidate: str, query: str, sample: int = 0) -> float:
        """Seconds the candidate takes: log-normal around its median, fixed per request."""
        median_ms, sigma = self._latencies[candidate]
        share = uniform(self.world.seed, "latency", candidate, normalise_question(query), sample)
        z = NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6))
        return median_ms / 1000 * math.exp(sigma * z)


def _word(profile: Profile, answer: str, predicate: str | None, draw: int) -> str:
    templates = _PLAIN_TEMPLATES if predicate is None else _WORLD_TEMPLATES
    draw, pick = divmod(draw, len(templates))
    text = templates[pick].format(answer=answer, predicate=predicate)
    if not profile.wordy:
        return text
    draw, pick = divmod(draw, len(_WORDY_OPENINGS))
    return f"{_WORDY_OPENINGS[pick]} {text} {_WORDY_CLOSINGS[draw % len(_WORDY_CLOSINGS)]}"
