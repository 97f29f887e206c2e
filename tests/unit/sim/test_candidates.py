import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.pool import load_pool, raw_cost
from router_r1.sim.world.candidates import IGNORANCE, NAMED, PROFILES, SimulatedPool, count_tokens, truncate
from router_r1.sim.world.facts import DOMAINS, NAMES, RELATIONS, Shares, World

WORLD = World(seed=0)
POOL = SimulatedPool(WORLD)
POOL_FILE = Path(__file__).parents[3] / "configs/pools/sim.yaml"

SINGLE_HOP = [WORLD.question(name, verb) for name in NAMES for verbs in RELATIONS.values() for verb in verbs]
TWO_HOP = WORLD.generate("train", 1000, seed=0, shares=Shares(1, 0, 0))


def said(candidate, question, sample=0):
    """The name that a reply gives for the answer; None if it gives none."""
    reply = POOL.reply(candidate, question.text, sample).replace(question.predicate, "")
    if reply == IGNORANCE:
        return None
    (name,) = [name for name in NAMES if name in reply]
    return name


def accuracy(candidate, questions):
    return statistics.mean(said(candidate, q) == q.answer for q in questions)


SIM = {profile.name: profile for profile in NAMED}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("candidate", [*SIM, "film-plain", "sport-brilliant", "all-light", "all-tiny"])
def test_measured_skill_is_the_stated_one(candidate, domain):
    profile = PROFILES[candidate]
    stated = profile.domain_skill if profile.domain == domain else profile.skill
    facts = [q for q in SINGLE_HOP if q.hops[0].domain == domain][::3]
    assert accuracy(candidate, facts) == pytest.approx(stated, abs=0.06)


def test_every_domain_has_its_specialist():
    assert sorted(p.domain for p in SIM.values() if p.domain) == sorted(DOMAINS)
    assert all(p.domain_skill > 0.9 > 0.2 > p.skill for p in SIM.values() if p.domain)


def test_a_two_hop_question_asked_whole_is_beyond_all_but_the_dearest():
    pool = load_pool(POOL_FILE)
    most_expensive = max(pool.candidates, key=lambda c: c.price.output).name
    for candidate in SIM:
        expected = 0.5 if candidate == most_expensive else 0.0
        assert accuracy(candidate, TWO_HOP) == pytest.approx(expected, abs=0.06)


def test_asking_two_specialists_in_turn_beats_asking_the_generalist_at_once():
    home = {p.domain: p.name for p in SIM.values() if p.domain}

    def resolved(question):
        entity = question.hops[0].entity
        for hop in question.hops:
            entity = said(home[hop.domain], WORLD.question(entity, hop.verb))
        return entity

    assert statistics.mean(resolved(q) == q.answer for q in TWO_HOP) > accuracy("Omni-72B", TWO_HOP) + 0.3


def test_a_generalist_reply_costs_at_least_ten_times_a_specialists():
    pool = load_pool(POOL_FILE)

    def mean_cost(candidate):
        return statistics.mean(
            raw_cost(pool.candidate(candidate), count_tokens(POOL.reply(candidate, q.text))) for q in SINGLE_HOP[::20]
        )

    cost = {name: mean_cost(name) for name in SIM}
    specialists = [cost[p.name] for p in SIM.values() if p.domain]
    assert cost["Omni-72B"] > 10 * max(specialists)
    assert min(specialists) > 2 * cost["Pico-1B"]


def test_wrong_answers_are_worded_like_right_ones():
    shapes = {True: set(), False: set()}
    for question in SINGLE_HOP[:600]:
        reply, name = POOL.reply("Pico-1B", question.text), said("Pico-1B", question)
        shapes[name == question.answer].add(reply.replace(question.predicate, "P").replace(name, "X"))
    assert shapes[True] == shapes[False]
    assert len(shapes[True]) == 4


def test_a_wrong_answer_is_neither_the_right_one_nor_the_entity_asked_about():
    wrong = [(q, said("Atlas-8B", q)) for q in SINGLE_HOP[:400]]
    assert all(name != q.hops[0].entity for q, name in wrong)


def test_spelling_does_not_change_a_reply():
    question = SINGLE_HOP[5].text
    assert POOL.reply("Pico-1B", question) == POOL.reply("Pico-1B", f" {question.lower().rstrip('?')} ")


def test_another_sample_changes_the_wording_but_not_the_knowledge():
    question = next(q for q in SINGLE_HOP if said("Pico-1B", q) == q.answer)
    assert {said("Pico-1B", question, s) for s in range(20)} == {question.answer}
    assert len({POOL.reply("Pico-1B", question.text, s) for s in range(20)}) > 1
    missed = next(q for q in SINGLE_HOP if said("Pico-1B", q) != q.answer)
    names = {said("Pico-1B", missed, s) for s in range(20)}
    assert len(names) > 10
    assert missed.answer not in names


def test_candidates_err_independently():
    questions = [q for q in SINGLE_HOP if q.hops[0].domain == "film"][:600]
    both = statistics.mean(said("Melodia-7B", q) == q.answer and said("Pico-1B", q) == q.answer for q in questions)
    assert both == pytest.approx(0.15 * 0.25, abs=0.03)


@given(query=st.text(max_size=50), candidate=st.sampled_from(list(PROFILES)))
def test_anything_else_is_answered_with_confidence(query, candidate):
    reply = POOL.reply(candidate, query)
    assert reply == POOL.reply(candidate, query)
    assert any(name in reply for name in NAMES)


def test_latency_is_log_normal_around_the_profiles_median():
    seconds = [POOL.latency_s("Omni-72B", q.text) for q in SINGLE_HOP[:2000]]
    assert statistics.median(seconds) == pytest.approx(0.060, rel=0.06)
    assert statistics.quantiles(seconds, n=100)[83] / statistics.median(seconds) == pytest.approx(1.49, rel=0.1)
    assert POOL.latency_s("Omni-72B", "same") == POOL.latency_s("Omni-72B", "same")


def test_latency_can_be_set_per_candidate():
    pool = SimulatedPool(WORLD, latencies={"Pico-1B": (500.0, 0.0)})
    assert pool.latency_s("Pico-1B", "any") == pytest.approx(0.5)
    assert pool.latency_s("Omni-72B", "any") == POOL.latency_s("Omni-72B", "any")


@given(text=st.text(), limit=st.integers(1, 50))
def test_truncation_keeps_at_most_the_limit_and_only_cuts_the_end(text, limit):
    cut = truncate(text, limit)
    assert text.startswith(cut)
    assert count_tokens(cut) == min(limit, count_tokens(text))


def test_words_and_punctuation_marks_count_as_tokens():
    assert count_tokens("The answer is Badek.") == 5
    assert count_tokens("") == 0


def test_the_pool_files_offer_exactly_the_simulated_candidates():
    fixed, dealt = load_pool(POOL_FILE), load_pool(POOL_FILE.with_name("dealt.yaml"))
    assert set(fixed.names) == set(SIM)
    assert {*fixed.names, *dealt.names} == set(PROFILES)
    assert all(c.model == c.name.casefold() for pool in (fixed, dealt) for c in pool.candidates)
    descriptors = {c.name: c.descriptor for c in fixed.candidates}
    assert all(descriptors[p.name] == f"specialist {p.domain} expert" for p in SIM.values() if p.domain)
