"""What the tiny policy is shown in its warm start: trajectories of a router that knows whom to ask only by hearsay.

Invariants:

- every question is asked of a pool of its own: what a candidate is called says nothing, what its descriptor says leads
  to its name;
- whom a search goes to is hearsay (`Hearsay`); what a candidate is worth and what it costs is left to reinforcement
  learning;
- a thought names what the choice depends on: what the pool has for the domain, its generalists, the weight of cost;
- names, questions and replies are copied exactly, right or wrong; no fact of any one world is taught, since every
  demonstration happens in a world of its own, but those about famous names, which all worlds share;
- ids are put together piece by piece as the rollout loop does it: prompt, turn, observation, turn;
- only what the policy wrote is trained on, and of that not the mistakes that a demonstration recovers from.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_r1.pool import Candidate, Deal, RoutingPool, draw_deal
from router_r1.prompts import Template, failed_route, invalid_search, render_messages
from router_r1.prompts.cost_words import COST_WEIGHTS, cost_word
from router_r1.protocol import InvalidSearch, Search, parse_turn, render_answer, render_search, render_think
from router_r1.rollout.tokens import encode_observation, encode_prompt
from router_r1.sim.tiny_policy.hearsay import GRADES_TOLD, HEARSAY, Hearsay, field_of, grade_of
from router_r1.sim.tiny_policy.open_text import draw_answer, draw_question, draw_word
from router_r1.sim.world.candidates import ALL, GENERALIST, IGNORANCE, NAMED, SPECIALIST, Known, SimulatedPool
from router_r1.sim.world.facts import DOMAIN_OF, FAMOUS, NAMES, VERBS, Hop, World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST_HOP, NEXT_HOP, ONLY_HOP, OPEN = "First", "Now", "Here", "This is open."
"""How a thought begins. A question asked whole and one asked hop by hop differ in the first word, so that one token
decides between them."""
THEN, ANSWER = "Then", "answer"
"""What a thought about a hop says of the rest: the verb of the next hop, or that the answer comes next. Without it a
policy stops after two hops, which most questions of several have, and unlearns the third."""
KNOWN = "I know who"
"""How a thought begins that needs nobody."""
NOT_KNOWN, GIVE_UP, NOBODY = "That is no answer.", "Nobody knows.", "nobody"
"""After a candidate that says that it does not know: ask another, or give up."""
NONE = "none"
"""What a thought says of a domain without a specialist."""

SHARES: dict[str, float] = {
    "single": 0.25,
    "known": 0.08,
    "whole": 0.1,
    "two_hops": 0.15,
    "three_hops": 0.22,
    "open": 0.2,
}
"""Kind of demonstration -> its share."""
FAILED_ROUTE_SHARE, INVALID_SEARCH_SHARE = 0.05, 0.03
"""Share of demonstrations, of any kind, that first meet this fault and recover."""
ASKS_ABOUT_KNOWN_SHARE = 0.4
"""Share of the questions about famous names that are asked nevertheless."""
_ASKS_ANOTHER_SHARE = 0.6

_MAX_OBSERVATION_TOKENS = 256


@dataclass(frozen=True)
class Example:
    """One training sequence."""

    ids: list[int]  # [length]
    trained: list[bool]  # [length], True where the token is to be predicted


@dataclass(frozen=True)
class Step:
    """One turn of a demonstration, and the observation's body if one follows."""

    turn: str
    body: str | None = None
    is_mistake: bool = False


@dataclass(frozen=True)
class Script:
    """A demonstration as text."""

    pool: RoutingPool
    cost_weight: float
    question: str
    steps: list[Step]


@dataclass(frozen=True)
class OpenSource:
    """A question source that answers whatever it is asked by one fixed answer."""

    answer: str

    def find(self, query: str) -> Known:
        return Known(key=query, answer=self.answer, skill=lambda _: 1.0, wrong=lambda _: self.answer)


