"""What the policy is told when a search brought nothing."""

from __future__ import annotations

from router_r1 import protocol
from router_r1.prompts import failed_route, invalid_search


def test_an_invalid_search_is_told_its_fault_and_the_candidates():
    body = invalid_search("the query is empty", ("Small-1B", "Large-70B"))
    assert body.startswith("Invalid search: the query is empty.")
    assert body.endswith("Candidates: Small-1B, Large-70B")


def test_a_failed_route_names_the_candidate():
    assert "Small-1B" in failed_route("Small-1B")


def test_the_bodies_hold_nothing_that_an_observation_would_change():
    for body in (invalid_search("no candidate is named", ["A"]), failed_route("A")):
        assert protocol.neutralise(body) == body
