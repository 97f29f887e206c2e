"""Deals: whom of a pool one question may ask, and by which names."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.pool import (
    Candidate,
    Deal,
    Deals,
    EndpointLimits,
    Price,
    RoutingPool,
    Shown,
    dealer_of,
    draw_deal,
    offered,
)
from router_r1.pool.names import canonical

OWN = ("CineMind-7B", "Melodia-7B", "Atlas-8B", "Omni-72B")
NAMES = ("Nova", "Lyra", "Orion", "Vega", "Mira", "Rigel")


def candidate(name: str, price: float = 1.0) -> Candidate:
    return Candidate(
        name=name,
        aliases=(f"{name} alias",),
        model=f"org/{name.lower()}-model",
        price=Price(input=price, output=2 * price),
        descriptor=f"what {name} is good at",
        base_url="http://h/v1",
    )


POOL = RoutingPool(
    name="four",
    candidates=tuple(candidate(name, price) for price, name in enumerate(OWN, start=1)),
    endpoint_limits=(EndpointLimits(base_url="http://h/v1", rpm=60.0),),
    deals=Deals(names=NAMES, sizes=(2, 3)),
    simulated=True,
    source="four.yaml",
)

deals = st.permutations(OWN).flatmap(
    lambda own: st.permutations((*NAMES, *OWN)).flatmap(
        lambda names: st.integers(1, len(own)).map(lambda n: Deal(tuple(map(Shown, names[:n], own[:n]))))
    )
)


def deal_of(*pairs: tuple[str, ...]) -> Deal:
    return Deal(tuple(Shown(*pair) for pair in pairs))


# ---------------------------------------------------------------- a dealt pool


@given(deals)
def test_a_deal_renames_one_to_one_and_changes_nothing_else(deal):
    """Also where the shown names are the pool's own, given to others."""
    pool = deal.pool(POOL)

    assert pool.names == tuple(entry.name for entry in deal.shown)
    assert len({deal.candidate(name) for name in pool.names}) == len(pool.names)
    for shown in pool.candidates:
        own = POOL.candidate(deal.candidate(shown.name))
        assert shown == own.model_copy(update={"name": shown.name, "aliases": ()})
    assert (pool.name, pool.simulated, pool.source) == (POOL.name, True, "four.yaml")


@given(deals)
def test_only_a_shown_name_finds_a_candidate(deal):
    """No alias, model id or own name does: "Atlas-8B" may be what the question calls somebody else."""
    pool = deal.pool(POOL)
    shown = {canonical(entry.name): entry.name for entry in deal.shown}
    ways = [way for c in POOL.candidates for way in (*c.names, *c.model_ids)]

    for way in (*ways, *NAMES):
        found = pool.resolve(way)
        assert (found and found.name) == shown.get(canonical(way))


def test_a_name_that_is_the_model_id_of_another_is_still_a_name():
    pool = deal_of(("Omni-72B-model", "Atlas-8B"), ("Nova", "Omni-72B")).pool(POOL)

    assert pool.candidate("omni 72b model").model == "org/atlas-8b-model"


def test_a_deal_may_say_of_a_candidate_what_the_pool_does_not():
    pool = deal_of(("Nova", "Atlas-8B", "film"), ("Lyra", "Omni-72B")).pool(POOL)

    assert [c.descriptor for c in pool.candidates] == ["film", "what Omni-72B is good at"]


def test_without_a_deal_the_whole_pool_is_offered_by_its_own_names():
    assert offered(POOL, None) is POOL
    assert offered(POOL, deal_of(("Nova", "Atlas-8B"))).names == ("Nova",)


def test_a_dealt_pool_and_its_deal_can_be_sent_to_another_process():
    deal = deal_of(("Nova", "Atlas-8B"), ("Lyra", "Omni-72B"))
    pool = pickle.loads(pickle.dumps(deal.pool(POOL)))

    assert pickle.loads(pickle.dumps(deal)) == deal
    assert pool.candidate("nova").model == "org/atlas-8b-model"
    assert pool.resolve("Atlas-8B") is None


# ---------------------------------------------------------------- what is no deal


@pytest.mark.parametrize(
    ("pairs", "fault"),
    [
        ([], r"^deal: candidates: must hold at least one; null is the whole pool"),
        ([("Nova 2", "Atlas-8B"), ("NOVA-2", "Omni-72B")], r"candidates\[1\]\.name = 'NOVA-2': already names another"),
        ([("Nova", "Atlas-8B"), ("Lyra", "Atlas-8B")], r"candidates\[1\]\.candidate = 'Atlas-8B': is dealt twice"),
        ([("No:va", "Atlas-8B")], r"candidates\[0\]\.name = 'No:va': must hold no colon"),
        ([("", "Atlas-8B")], r"candidates\[0\]\.name = '': must not be empty"),
        ([("...", "Atlas-8B")], r"candidates\[0\]\.name = '\.\.\.': must hold a letter or digit"),
    ],
)
def test_what_is_no_deal_is_refused(pairs, fault):
    with pytest.raises(ConfigError, match=fault):
        deal_of(*pairs)