class _Scene:
    """What one demonstration happens in: a world, a deal, a weight of cost."""

    def __init__(self, rng: random.Random, universe: RoutingPool, hearsay: Hearsay) -> None:
        self.rng, self._hearsay = rng, hearsay
        dealt = draw_deal(universe, "demonstration", rng.getrandbits(62)).shown
        names = rng.sample(candidate_names(universe), k=len(dealt))
        self._deal = Deal(tuple(entry._replace(name=name) for entry, name in zip(dealt, names, strict=True)))
        self.pool = self._deal.pool(universe)
        self.cost_weight = rng.choice(COST_WEIGHTS)
        self.world = World(rng.getrandbits(62))
        self.candidates = SimulatedPool(self.world)

    def choose(self, domain: str | None, other_than: Candidate | None = None) -> Candidate:
        offered = [c for c in self.pool.candidates if c != other_than]
        return self._hearsay.choose(self.rng, offered, domain, self.cost_weight)

    def about(self, asked: str, domain: str) -> str:
        """A thought: what is asked, its domain, and whom the pool has for it."""
        return f"{asked} is about {domain}, {SPECIALIST} {self._grades(domain)}, {GENERALIST} {self._grades(ALL)}."

    def _grades(self, field: str) -> str:
        grades = {grade_of(c) for c in self.pool.candidates if field_of(c) == field}
        return " ".join(sorted(grades, key=GRADES_TOLD.index) or (NONE,))

    def search(self, thought: str, candidate: Candidate, query: str) -> str:
        return think_then_search(f"{thought} {choice(candidate, self.cost_weight)}", candidate.name, query)

    def reply(self, candidate: Candidate, query: str, candidates: SimulatedPool | None = None) -> str:
        return (candidates or self.candidates).reply(self._deal.candidate(candidate.name), query)

    def ask(self, thought: str, domain: str | None, query: str) -> tuple[list[Step], str | None]:
        """Ask one candidate, and others while it does not know; the steps, and the answer or None."""
        steps: list[Step] = []
        candidate: Candidate | None = None
        while len(steps) < 2:
            candidate = self.choose(domain, other_than=candidate)
            reply = self.reply(candidate, query)
            steps.append(Step(self.search(thought, candidate, query), reply))
            if reply != IGNORANCE:
                return steps, answer_in(reply, query)
            if self.rng.random() >= _ASKS_ANOTHER_SHARE:
                break
            thought = f"{NOT_KNOWN} {thought.removeprefix(f'{NOT_KNOWN} ')}"
        return steps, None

    def script(self, question: str, steps: list[Step]) -> Script:
        return Script(self.pool, self.cost_weight, question, steps)


def choice(candidate: Candidate, cost_weight: float, before: str = "") -> str:
    """How a thought ends that is followed by a search; `before` is a sentence right before the choice."""
    weighed = f"In this question cost counts {cost_word(cost_weight)}."
    return " ".join(filter(None, (weighed, before, f"Ask {candidate.descriptor} {candidate.name}.")))


def think_then_search(thought: str, candidate: str, query: str) -> str:
    return f"{render_think(thought)}\n{render_search(candidate, query)}"


def think_then_answer(answer: str) -> str:
    return f"{render_think(conclusion(answer))}\n{render_answer(answer)}"


def give_up() -> str:
    return f"{render_think(GIVE_UP)}\n{render_answer(NOBODY)}"


def conclusion(answer: str) -> str:
    # What a reply says is always named behind the same two words, in the last turn as between two hops, and what is
    # used next is always the name that was written last.
    return f"It is {answer}."


def known_fact(verb: str, entity: str, answer: str) -> str:
    # Verb and name stand right before the answer: a tiny network looks up what the last few tokens say.
    return f"{KNOWN} {verb} {entity}. {conclusion(answer)}"


