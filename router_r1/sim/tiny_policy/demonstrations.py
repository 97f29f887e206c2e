"""What the tiny policy is shown in its warm start: trajectories of a router that chooses candidates blindly.

Invariants:

- every search goes to a candidate drawn uniformly and independently of the question: routing is left to
  reinforcement learning;
- names, questions and replies are copied exactly, right or wrong; no fact of any one world is taught, since every
  demonstration happens in a world of its own;
- ids are put together piece by piece as the rollout loop does it: prompt, turn, observation, turn;
- only what the policy wrote is trained on, and of that not the mistakes that a demonstration recovers from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_r1.prompts import Template, failed_route, invalid_search, render_messages
from router_r1.protocol import InvalidSearch, Search, parse_turn, render_answer, render_search, render_think
from router_r1.rollout.tokens import encode_observation, encode_prompt
from router_r1.sim.tiny_policy.open_text import WORDS, draw_answer, draw_question, draw_word
from router_r1.sim.world.candidates import REPLY_TEMPLATES, Known, SimulatedPool
from router_r1.sim.world.facts import DOMAIN_OF, DOMAINS, NAMES, RELATIONS, VERBS, Hop, World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from router_r1.pool import RoutingPool

FIRST_HOP, SECOND_HOP, ONLY_HOP, OPEN = "First", "Now", "Here", "This is open."
"""How a thought begins. A question asked whole and one asked hop by hop differ in the first word, so that one token
decides between them."""

SHARES: dict[str, float] = {"single": 0.33, "two_hop_whole": 0.14, "two_hop_decomposed": 0.23, "open": 0.3}
"""Kind of demonstration -> its share."""
FAILED_ROUTE_SHARE, INVALID_SEARCH_SHARE = 0.06, 0.04
"""Share of demonstrations, of any kind, that first meet this fault and recover."""

_MAX_OBSERVATION_TOKENS = 256
_WORDS_OF_THE_WORLD_WEIGHT = 200


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

    question: str
    steps: list[Step]


@dataclass(frozen=True)
class _OpenSource:
    """A question source that answers whatever it is asked by one fixed answer."""

    answer: str

    def find(self, query: str) -> Known:
        return Known(key=query, answer=self.answer, skill=lambda _: 1.0, wrong=lambda _: self.answer)


def think_then_search(thought: str, candidate: str, query: str) -> str:
    return f"{render_think(f'{thought} Ask {candidate}.')}\n{render_search(candidate, query)}"


def think_then_answer(answer: str) -> str:
    return f"{render_think(conclusion(answer))}\n{render_answer(answer)}"


def conclusion(answer: str) -> str:
    # What a reply says is always named behind the same two words, in the last turn as between two hops, and what is
    # used next is always the name that was written last.
    return f"It is {answer}."


def about(asked: str, verb: str) -> str:
    # The domain stands close behind the verb that tells it, and the candidate right behind the domain: a tiny network
    # soon finds what is a few tokens away.
    return f"{asked} is about {DOMAIN_OF[verb]}."


def draw_script(rng: random.Random, names: tuple[str, ...]) -> Script:
    """A demonstration for a pool with these candidates."""
    kind = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    script = _KINDS[kind](rng, names)
    fault = rng.random()
    if fault < FAILED_ROUTE_SHARE:
        return _with_failed_route(script, rng, names)
    if fault < FAILED_ROUTE_SHARE + INVALID_SEARCH_SHARE:
        return _with_invalid_search(script, rng, names)
    return script


def _draw_world(rng: random.Random) -> World:
    return World(rng.getrandbits(62))


def _single(rng: random.Random, names: tuple[str, ...]) -> Script:
    world = _draw_world(rng)
    question = world.question(rng.choice(NAMES), rng.choice(VERBS))
    verb = question.hops[0].verb
    return _ask_whole(rng, names, question.text, about(f"{ONLY_HOP} {verb}", verb), SimulatedPool(world))


def _two_hop_whole(rng: random.Random, names: tuple[str, ...]) -> Script:
    world = _draw_world(rng)
    question = world.question(rng.choice(NAMES), rng.choice(VERBS), rng.choice(VERBS))
    verb = question.hops[-1].verb
    return _ask_whole(rng, names, question.text, about(f"{ONLY_HOP} {verb}", verb), SimulatedPool(world))


def _ask_whole(
    rng: random.Random, names: tuple[str, ...], question: str, thought: str, candidates: SimulatedPool
) -> Script:
    candidate = rng.choice(names)
    reply = _reply(rng, candidates, candidate, question)
    answer = answer_in(reply, question)
    return Script(
        question, [Step(think_then_search(thought, candidate, question), reply), Step(think_then_answer(answer))]
    )


def _two_hop_decomposed(rng: random.Random, names: tuple[str, ...]) -> Script:
    world = _draw_world(rng)
    candidates = SimulatedPool(world)
    question = world.question(rng.choice(NAMES), rng.choice(VERBS), rng.choice(VERBS))
    inner, outer = question.hops
    entity, opening, steps = inner.entity, FIRST_HOP, []
    for verb in (inner.verb, outer.verb):
        query = hop_query(verb, entity)
        candidate = rng.choice(names)
        reply = _reply(rng, candidates, candidate, query)
        # The thought puts the sub-question together, and the query copies it: the name that it needs was written last.
        thought = about(f"{opening} {query.removesuffix('?')}", verb)
        steps.append(Step(think_then_search(thought, candidate, query), reply))
        entity = answer_in(reply, query)
        opening = f"{conclusion(entity)} {SECOND_HOP}"
    return Script(question.text, [*steps, Step(think_then_answer(entity))])


def hop_query(verb: str, entity: str) -> str:
    """How one hop of a two-hop question is asked.

    In lower case, as inside the question: a capital would call up the question's beginning, and with it the wrong verb.
    """
    query = Hop(verb, entity, answer="").text
    return query[0].lower() + query[1:]


def _open(rng: random.Random, names: tuple[str, ...]) -> Script:
    question, answer, candidate = draw_question(rng), draw_answer(rng), rng.choice(names)
    reply = _reply(rng, SimulatedPool(_draw_world(rng), [_OpenSource(answer)]), candidate, question)
    return Script(
        question, [Step(think_then_search(OPEN, candidate, question), reply), Step(think_then_answer(answer))]
    )


_KINDS: dict[str, Callable[[random.Random, tuple[str, ...]], Script]] = {
    "single": _single,
    "two_hop_whole": _two_hop_whole,
    "two_hop_decomposed": _two_hop_decomposed,
    "open": _open,
}


def _reply(rng: random.Random, candidates: SimulatedPool, candidate: str, query: str) -> str:
    # A pool other than the simulated one is demonstrated with the simulated candidates' wording.
    speaker = candidate if candidate in candidates.names else rng.choice(candidates.names)
    return candidates.reply(speaker, query)


def answer_in(reply: str, question: str) -> str:
    """The name that a reply gives: the one that the question does not hold, else the question's own entity."""
    found = [word for word in reply.replace(".", " ").split() if word in _NAMES]
    return next((name for name in found if name not in question), found[0])


