"""What the warm start shows."""

import random
from collections import Counter

import pytest
import torch

from router_r1.pool import load_pool
from router_r1.prompts import failed_route, load_template
from router_r1.protocol import Answer, InvalidSearch, Route, Search, Status, Trajectory, Turn, parse_turn
from router_r1.rewards.format import check_format
from router_r1.rollout.tokens import decode, encode_observation
from router_r1.sim.tiny_policy.demonstrations import (
    SHARES,
    Demonstrations,
    Script,
    Step,
    answer_in,
    draw_repetition,
    draw_script,
    think_then_answer,
    think_then_search,
    tokenizer_corpus,
)
from router_r1.sim.tiny_policy.weights import build_tokenizer
from router_r1.sim.world.facts import NAMES, World

SCRIPTS = 1500


@pytest.fixture(scope="module")
def pool(project_root):
    return load_pool(project_root / "configs/pools/sim.yaml")


@pytest.fixture(scope="module")
def demonstrations(pool):
    template = load_template("tiny")
    tokenizer = build_tokenizer(tokenizer_corpus(pool, template), (*pool.names, *NAMES))
    return Demonstrations(tokenizer, pool, template)


@pytest.fixture(scope="module")
def scripts(pool):
    return [draw_script(random.Random(i), pool.names) for i in range(SCRIPTS)]


def as_trajectory(script: Script, pool) -> Trajectory:
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


def test_every_demonstration_keeps_to_the_format(scripts, pool):
    assert {check_format(as_trajectory(script, pool), pool) for script in scripts} == {""}


def test_at_most_four_searches_are_made(scripts):
    assert max(len(script.steps) for script in scripts) <= 5


def test_candidates_are_chosen_uniformly_whatever_the_question(scripts, pool):
    for verbs in (("directed", "scored", "produced", "edited"), None):
        chosen = Counter(
            searches(s)[-1].candidate
            for s in scripts
            if verbs is None or any(f"Who {verb}" in s.question for verb in verbs)
        )
        expected = chosen.total() / len(pool.names)
        assert (
            sum((chosen[name] - expected) ** 2 / expected for name in pool.names) < 24.3
        )  # chi-square, 7 dof, p = 0.001


def test_a_query_is_the_question_or_one_of_its_hops(scripts):
    for script in scripts:
        first = searches(script)[0].query
        verb_and_entity = script.question.removeprefix("Who ").rpartition(" the one who ")
        assert first in (script.question, f"who {verb_and_entity[2]}")


def test_two_hop_questions_are_asked_whole_and_hop_by_hop(scripts):
    two_hop = [script for script in scripts if " the one who " in script.question]
    decomposed = sum(searches(script)[0].query != script.question for script in two_hop)
    share = SHARES["two_hop_decomposed"] / (SHARES["two_hop_decomposed"] + SHARES["two_hop_whole"])
    assert decomposed / len(two_hop) == pytest.approx(share, abs=0.05)


def test_the_second_hop_asks_about_the_name_in_the_first_reply(scripts):
    for script in scripts:
        asked = searches(script)
        if len(asked) == 2 and " the one who " in script.question and asked[0].query != asked[1].query:
            step = next(step for step in script.steps if not step.is_mistake)
            assert asked[1].query == f"who {script.question.split()[1]} {answer_in(step.body, asked[0].query)}?"


def test_the_answer_is_copied_from_the_last_reply(scripts):
    for script in scripts:
        answer = parse_turn(script.steps[-1].turn)
        assert isinstance(answer, Answer)
        assert answer.text in script.steps[-2].body


def test_wrong_replies_are_believed(scripts):
    """Some answer of the demonstrations is wrong in every world, so no fact can be learned from them."""
    question = "Who directed"
    answers = {script.steps[-1].turn for script in scripts if script.question.startswith(question)}
    assert len(answers) > 0.8 * sum(script.question.startswith(question) for script in scripts) ** 0.9


def test_faults_are_recovered_from_by_asking_another_candidate(scripts):
    outage = failed_route("").partition(" from")[0]
    failed = [script for script in scripts if script.steps[0].body.startswith(outage)]
    assert 0.03 * SCRIPTS < len(failed) < 0.1 * SCRIPTS
    for script in failed:
        asked = searches(script)
        assert asked[0].candidate != asked[1].candidate
        assert asked[0].query == asked[1].query


def test_invalid_searches_are_answered_but_not_trained(scripts, demonstrations):
    invalid = [script for script in scripts if script.steps[0].is_mistake]
    assert 0.02 * SCRIPTS < len(invalid) < 0.07 * SCRIPTS
    reasons = {script.steps[0].body.partition(".")[0] for script in invalid}
    assert len(reasons) >= 3
    assert any(isinstance(parse_turn(script.steps[0].turn), InvalidSearch) for script in invalid)
    script = invalid[0]
    example = demonstrations.encode(script)
    trained = [i for i, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    assert decode(demonstrations.tokenizer, trained) == "".join(step.turn for step in script.steps[1:])


def test_ids_are_those_of_the_pieces_and_only_policy_tokens_are_trained(demonstrations, pool):
    question = "Who directed Bakor?"
    turns = [think_then_search("Hm.", "Omni-72B", question), think_then_answer(NAMES[0])]
    body = f"{NAMES[0]} directed Bakor."
    example = demonstrations.encode(Script(question, [Step(turns[0], body), Step(turns[1])]))
    tokenizer = demonstrations.tokenizer
    pieces = [tokenizer.encode(turns[0]), encode_observation(tokenizer, body, 256)[0], tokenizer.encode(turns[1])]
    start = len(example.ids) - sum(map(len, pieces))
    assert example.ids[start:] == [i for piece in pieces for i in piece]
    expected = [False] * start
    for piece, is_policy in zip(pieces, (True, False, True), strict=True):
        expected += [is_policy] * len(piece)
    assert example.trained == expected


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


def test_no_demonstration_tells_a_fact_of_the_default_world(scripts):
    """A reply is as often right about the default world as a guess would be."""
    world = World()
    single = [s for s in scripts if len(s.question.split()) == 3 and world.parse(s.question)]
    right = sum(world.parse(s.question).answer == parse_turn(s.steps[-1].turn).text for s in single)
    assert right <= 0.02 * len(single)
