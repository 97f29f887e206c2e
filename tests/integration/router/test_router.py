"""A router that a program opens: asked in plain and in asynchronous code, several questions at once, then closed."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from router_r1 import ConfigError, Deal, Router, Shown, Status
from router_r1.sim.world.facts import World
from tests.doubles.commands import ask
from tests.integration.conftest import CAPITALS, question_of


@pytest.fixture
def options(policy, pool_file):
    return {"base_url": policy.url, "pool": str(pool_file), "template": "tiny"}


def threads_of_routers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "router-r1"]


# ---------------------------------------------------------------- asking


def test_in_plain_code_a_question_is_asked_and_its_trajectory_awaited(options, candidates):
    with Router.open(**options) as router:
        trajectory = router.ask(question_of("France"))
    assert (trajectory.answer, trajectory.status) == ("Paris", Status.ANSWERED)
    assert [(route.candidate, route.query) for route in trajectory.routes] == [("Atlas-7B", question_of("France"))]
    assert trajectory.raw_cost == 2.0
    assert len(candidates.requests) == 1


def test_a_router_tells_its_policy_how_much_cost_counts(options, policy, tmp_path):
    template = tmp_path / "weighing.txt"
    template.write_text("{pool_inline}\nCost counts {cost_weight}.\nQuestion: {question}")
    with Router.open(**options | {"template": str(template)}, cost_weight=0.8) as router:
        assert router.ask(question_of("France")).answer == "Paris"
    assert "Cost counts more." in policy.tokenizer.decode(policy.requests[0]["prompt"])


async def test_in_asynchronous_code_several_questions_are_worked_on_at_once(options, policy):
    policy.gate = threading.Barrier(len(CAPITALS), timeout=60)  # no first turn is answered before all were asked for
    async with Router.open(**options) as router:
        trajectories = await asyncio.gather(*(router.answer(question_of(country)) for country in CAPITALS))
    assert [trajectory.answer for trajectory in trajectories] == list(CAPITALS.values())


async def test_a_question_may_be_given_its_candidates_and_their_names(options, policy, candidates):
    policy.candidate = "Nova"
    deal = Deal((Shown("Lyra", "Atlas-7B"), Shown("Nova", "Borealis-70B")))
    with Router.open(**options) as router:
        trajectory = router.ask(question_of("France"), deal=deal)
        with pytest.raises(ConfigError, match=r"candidates\[0\]\.candidate = 'Zeus-9B'"):
            router.ask(question_of("France"), deal=Deal((Shown("Nova", "Zeus-9B"),)))
    assert trajectory.answer == "Paris"
    assert [route.candidate for route in trajectory.routes] == ["Borealis-70B"]
    assert len(candidates.requests) == 1


def test_in_a_notebook_whose_event_loop_is_running_plain_code_works_as_well(options):
    with Router.open(**options) as router:
        assert router.ask(question_of("Italy")).answer == "Rome"


def test_several_threads_may_ask_one_router(options, policy):
    policy.gate = threading.Barrier(2, timeout=60)
    answers: dict[str, str | None] = {}
    with Router.open(**options) as router:

        def ask(country: str) -> None:
            answers[country] = router.ask(question_of(country)).answer

        threads = [threading.Thread(target=ask, args=[country]) for country in ("Spain", "Poland")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {"Spain": "Madrid", "Poland": "Warsaw"}


def test_the_ledger_says_what_all_questions_have_cost(options):
    with Router.open(**options) as router:
        for country in ("France", "Italy"):
            router.ask(question_of(country))
        assert float(router.routes.ledger.spent_usd) == pytest.approx(2 * 1.2e-5)
        assert [candidate.name for candidate in router.pool.candidates] == ["Atlas-7B", "Borealis-70B"]


def test_whoever_watches_is_told_of_each_turn_and_of_its_observation(options):
    told = []
    with Router.open(**options) as router:
        router.ask(question_of("France"), watch=lambda turn: told.append((bool(turn.observation), turn.text)))
    assert [observed for observed, _ in told] == [False, True, False]
    assert told[0][1] == told[1][1] != told[2][1]


def test_several_addresses_are_shared_out(options, policy):
    with Router.open(**options | {"base_url": [policy.url, policy.url]}) as router:
        assert router.settings.options.base_url == (policy.url,)
        assert router.ask(question_of("Austria")).answer == "Vienna"


# ---------------------------------------------------------------- errors


async def test_after_async_with_ask_says_what_to_await_instead(options, policy):
    async with Router.open(**options) as router:
        with pytest.raises(RuntimeError, match=r"await router\.answer"):
            router.ask(question_of("France"))
    assert policy.requests == []


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused_and_the_router_goes_on(options, policy, question):
    with Router.open(**options) as router:
        with pytest.raises(ConfigError, match="question"):
            router.ask(question)
        assert policy.requests == []
        assert router.ask(question_of("France")).answer == "Paris"


def test_a_fault_of_the_policy_is_raised_where_it_was_asked(options, policy):
    policy.dies_after = 1
    with Router.open(**options) as router, pytest.raises(RuntimeError, match="engine is dead"):
        router.ask(question_of("France"))


def test_a_failed_route_is_part_of_the_trajectory_and_no_error(options, candidates):
    candidates.broken.add(question_of("France"))
    with Router.open(**options) as router:
        trajectory = router.ask(question_of("France"))
    assert (trajectory.failed_routes, trajectory.answer) == (1, "no idea")
    assert "HTTP 400" in trajectory.routes[0].error


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"warmth": 1}, "Router.open: warmth: unknown key"),
        ({"temperature": 3}, "Router.open: temperature = 3: .*less than or equal to 2"),
        ({"cost_weight": 1.5}, r"Router.open: cost_weight = 1.5: .*less than or equal to 1"),
        ({"routing": {"retries": {"max_attempts": 0}}}, r"Router.open: routing\.retries\.max_attempts = 0"),
        ({"pool": "nowhere"}, "nowhere.*there are dealt, local_small, paper"),
        ({"template": "nowhere"}, "nowhere"),
        ({"run": "never"}, "never.*is no run"),
        ({"method": "random"}, "method = 'random'"),
    ],
)
def test_a_wrong_option_is_refused_when_a_router_is_chosen_and_nothing_is_started(options, policy, wrong, words):
    with pytest.raises(ConfigError, match=words):
        Router.open(**options | wrong)
    assert policy.requests == []
    assert threads_of_routers() == []


def test_an_endpoint_without_a_policy_is_refused_when_it_is_opened_and_leaves_no_thread(options, policy):
    policy.models["data"].clear()
    with pytest.raises(ConfigError, match="base_url"), Router.open(**options):
        pytest.fail("it was opened")
    assert threads_of_routers() == []


# ---------------------------------------------------------------- closing


def test_at_the_end_of_the_block_its_thread_has_ended(options):
    with Router.open(**options):
        assert len(threads_of_routers()) == 1
    assert threads_of_routers() == []


def test_an_error_inside_the_block_passes_through_and_closes_it(options):
    with pytest.raises(ZeroDivisionError), Router.open(**options):
        _ = 1 / 0
    assert threads_of_routers() == []


async def test_an_error_inside_an_asynchronous_block_passes_through(options):
    with pytest.raises(ZeroDivisionError):
        async with Router.open(**options):
            _ = 1 / 0


def test_a_closed_router_refuses_to_be_asked(options, policy):
    with Router.open(**options) as router:
        pass
    with pytest.raises(RuntimeError, match=r"with Router\.open"):
        router.ask(question_of("France"))
    assert policy.requests == []


@pytest.mark.slow
def test_the_seed_of_sampling_leaves_the_simulated_world_as_it_is(tmp_path, capfd):
    """Without a run, that is the world of seed 0, whatever is sampled in it."""
    question = World(0).question("Bosen", "invented")
    (tmp_path / "parrot.py").write_text(PARROT)
    asked = ["--method", f"{tmp_path / 'parrot.py'}:Parrot", "--pool", "sim", "--template", "tiny", "--json"]
    told = []
    for seed in ("0", "7"):
        assert ask([question.text, *asked, "--seed", seed]) == 0
        told.append(json.loads(capfd.readouterr().out)["answer"])
    assert question.answer in told[0]
    assert told[1] == told[0]


PARROT = """
from router_r1 import trajectory_of

class Parrot:
    def __init__(self, routes):
        self.routes = routes

    async def answer(self, question, *, request_id):
        route = await self.routes.route("Newton-8B", question, trajectory_id=request_id)
        return trajectory_of([route], route.reply)
"""