@pytest.mark.parametrize("unknown", ["Zeus-9B", "atlas-8b", "Atlas-8B alias", ""])
def test_a_candidate_that_is_not_in_the_pool_by_just_that_name_is_refused(unknown):
    deal = deal_of(("Lyra", "Omni-72B"), ("Nova", unknown))
    fault = r"candidates\[1\]\.candidate = .*is no candidate of four.yaml; there are CineMind-7B, "

    with pytest.raises(ConfigError, match=fault):
        deal.check(POOL)
    with pytest.raises(ConfigError, match=fault):
        deal.pool(POOL)


def test_asking_for_somebody_who_is_not_shown_is_an_error():
    with pytest.raises(KeyError):
        deal_of(("Nova", "Atlas-8B")).candidate("Atlas-8B")


# ---------------------------------------------------------------- rows


@given(deals)
def test_a_deal_is_read_back_from_what_was_written_down(deal):
    assert Deal.from_rows(json.loads(json.dumps(deal.as_rows())), "file: row 0") == deal


def test_no_deal_and_one_without_descriptors_are_read():
    assert Deal.from_rows(None, "file: row 0") is None
    assert Deal.from_rows([{"name": "Nova", "candidate": "Atlas-8B"}], "f") == deal_of(("Nova", "Atlas-8B"))


@pytest.mark.parametrize("rows", [[{"name": "Nova"}], ["Nova"], 3, [None]])
def test_something_else_is_refused_with_its_place(rows):
    with pytest.raises(ConfigError, match=r"^file: row 7: candidates: must be a list of structs"):
        Deal.from_rows(rows, "file: row 7")


# ---------------------------------------------------------------- drawing


def test_a_deal_is_drawn_by_its_key():
    assert draw_deal(POOL, 0, "val", 3) == draw_deal(POOL, 0, "val", 3)
    others = [draw_deal(POOL, 0, "val", 4), draw_deal(POOL, 1, "val", 3), draw_deal(POOL, 0, "train", 3)]
    assert draw_deal(POOL, 0, "val", 3) not in others


def test_names_candidates_and_sizes_are_all_drawn_alike():
    """Neither a name nor a place says anything of who it is."""
    drawn = [draw_deal(POOL, 0, "train", index) for index in range(4000)]
    sizes = Counter(len(deal.shown) for deal in drawn)
    pairs = Counter((entry.name, entry.candidate) for deal in drawn for entry in deal.shown)
    firsts = Counter(deal.shown[0].candidate for deal in drawn)

    assert set(sizes) == {2, 3}
    assert all(abs(count - 2000) < 200 for count in sizes.values())
    assert len(pairs) == len(NAMES) * len(OWN)
    assert all(abs(count / pairs.total() - 1 / len(pairs)) < 0.01 for count in pairs.values())
    assert all(abs(count - 1000) < 150 for count in firsts.values())


def test_a_deal_has_at_most_one_of_a_group_and_each_as_often():
    grouped = POOL.model_copy(update={"deals": Deals(names=NAMES, sizes=(2, 3), groups=(OWN[:2],))})
    drawn = [draw_deal(grouped, "train", index) for index in range(4000)]
    dealt = Counter(entry.candidate for deal in drawn for entry in deal.shown)

    assert all(len({entry.candidate for entry in deal.shown} & set(OWN[:2])) <= 1 for deal in drawn)
    assert set(dealt) == set(OWN)
    assert all(abs(dealt[name] - dealt[OWN[2]] / 2) < 150 for name in OWN[:2])


def test_a_group_may_give_a_second_one_as_often_as_the_pool_says():
    two_groups = Deals(names=NAMES, sizes=(2, 2), groups=(OWN[:2], OWN[2:]), second=0.4)
    drawn = [draw_deal(POOL.model_copy(update={"deals": two_groups}), "train", index) for index in range(4000)]
    pairs = Counter(frozenset(entry.candidate for entry in deal.shown) for deal in drawn)

    assert sum(map(len, pairs)) == 2 * len(pairs)
    assert abs((pairs[frozenset(OWN[:2])] + pairs[frozenset(OWN[2:])]) / 4000 - 0.4) < 0.03
    assert len({deal.shown[0].candidate for deal in drawn}) == len(OWN)


def test_two_of_a_group_may_stand_anywhere():
    always = Deals(names=NAMES, sizes=(3, 3), groups=(OWN[:2],), second=1.0)
    drawn = [draw_deal(POOL.model_copy(update={"deals": always}), "train", index) for index in range(400)]
    both = [deal for deal in drawn if {*OWN[:2]} <= {entry.candidate for entry in deal.shown}]

    apart = [deal for deal in both if deal.shown[1].candidate not in OWN[:2]]
    assert 0.2 < len(apart) / len(both) < 0.5


def test_a_dealt_pool_has_a_dealer_and_another_has_none():
    whole = POOL.model_copy(update={"deals": None})
    deal = dealer_of(POOL, 5)

    assert deal is not None
    assert deal("val", 2) == draw_deal(POOL, 5, "val", 2)
    assert dealer_of(whole, 5) is None
    with pytest.raises(ConfigError, match=r"four.yaml: deals: is missing; give names and sizes"):
        draw_deal(whole, 0)