_NAMES = frozenset(NAMES)


def _with_failed_route(script: Script, rng: random.Random, names: tuple[str, ...]) -> Script:
    """Let the first route fail once or twice, each time to ask another candidate the same."""
    first, *rest = script.steps
    order = rng.sample(names, k=min(len(names), rng.choice((2, 2, 3))))
    asked = _candidate_of(first, names)
    turns = [Step(first.turn.replace(asked, name), failed_route(name)) for name in order if name != asked]
    return Script(script.question, [*turns[:2], first, *rest])


def _with_invalid_search(script: Script, rng: random.Random, names: tuple[str, ...]) -> Script:
    """Put an invalid search before the first one; it is no example to follow."""
    first = script.steps[0]
    asked = _candidate_of(first, names)
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
    return Script(script.question, [Step(turn, invalid_search(reason, names), is_mistake=True), *script.steps])


def _candidate_of(step: Step, names: tuple[str, ...]) -> str:
    action = parse_turn(step.turn)
    assert isinstance(action, Search)
    return action.candidate


class Demonstrations:
    """Draws demonstrations as token ids.

    Args:
        tokenizer: of the policy.
        pool: its candidates are named in the prompt and asked.
        template: the prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, pool: RoutingPool, template: Template) -> None:
        self.tokenizer, self._pool, self._template = tokenizer, pool, template

    def draw(self, rng: random.Random) -> Example:
        return self.encode(draw_script(rng, self._pool.names))

    def encode(self, script: Script) -> Example:
        ids = encode_prompt(self.tokenizer, render_messages(self._template, self._pool, script.question))
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


def draw_repetition(rng: random.Random, vocabulary: range, length: int) -> Example:
    """Random phrases of random tokens, repeated at random distances; the third token of a repetition on is trained.

    The phrases share few tokens, so that what comes next depends on more than the last one.

    Args:
        vocabulary: ids to draw from.
        length: of the example, in tokens.
    """
    tokens = rng.sample(vocabulary, rng.choice((12, 25, 50, 200)))
    phrases = [rng.choices(tokens, k=rng.randint(4, 16)) for _ in range(rng.randint(1, 3))]
    ids: list[int] = []
    trained: list[bool] = []
    seen: set[int] = set()
    while len(ids) < length:
        chosen = rng.randrange(len(phrases))
        is_filler = chosen in seen and rng.random() < 0.3
        piece = rng.choices(tokens, k=rng.randint(1, 3)) if is_filler else phrases[chosen]
        ids += piece
        trained += [chosen in seen and not is_filler and at > 1 for at in range(len(piece))]
        seen.add(chosen)
    return Example(ids[:length], trained[:length])


def tokenizer_corpus(pool: RoutingPool, template: Template) -> Iterator[str]:
    """Text for the tokenizer's merges, without any name: the world's wording first, then common words."""
    asked = [f" Who {verb} the one who {verb} ?" for verb in VERBS]
    thoughts = [
        f" {opening} {verb} is about {DOMAIN_OF[verb]}. Ask ."
        for opening in (f"{FIRST_HOP} who", f"{SECOND_HOP} who", ONLY_HOP)
        for verb in VERBS
    ]
    replies = [f" {text.format(answer='', predicate='')}" for text in REPLY_TEMPLATES]
    faults = [f" {failed_route('')}", f" {invalid_search('', ())}"]
    prompt = render_messages(template, pool, "")[0]["content"]
    for name in pool.names:
        prompt = prompt.replace(f" {name}", "")
    world = [*asked, *thoughts, *replies, *faults, f" {OPEN} {conclusion('')}", "user", "assistant", prompt]
    for text in world:
        for _ in range(_WORDS_OF_THE_WORLD_WEIGHT):
            yield text
    yield from (f" {word}" for word in WORDS)


def related_words(pool: RoutingPool) -> list[Sequence[str]]:
    """Words of one kind: names, candidates, verbs, domains, and each domain with its verbs."""
    return [NAMES, pool.names, VERBS, DOMAINS, *((domain, *verbs) for domain, verbs in RELATIONS.items())]