def draw_script(rng: random.Random, universe: RoutingPool, hearsay: Hearsay = HEARSAY) -> Script:
    """A demonstration with a deal of the universe."""
    kind = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    scene = _Scene(rng, universe, hearsay)
    script = _KINDS[kind](scene)
    if script.steps[0].body is None:  # nobody was asked
        return script
    fault = rng.random()
    if fault < FAILED_ROUTE_SHARE:
        return _with_failed_route(script, rng)
    if fault < FAILED_ROUTE_SHARE + INVALID_SEARCH_SHARE:
        return _with_invalid_search(script, rng)
    return script


def _ending(answer: str | None) -> Step:
    return Step(give_up() if answer is None else think_then_answer(answer))


def _single(scene: _Scene) -> Script:
    return _ask_whole(scene, num_hops=1)


def _whole(scene: _Scene) -> Script:
    return _ask_whole(scene, num_hops=scene.rng.choice((2, 2, 3)))


def _ask_whole(scene: _Scene, num_hops: int) -> Script:
    entity = scene.rng.choice(NAMES)
    if num_hops == 1 and entity in FAMOUS and scene.rng.random() > ASKS_ABOUT_KNOWN_SHARE:
        return _known(scene)
    question = scene.world.question(entity, *scene.rng.choices(VERBS, k=num_hops))
    verb = question.hops[-1].verb
    thought = scene.about(f"{ONLY_HOP} {verb}", DOMAIN_OF[verb])
    steps, answer = scene.ask(thought, DOMAIN_OF[verb], question.text)
    return scene.script(question.text, [*steps, _ending(answer)])


def _known(scene: _Scene) -> Script:
    question = scene.world.question(scene.rng.choice(FAMOUS), scene.rng.choice(VERBS))
    (hop,) = question.hops
    thought = known_fact(hop.verb, hop.entity, hop.answer)
    return scene.script(question.text, [Step(f"{render_think(thought)}\n{render_answer(hop.answer)}")])


def _decomposed(scene: _Scene, num_hops: int) -> Script:
    question = scene.world.question(scene.rng.choice(NAMES), *scene.rng.choices(VERBS, k=num_hops))
    entity, opening, steps = question.hops[0].entity, FIRST_HOP, list[Step]()
    rest = [*(f"who {hop.verb}" for hop in question.hops[1:]), ANSWER]
    for hop, then in zip(question.hops, rest, strict=True):
        query = hop_query(hop.verb, entity)
        # The thought puts the sub-question together, and the query copies it: the name that it needs was written last.
        thought = scene.about(f"{opening} {query.removesuffix('?')}", hop.domain)
        thought += f" {THEN} {then}."
        asked, answer = scene.ask(thought, hop.domain, query)
        steps += asked
        if answer is None or len(steps) > _MAX_SEARCHES:
            return scene.script(question.text, [*steps[:_MAX_SEARCHES], _ending(None)])
        entity = answer
        opening = f"{conclusion(entity)} {NEXT_HOP}"
    return scene.script(question.text, [*steps, _ending(entity)])


_MAX_SEARCHES = 4


def hop_query(verb: str, entity: str) -> str:
    """How one hop of a question of several is asked.

    In lower case, as inside the question: a capital would call up the question's beginning, and with it the wrong verb.
    """
    query = Hop(verb, entity, answer="").text
    return query[0].lower() + query[1:]


def _open(scene: _Scene) -> Script:
    question, answer, candidate = draw_question(scene.rng), draw_answer(scene.rng), scene.choose(None)
    reply = scene.reply(candidate, question, SimulatedPool(scene.world, [OpenSource(answer)]))
    return scene.script(
        question, [Step(scene.search(OPEN, candidate, question), reply), Step(think_then_answer(answer))]
    )


_KINDS: dict[str, Callable[[_Scene], Script]] = {
    "single": _single,
    "known": _known,
    "whole": _whole,
    "two_hops": lambda scene: _decomposed(scene, 2),
    "three_hops": lambda scene: _decomposed(scene, 3),
    "open": _open,
}


def answer_in(reply: str, question: str) -> str:
    """The name that a reply gives: the one that the question does not hold, else the question's own entity."""
    found = [word for word in reply.replace(".", " ").split() if word in _NAMES]
    return next((name for name in found if name not in question), found[0])


