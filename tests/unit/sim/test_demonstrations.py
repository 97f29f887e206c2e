"""What the warm start shows."""

import math
import random
import re
from collections import Counter
from itertools import pairwise

import pytest
import torch

from router_r1.pool import load_pool
from router_r1.prompts import failed_route, load_template
from router_r1.prompts.cost_words import COST_WEIGHTS, cost_word
from router_r1.protocol import Answer, InvalidSearch, Route, Search, Status, Trajectory, Turn, parse_turn
from router_r1.rewards.format import check_format
from router_r1.rollout.tokens import decode, encode_observation
from router_r1.sim.tiny_policy.demonstrations import (
    ANSWER,
    NOBODY,
    NONE,
    THEN,
    Demonstrations,
    Script,
    Step,
    answer_in,
    candidate_names,
    draw_script,
    think_then_answer,
    think_then_search,
)
from router_r1.sim.tiny_policy.hearsay import Hearsay, field_of, grade_of
from router_r1.sim.tiny_policy.repetitions import draw_repetition
from router_r1.sim.tiny_policy.vocabulary import tokenizer_corpus
from router_r1.sim.tiny_policy.weights import build_tokenizer
from router_r1.sim.world.candidates import IGNORANCE
from router_r1.sim.world.facts import DOMAINS, FAMOUS, NAMES, World

SCRIPTS = 1500


@pytest.fixture(scope="module")
def universe(project_root):
    return load_pool(project_root / "configs/pools/dealt.yaml")


@pytest.fixture(scope="module")
def demonstrations(universe):
    template = load_template("tiny")
    tokenizer = build_tokenizer(tokenizer_corpus(universe, template), (*candidate_names(universe), *NAMES))
    return Demonstrations(tokenizer, universe, template)


@pytest.fixture(scope="module")
def scripts(universe):
    return [draw_script(random.Random(i), universe) for i in range(SCRIPTS)]


@pytest.fixture(scope="module")
def asking(scripts):
    """Those that ask anybody."""
    return [script for script in scripts if searches(script)]


def as_trajectory(script: Script) -> Trajectory:
    """The demonstration as the rollout loop would have recorded it, without the mistakes it recovers from."""
    turns = []
    for step in script.steps:
        if step.is_mistake:
            continue
        turn = Turn([], [], step.turn, parse_turn(step.turn))
        if step.body is not None:
            turn.observation = f"\n<information> {step.body} </information>\n"
            turn.route = Route(turn.action.candidate, turn.action.query, step.body)
        turns.append(turn)
    return Trajectory([], turns, Status.ANSWERED)


def searches(script: Script) -> list[Search]:
    return [parse_turn(step.turn) for step in script.steps[:-1] if not step.is_mistake]


def hops_of(script: Script) -> int:
    return 1 + script.question.count(" the one who ")


def of_the_world(scripts):
    return [script for script in scripts if World().parse(script.question)]


def test_every_demonstration_keeps_to_the_format(scripts):
    assert {check_format(as_trajectory(script), script.pool) for script in scripts} == {""}


def test_at_most_four_searches_are_made(scripts):
    assert max(len(searches(script)) for script in scripts) <= 4


def test_every_demonstration_has_a_pool_of_its_own_in_which_a_name_may_be_anyone(scripts):
    assert len({tuple(c.name for c in script.pool.candidates) for script in scripts}) == SCRIPTS
    fields = {field_of(c) for script in scripts for c in script.pool.candidates if c.name == "Nova"}
    assert fields == {*DOMAINS, "all"}


def test_a_thought_says_whom_the_pool_has_for_the_domain_and_for_all_and_how_much_cost_counts(asking):
    for script in of_the_world(asking):
        thought = next(step for step in script.steps if not step.is_mistake).turn
        ((domain, grades, generalists),) = re.findall(
            r"is about ([a-z]+), specialist ([a-z ]+), generalist ([a-z ]+)\.", thought
        )[:1]
        for field, told in ((domain, grades), ("all", generalists)):
            found = {grade_of(c) for c in script.pool.candidates if field_of(c) == field}
            assert sorted(told.split()) == sorted(found or [NONE])
        assert f"In this question cost counts {cost_word(script.cost_weight)}. Ask " in thought


