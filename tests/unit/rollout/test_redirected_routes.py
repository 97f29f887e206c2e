"""Routes that go to whom a router chooses."""

from __future__ import annotations

from router_r1.protocol import Route
from router_r1.rollout.redirected_routes import Choice, RedirectedRoutes
from tests.doubles.rollout_doubles import TableDispatcher


async def test_each_sub_query_goes_to_whom_the_router_chooses_for_it():
    async def choose(query: str) -> Choice:
        return Choice("Borealis-70B" if "hard" in query else "Pico-1B")

    table = TableDispatcher()
    routes = RedirectedRoutes(table, choose)
    first = await routes.route("Atlas-7B", "a hard one", trajectory_id="t")
    second = await routes.route("Atlas-7B", "an easy one", trajectory_id="t")
    assert table.asked == [("Borealis-70B", "a hard one"), ("Pico-1B", "an easy one")]
    assert (first.candidate, second.candidate) == ("Borealis-70B", "Pico-1B")
    assert first.raw_cost == 0.9, "the route's own cost, as the dispatcher accounts for it"


async def test_what_it_took_to_choose_is_paid_for_with_the_route():
    asked = Route(
        "Borealis-70B", "whom?", "Pico-1B", prompt_tokens=40, completion_tokens=2, raw_cost=5.0, spend_usd=1e-5
    )

    async def choose(query: str) -> Choice:
        return Choice("Pico-1B", asked)

    route = await RedirectedRoutes(TableDispatcher(), choose).route("Atlas-7B", "q")
    assert (route.candidate, route.reply, route.prompt_tokens, route.completion_tokens) == ("Pico-1B", "Paris.", 47, 5)
    assert (route.raw_cost, route.spend_usd, route.attempts) == (5.9, 1e-6 + 1e-5, 2)