_NAMES = frozenset(NAMES)


def _with_failed_route(script: Script, rng: random.Random) -> Script:
    """Let the first route fail once or twice, each time to ask another candidate the same."""
    first, *rest = script.steps
    asked = _candidate_of(first, script.pool)
    order = rng.sample([c for c in script.pool.candidates if c != asked], k=rng.choice((1, 1, 2)))
    turns = [Step(_with_candidate(first.turn, asked, other), failed_route(other.name)) for other in order]
    return Script(script.pool, script.cost_weight, script.question, [*turns, first, *rest][-_MAX_SEARCHES - 1 :])


def _with_candidate(turn: str, asked: Candidate, other: Candidate) -> str:
    chosen = f"{asked.descriptor} {asked.name}."
    return turn.replace(chosen, f"{other.descriptor} {other.name}.").replace(f" {asked.name}:", f" {other.name}:")


def _with_invalid_search(script: Script, rng: random.Random) -> Script:
    """Put an invalid search before the first one; it is no example to follow."""
    first = script.steps[0]
    asked = _candidate_of(first, script.pool).name
    turn = rng.choice(
        (
            first.turn.replace(f"{asked}: ", f"{asked} "),
            render_search(asked, ""),
            first.turn.replace(asked, draw_word(rng)),
        )
    )
    action = parse_turn(turn)
    if isinstance(action, Search):
        reason = f"there is no candidate named {action.candidate!r}"
    else:
        assert isinstance(action, InvalidSearch)
        reason = action.reason
    mistake = Step(turn, invalid_search(reason, script.pool.names), is_mistake=True)
    return Script(script.pool, script.cost_weight, script.question, [mistake, *script.steps])


def _candidate_of(step: Step, pool: RoutingPool) -> Candidate:
    action = parse_turn(step.turn)
    assert isinstance(action, Search)
    return next(c for c in pool.candidates if c.name == action.candidate)


class Demonstrations:
    """Draws demonstrations as token ids.

    Args:
        tokenizer: of the policy.
        universe: the pool that is dealt from.
        template: the prompt.
        hearsay: what its choices know beforehand.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        universe: RoutingPool,
        template: Template,
        hearsay: Hearsay = HEARSAY,
    ) -> None:
        self.tokenizer, self._universe, self._template = tokenizer, universe, template
        self._hearsay = hearsay

    def draw(self, rng: random.Random) -> Example:
        return self.encode(draw_script(rng, self._universe, self._hearsay))

    def encode(self, script: Script) -> Example:
        messages = render_messages(self._template, script.pool, script.question, cost_weight=script.cost_weight)
        ids = encode_prompt(self.tokenizer, messages)
        trained = [False] * len(ids)
        for step in script.steps:
            turn = self.tokenizer.encode(step.turn, add_special_tokens=False)
            ids += turn
            trained += [not step.is_mistake] * len(turn)
            if step.body is not None:
                observation, _ = encode_observation(self.tokenizer, step.body, _MAX_OBSERVATION_TOKENS)
                ids += observation
                trained += [False] * len(observation)
        return Example(ids, trained)

    def draw_facts(self, rng: random.Random, count: int) -> Example:
        """`count` thoughts about famous names one behind the other; the answers are trained, and what leads to them."""
        ids: list[int] = []
        trained: list[bool] = []
        world = World()
        for _ in range(count):
            verb, entity = rng.choice(VERBS), rng.choice(FAMOUS)
            thought = render_think(known_fact(verb, entity, world.fact(verb, entity)))
            piece = self.tokenizer.encode(f"{thought}\n", add_special_tokens=False)
            ids += piece
            trained += [at > 5 for at in range(len(piece))]
        return Example(ids, trained)


def candidate_names(universe: RoutingPool) -> tuple[str, ...]:
    """What candidates may be called, each to be one token: in a deal of the universe, and in the pool `sim`."""
    assert universe.deals is not None
    return (*universe.deals.names, *(profile.name for profile in NAMED))