def test_nobody_asks_the_specialist_of_another_field(asking):
    asked = []
    for script in of_the_world(asking):
        step = next(step for step in script.steps if not step.is_mistake)
        domain = re.search(r"is about ([a-z]+)", step.turn)[1]
        first = script.pool.candidate(searches(script)[0].candidate)
        asked.append(field_of(first) in (domain, "all"))
    assert sum(asked) / len(asked) > 0.9  # those whose first route fails are asked by lot


def test_every_weight_of_cost_is_shown_alike(asking):
    weights = Counter(script.cost_weight for script in asking)
    assert set(weights) == set(COST_WEIGHTS)
    assert all(abs(count / weights.total() - 1 / 6) < 0.05 for count in weights.values())


def test_a_choice_is_the_descriptor_and_the_name_that_the_search_asks(asking):
    for script in asking:
        for step, search in zip((s for s in script.steps if not s.is_mistake), searches(script), strict=False):
            candidate = script.pool.candidate(search.candidate)
            assert f"Ask {candidate.descriptor} {candidate.name}." in step.turn


def chosen(universe, hearsay, *offered, domain, cost_weight=0.475, draws=4000):
    rng = random.Random(0)
    pool = [universe.candidate(name) for name in offered]
    return Counter(hearsay.choose(rng, pool, domain, cost_weight).name for _ in range(draws))


def test_the_domains_specialist_is_preferred_to_a_generalist_and_that_one_to_a_stranger(universe):
    hearsay = Hearsay(specialist_leaning=2.0, generalist_leaning=1.0)
    asked = chosen(universe, hearsay, "sport-solid", "all-solid", "film-solid", domain="sport")
    assert asked["sport-solid"] / asked["all-solid"] == pytest.approx(math.e, rel=0.15)
    assert asked["all-solid"] / asked["film-solid"] == pytest.approx(math.e, rel=0.15)


def test_of_a_question_without_a_domain_everybody_is_a_stranger_or_a_generalist(universe):
    asked = chosen(universe, Hearsay(), "sport-solid", "film-solid", domain=None)
    assert asked["sport-solid"] / asked.total() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("cost_weight", "dearer"), [(0.0, math.e), (0.475, 1.0), (0.95, 1 / math.e)])
def test_the_weight_of_cost_tips_the_balance_between_what_sounds_dear_and_what_sounds_neither(
    universe, cost_weight, dearer
):
    asked = chosen(
        universe, Hearsay(cost_leaning=1.0), "all-expert", "all-solid", domain="sport", cost_weight=cost_weight
    )
    assert asked["all-expert"] / asked["all-solid"] == pytest.approx(dearer, rel=0.15)


def test_where_cost_counts_nothing_who_sounds_dear_is_asked_and_where_it_counts_most_who_sounds_cheap(universe):
    asked = {weight: Counter() for weight in COST_WEIGHTS}
    for seed in range(4000):
        script = draw_script(random.Random(seed), universe)
        if searches(script):
            first = script.pool.candidate(searches(script)[0].candidate)
            asked[script.cost_weight][grade_of(first)] += 1
    dear = [sum(counts[grade] for grade in ("expert", "brilliant")) / counts.total() for counts in asked.values()]
    cheap = [sum(counts[g] for g in ("plain", "light", "tiny")) / counts.total() for counts in asked.values()]
    assert dear == sorted(dear, reverse=True)
    assert dear[0] > 0.7
    assert cheap == sorted(cheap)
    assert cheap[-1] > 0.7


