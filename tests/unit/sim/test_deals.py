"""The world in which routing is a real choice: whom the pools offer, and what the best router would make of them."""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from router_r1.pool import dealer_of, load_pool, raw_cost
from router_r1.sim.world.candidates import (
    ALL,
    GENERALISTS,
    GRADES,
    IGNORANCE,
    PROFILES,
    SPECIALISTS,
    SimulatedPool,
    count_tokens,
)
from router_r1.sim.world.facts import DOMAINS, NAMES, ONE_HOP, World

COST_WEIGHTS = (0, 0.2, 0.4, 0.6, 0.8, 0.95)
COST_FULL = 100.0
WORLD = World(0)
SIMULATED = SimulatedPool(WORLD)
QUESTIONS = WORLD.generate("val", 300, shares=ONE_HOP)
UNIVERSE = load_pool(Path(__file__).parents[3] / "configs/pools/dealt.yaml")
DEALER = dealer_of(UNIVERSE, 0)
DEALS = [DEALER("val", index) for index in range(300)]


COSTS = {
    c.name: sum(raw_cost(c, count_tokens(SIMULATED.reply(c.name, q.text))) for q in QUESTIONS) / len(QUESTIONS)
    for c in UNIVERSE.candidates
}
"""Raw cost of an average reply of each candidate, in micro-USD."""


def offered(deal):
    return [candidate for _, candidate, *_ in deal.shown]


def skills(deal, domain):
    return {name: PROFILES[name].knows_share(domain) for name in offered(deal)}


def best(deal, domain, weight):
    """Whom the best router asks, and what it may hope for: (candidate, EM, raw cost)."""

    def reward(name):
        return PROFILES[name].knows_share(domain) * (1 - weight * min(COSTS[name] / COST_FULL, 1))

    name = max(offered(deal), key=reward)
    return name, PROFILES[name].knows_share(domain), COSTS[name]


def test_the_pool_file_has_the_candidates_of_the_universe_and_says_of_each_domain_and_grade():
    assert UNIVERSE.names == tuple(p.name for p in (*SPECIALISTS, *GENERALISTS))
    says = [f"specialist {name.replace('-', ' ')}" for name in UNIVERSE.names]
    assert [c.descriptor for c in UNIVERSE.candidates] == [s.replace("specialist all", "generalist") for s in says]
    assert UNIVERSE.simulated


def test_a_pool_seen_in_validation_is_none_of_training():
    assert not {DEALER("train", index) for index in range(4096)} & set(DEALS)


def test_every_name_bears_strong_and_weak_candidates_alike():
    borne = defaultdict(set)
    for index in range(12000):
        for name, candidate, *_ in DEALER("train", index).shown:
            borne[name].add(candidate)
    assert set(borne) == set(UNIVERSE.deals.names)
    assert all(seen == set(UNIVERSE.names) for seen in borne.values())


def test_a_domain_has_no_specialist_one_or_two_and_mostly_there_is_a_generalist():
    fields = [Counter(name.split("-")[0] for name in offered(deal)) for deal in DEALS]
    specialists = Counter(found[domain] for found in fields for domain in DOMAINS)
    generalists = Counter(found[ALL] for found in fields)

    assert {found.total() for found in fields} == {7, 8, 9}
    assert set(specialists) == {0, 1, 2}
    assert all(count / specialists.total() > 0.15 for count in specialists.values())
    assert set(generalists) <= {0, 1, 2, 3, 4, 5}
    assert generalists[0] / generalists.total() < 0.05


def test_names_are_no_words_of_the_world():
    assert not set(UNIVERSE.deals.names) & set(NAMES)


def test_one_grade_boasts_and_one_is_modest():
    """What the words promise: expert and brilliant most, then solid, then plain, then light."""
    skill = {grade.word: grade.skill for grade in GRADES}
    assert skill["brilliant"] < skill["light"] < skill["solid"] < skill["plain"] < skill["expert"]


def test_a_boaster_costs_more_than_a_better_one():
    assert (
        COSTS["film-brilliant"] > COSTS["film-expert"] > COSTS["film-solid"] > COSTS["film-plain"] > COSTS["film-light"]
    )
    assert COSTS["all-expert"] > 3 * COSTS["film-expert"]


def test_who_does_not_know_may_say_so_and_is_never_wrong_about_that():
    replies = [SIMULATED.reply("film-plain", q.text) for q in QUESTIONS if q.hops[0].domain == "music"]
    admitted = [reply == IGNORANCE for reply in replies]
    assert 0.6 < sum(admitted) / len(admitted) < 0.85
    assert not any(SIMULATED.reply("film-expert", q.text) == IGNORANCE for q in QUESTIONS)


def test_every_cost_weight_has_another_best_router():
    cases = [(deal, domain) for deal in DEALS for domain in DOMAINS]
    for lower, higher in pairwise(COST_WEIGHTS):
        changed = sum(best(*case, lower)[0] != best(*case, higher)[0] for case in cases)
        assert changed / len(cases) > 0.005, (lower, higher)


def test_the_best_routers_make_a_pareto_front_of_six_points():
    points = []
    for weight in COST_WEIGHTS:
        chosen = [best(deal, domain, weight) for deal in DEALS for domain in DOMAINS]
        points.append((sum(c for *_, c in chosen) / len(chosen), sum(em for _, em, _ in chosen) / len(chosen)))
    for (cost, em), (cheaper, worse) in pairwise(points):
        assert cheaper < cost
        assert worse < em


def test_the_best_router_for_a_high_weight_spends_a_fifth_and_is_right_nearly_as_often():
    """As a benchmark asks it: as many questions of no hop, of one, of two and of three."""

    def spent_and_right(weight):
        chosen = [best(deal, domain, weight) for deal in DEALS for domain in DOMAINS]
        skill, cost = (sum(column) / len(chosen) for column in zip(*(c[1:] for c in chosen), strict=True))
        return cost * (0 + 1 + 2 + 3) / 4, sum(skill**hops for hops in range(4)) / 4

    (dear, often), (cheap, seldom) = spent_and_right(0), spent_and_right(0.6)
    assert cheap < 0.25 * dear
    assert often - seldom < 0.075


def test_the_best_router_is_far_above_the_best_constant_one():
    """A constant router has an order of preference that does not look at the question, and asks it whole."""
    kinds = {"known": 0.1, 1: 0.4, 2: 0.35, 3: 0.15}  # the shares of the default world
    cases = [(deal, domain) for deal in DEALS for domain in DOMAINS]
    strongest = max(GENERALISTS, key=lambda profile: profile.skill).name
    whole, routed = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    for deal, domain in cases:
        asked = PROFILES[max(offered(deal), key=lambda name: PROFILES[name].skill)]
        skill = best(deal, domain, 0)[1]
        for kind in kinds:
            hops = 1 if kind == "known" else kind
            whole[kind] += asked.knows_share(domain, hops) / len(cases)
            routed[kind] += (1.0 if kind == "known" else skill**hops) / len(cases)
    oracle = sum(share * routed[kind] for kind, share in kinds.items())
    constant = sum(share * whole[kind] for kind, share in kinds.items())
    assert strongest == "all-expert"
    assert oracle - constant > 0.25
