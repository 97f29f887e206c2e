"""The world in which routing is a real choice: whom the pools offer, and what the best router would make of them."""

from collections import Counter, defaultdict

import pytest

from router_r1.pool import load_pool, raw_cost
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
from router_r1.sim.world.deals import DEALT_NAMES, world_deal
from router_r1.sim.world.facts import DOMAINS, NAMES, World

COST_WEIGHTS = (0, 0.2, 0.4, 0.6, 0.8, 0.95)
COST_FULL = 40.0
WORLD = World(0)
SIMULATED = SimulatedPool(WORLD)
QUESTIONS = WORLD.generate("val", 300, two_hop_share=0, known_share=0)
DEALS = [world_deal("val", index) for index in range(300)]


@pytest.fixture(scope="module")
def universe(project_root):
    return load_pool(project_root / "configs/pools/dealt.yaml")


@pytest.fixture(scope="module")
def costs(universe):
    """Raw cost of an average reply of each candidate, in micro-USD."""
    return {
        c.name: sum(raw_cost(c, count_tokens(SIMULATED.reply(c.name, q.text))) for q in QUESTIONS) / len(QUESTIONS)
        for c in universe.candidates
    }


def offered(deal):
    return [candidate for _, candidate, *_ in deal.shown]


def skills(deal, domain):
    return {name: PROFILES[name].knows_share(domain) for name in offered(deal)}


def best(deal, domain, weight, costs):
    """Whom the best router asks, and what it may hope for: (candidate, EM, raw cost)."""

    def reward(name):
        return PROFILES[name].knows_share(domain) * (1 - weight * min(costs[name] / COST_FULL, 1))

    name = max(offered(deal), key=reward)
    return name, PROFILES[name].knows_share(domain), costs[name]


def test_the_pool_file_has_the_candidates_of_the_universe_and_says_of_each_domain_and_grade(universe):
    assert universe.names == tuple(p.name for p in (*SPECIALISTS, *GENERALISTS))
    assert [c.descriptor for c in universe.candidates] == [name.replace("-", " ") for name in universe.names]
    assert universe.simulated


def test_a_deal_is_its_splits_and_its_numbers_alone():
    assert world_deal("train", 7) == world_deal("train", 7)
    assert len({world_deal("train", index) for index in range(500)}) == 500


def test_a_pool_seen_in_validation_is_none_of_training():
    assert not {world_deal("train", i) for i in range(4096)} & set(DEALS)


def test_every_name_bears_strong_and_weak_candidates_alike():
    borne = defaultdict(set)
    for index in range(6000):
        for name, candidate, *_ in world_deal("train", index).shown:
            borne[name].add(candidate)
    assert set(borne) == set(DEALT_NAMES)
    assert all(seen == set(PROFILES) & {p.name for p in (*SPECIALISTS, *GENERALISTS)} for seen in borne.values())


def test_a_deal_has_at_most_one_specialist_of_a_domain_and_two_or_three_generalists():
    for deal in DEALS:
        fields = Counter(name.split("-")[0] for name in offered(deal))
        assert fields[ALL] in (2, 3)
        assert all(fields[domain] <= 1 for domain in DOMAINS)
        assert 6 <= fields.total() <= 9


def test_names_are_no_words_of_the_world():
    assert not set(DEALT_NAMES) & set(NAMES)


def test_one_grade_boasts_and_one_is_modest():
    """What the words promise: expert and brilliant most, then solid, then plain, then light."""
    skill = {grade.word: grade.skill for grade in GRADES}
    assert skill["brilliant"] < skill["light"] < skill["solid"] < skill["plain"] < skill["expert"]


def test_a_boaster_costs_more_than_a_better_one(costs):
    assert costs["film-brilliant"] > costs["film-expert"] > costs["film-solid"] > costs["film-plain"] > costs["film-light"]
    assert costs["all-expert"] > 3 * costs["film-expert"]


def test_who_does_not_know_may_say_so_and_is_never_wrong_about_that():
    replies = [SIMULATED.reply("film-plain", q.text) for q in QUESTIONS if q.hops[0].domain == "music"]
    admitted = [reply == IGNORANCE for reply in replies]
    assert 0.6 < sum(admitted) / len(admitted) < 0.85
    assert not any(SIMULATED.reply("film-expert", q.text) == IGNORANCE for q in QUESTIONS)


def test_every_cost_weight_has_another_best_router(costs):
    cases = [(deal, domain) for deal in DEALS for domain in DOMAINS]
    for lower, higher in zip(COST_WEIGHTS, COST_WEIGHTS[1:], strict=False):
        changed = sum(best(*case, lower, costs)[0] != best(*case, higher, costs)[0] for case in cases)
        assert changed / len(cases) > 0.005, (lower, higher)


def test_the_best_routers_make_a_pareto_front_of_six_points(costs):
    points = []
    for weight in COST_WEIGHTS:
        chosen = [best(deal, domain, weight, costs) for deal in DEALS for domain in DOMAINS]
        points.append((sum(c for *_, c in chosen) / len(chosen), sum(em for _, em, _ in chosen) / len(chosen)))
    for (cost, em), (cheaper, worse) in zip(points, points[1:], strict=False):
        assert cheaper < cost
        assert worse < em


def test_the_best_router_is_far_above_the_best_constant_one():
    """A constant router has an order of preference that does not look at the question; hops are asked one by one."""
    cases = [(deal, domain) for deal in DEALS for domain in DOMAINS]
    mean = {
        name: sum(profile.knows_share(domain) for domain in DOMAINS) / len(DOMAINS)
        for name, profile in PROFILES.items()
    }
    constant = sum(skills(*case)[max(offered(case[0]), key=mean.__getitem__)] for case in cases) / len(cases)
    oracle = sum(max(skills(*case).values()) for case in cases) / len(cases)
    assert oracle - constant > 0.05
    print(oracle, constant)