def test_without_any_leaning_everybody_is_asked_alike_whatever_the_question(universe):
    nothing = Hearsay(specialist_leaning=0.0, generalist_leaning=0.0, cost_leaning=0.0)
    offered = ("sport-expert", "all-plain", "film-light")
    asked = chosen(universe, nothing, *offered, domain="sport", cost_weight=0.0)
    assert all(asked[name] / asked.total() == pytest.approx(1 / 3, abs=0.03) for name in offered)


def test_a_query_is_the_question_or_its_first_hop(asking):
    for script in asking:
        first, innermost = searches(script)[0].query, script.question.rpartition(" the one who ")[2]
        assert first in (script.question, f"who {innermost}")


def test_questions_of_several_hops_are_asked_whole_and_hop_by_hop(asking):
    for hops in (2, 3):
        several = [script for script in of_the_world(asking) if hops_of(script) == hops]
        decomposed = sum(searches(script)[0].query != script.question for script in several)
        assert 0.5 < decomposed / len(several) < 0.9


def test_the_next_hop_asks_about_the_name_in_the_reply_before(asking):
    chains = 0
    for script in of_the_world(asking):
        steps = [step for step in script.steps[:-1] if step.body != IGNORANCE and not step.is_mistake]
        steps = [step for step in steps if not step.body.startswith(failed_route("").partition(" from")[0])]
        verbs = script.question.removeprefix("Who ").removesuffix("?").split(" the one who ")[::-1]
        for hop, (before, after) in enumerate(pairwise(steps), start=1):
            asked, then = parse_turn(before.turn).query, parse_turn(after.turn).query
            assert then == f"who {verbs[hop]} {answer_in(before.body, asked)}?"
            chains += 1
    assert chains > 100


def test_a_thought_about_one_hop_of_several_says_which_comes_next_and_the_last_that_none_does(asking):
    seen = Counter()
    for script in of_the_world(asking):
        verbs = [hop.verb for hop in World().parse(script.question).hops]
        for step in (step for step in script.steps[:-1] if not step.is_mistake):
            asked = parse_turn(step.turn).query
            said = f"{THEN} " in step.turn
            assert said == (len(verbs) > 1 and asked != script.question), step.turn
            if said:
                rest = [f"who {verb}" for verb in verbs] + [ANSWER]
                hops = [at for at, verb in enumerate(verbs) if asked.startswith(f"who {verb} ")]
                assert any(f" {THEN} {rest[at + 1]}. In this question" in step.turn for at in hops), step.turn
                seen[rest[hops[0] + 1] == ANSWER] += 1
    assert min(seen.values()) > 100


def test_the_answer_is_copied_from_the_last_reply_or_nobodys(asking):
    for script in asking:
        answer = parse_turn(script.steps[-1].turn)
        assert isinstance(answer, Answer)
        assert answer.text in script.steps[-2].body or answer.text == NOBODY


def test_who_does_not_know_is_followed_by_another_or_by_giving_up(asking):
    followed = Counter()
    for script in asking:
        for step, after in pairwise(script.steps):
            if step.body == IGNORANCE:
                action = parse_turn(after.turn)
                followed[type(action).__name__] += 1
                if isinstance(action, Search):
                    assert action.query == parse_turn(step.turn).query
                    assert action.candidate != parse_turn(step.turn).candidate
                else:
                    assert action.text == NOBODY
    assert min(followed.values()) > 30


def test_facts_about_famous_names_are_known_without_asking_and_are_right_in_every_world(scripts):
    alone = [script for script in scripts if not searches(script)]
    assert len(alone) > 0.05 * SCRIPTS
    for script in alone:
        question = World(7).parse(script.question)
        assert question.hops[0].entity in FAMOUS
        assert parse_turn(script.steps[0].turn) == Answer(question.answer)


def test_wrong_replies_are_believed(asking):
    """Some answer of the demonstrations is wrong in every world, so no fact can be learned from them."""
    question = "Who directed"
    answers = {script.steps[-1].turn for script in asking if script.question.startswith(question)}
    assert len(answers) > 20


def test_faults_are_recovered_from_by_asking_another_candidate(asking):
    outage = failed_route("").partition(" from")[0]
    failed = [script for script in asking if script.steps[0].body.startswith(outage)]
    assert 0.02 * SCRIPTS < len(failed) < 0.1 * SCRIPTS
    for script in failed:
        asked = searches(script)
        assert asked[0].candidate != asked[1].candidate
        assert asked[0].query == asked[1].query


def test_invalid_searches_are_answered_but_not_trained(scripts, demonstrations):
    invalid = [script for script in scripts if script.steps[0].is_mistake]
    assert 0.01 * SCRIPTS < len(invalid) < 0.06 * SCRIPTS
    reasons = {script.steps[0].body.partition(".")[0] for script in invalid}
    assert len(reasons) >= 3
    assert any(isinstance(parse_turn(script.steps[0].turn), InvalidSearch) for script in invalid)
    script = invalid[0]
    example = demonstrations.encode(script)
    trained = [i for i, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    assert decode(demonstrations.tokenizer, trained) == "".join(step.turn for step in script.steps[1:])


def test_ids_are_those_of_the_pieces_and_only_policy_tokens_are_trained(demonstrations, scripts):
    pool, question = scripts[0].pool, "Who directed Bakor?"
    turns = [think_then_search("Hm.", pool.names[0], question), think_then_answer(NAMES[0])]
    body = f"{NAMES[0]} directed Bakor."
    example = demonstrations.encode(Script(pool, 0.4, question, [Step(turns[0], body), Step(turns[1])]))
    tokenizer = demonstrations.tokenizer
    pieces = [tokenizer.encode(turns[0]), encode_observation(tokenizer, body, 256)[0], tokenizer.encode(turns[1])]
    start = len(example.ids) - sum(map(len, pieces))
    assert example.ids[start:] == [i for piece in pieces for i in piece]
    expected = [False] * start
    for piece, is_policy in zip(pieces, (True, False, True), strict=True):
        expected += [is_policy] * len(piece)
    assert example.trained == expected


def test_a_sheet_of_facts_trains_what_follows_a_name(demonstrations):
    example = demonstrations.draw_facts(random.Random(0), 5)
    answers = decode(demonstrations.tokenizer, [i for i, t in zip(example.ids, example.trained, strict=True) if t])
    whole = decode(demonstrations.tokenizer, example.ids)
    assert whole.count("I know who") == answers.count(" It is ") == 5
    assert "I know who" not in answers


def test_open_text_covers_the_whole_vocabulary_of_bytes_and_merges(demonstrations):
    seen = Counter(i for seed in range(1500) for i in demonstrations.draw(random.Random(seed)).ids)
    merges = demonstrations.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    assert sum(seen[i] > 0 for i in range(merges)) > 0.7 * merges


def test_repetitions_repeat_what_stood_before():
    for seed in range(50):
        example = draw_repetition(random.Random(seed), range(3, 2000), 64)
        assert len(example.ids) == len(example.trained) == 64
        text = torch.tensor(example.ids)
        for at in (i for i, is_trained in enumerate(example.trained) if is_trained):
            triple = text[at - 2 : at + 1]
            assert any(torch.equal(text[i : i + 3], triple) for i in range(at - 2))


def test_no_demonstration_tells_a_fact_of_the_default_world_but_those_that_everybody_knows(asking):
    """A reply is as often right about the default world as a guess would be."""
    world = World()
    single = [
        s for s in of_the_world(asking) if hops_of(s) == 1 and world.parse(s.question).hops[0].entity not in FAMOUS
    ]
    right = sum(world.parse(s.question).answer == parse_turn(s.steps[-1].turn).text for s in single)
    assert right <= 0.02 * len(single)
