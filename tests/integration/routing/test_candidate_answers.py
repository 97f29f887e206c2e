"""Every candidate, asked every question: of real servers, and what is kept of it."""

from __future__ import annotations

import json

import pytest

from router_r1.candidate_answers import (
    OfferedQuestion,
    TooManyFailed,
    ask_every_candidate,
    left_to_ask,
    read_answers,
    read_table,
)
from router_r1.constant_routers import frontier, oracle, oracle_by_kind
from router_r1.errors import BudgetSpent
from router_r1.pool import load_pool
from router_r1.project_files import pool_file as pool_called
from router_r1.routing import RouteService, RoutingConfig
from router_r1.sim.server.process import pool_server
from router_r1.sim.world.facts import ONE_HOP, World
from tests.integration.conftest import CAPITALS, CandidateServer, question_of, write_pool

BOTH = ("Atlas-7B", "Borealis-70B")


@pytest.fixture
def candidates():
    with CandidateServer().running() as server:
        yield server


@pytest.fixture
def pool(tmp_path, candidates):
    return load_pool(write_pool(tmp_path / "pool.yaml", candidates.url))


def offered(*countries: str, candidates: tuple[str, ...] = BOTH) -> list[OfferedQuestion]:
    return [
        OfferedQuestion(("capitals", number), "europe", question_of(country), (CAPITALS[country],), candidates)
        for number, country in enumerate(countries)
    ]


async def ask(pool, questions, file, **config) -> RouteService:
    async with RouteService(pool, config=RoutingConfig(**config)) as routes:
        await ask_every_candidate(questions, pool=pool, routes=routes, file=file)
    return routes


async def test_each_candidate_is_asked_each_question_once_and_whole(pool, candidates, tmp_path):
    candidates.replies[question_of("Spain")] = "It is Barcelona."
    told = []
    async with RouteService(pool) as routes:
        await ask_every_candidate(
            offered("France", "Spain"),
            pool=pool,
            routes=routes,
            file=tmp_path / "a.jsonl",
            told=lambda *done: told.append(done),
        )

    table = read_table(tmp_path / "a.jsonl")

    assert sorted(r["messages"][0]["content"] for r in candidates.asked) == sorted(
        [question_of("France"), question_of("Spain")] * 2
    )
    assert table is not None
    assert {name: score.em for name, score in table.alone.items()} == dict.fromkeys(BOTH, 0.5)
    assert table.alone["Atlas-7B"].raw_cost == 2.0, "4 tokens at half a dollar per million"
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_only_those_that_a_question_offers_are_asked_it(pool, candidates, tmp_path):
    questions = offered("France", "Spain")[:1] + offered("France", "Spain", candidates=BOTH[1:])[1:]

    await ask(pool, questions, tmp_path / "a.jsonl")

    table = read_table(tmp_path / "a.jsonl")
    assert table is not None
    assert len(candidates.asked) == 3
    assert len(table) == 2
    assert {name: score.em for name, score in table.alone.items()} == dict.fromkeys(BOTH, 1.0)


async def test_what_was_answered_is_not_asked_again_although_the_last_line_was_cut_off(pool, candidates, tmp_path):
    file = tmp_path / "a.jsonl"
    await ask(pool, offered("France", "Spain"), file)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    before = len(candidates.asked)

    await ask(pool, offered("France", "Spain", "Italy"), file)

    assert len(candidates.asked) - before == 2 + 2
    assert left_to_ask(offered("France", "Spain", "Italy"), file) == []
    assert len(read_table(file)) == 3


async def test_a_question_counts_when_all_its_candidates_have_answered(pool, tmp_path):
    file = tmp_path / "a.jsonl"
    await ask(pool, offered("France", "Spain"), file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    kept = [row for row in rows if (row["index"], row["candidate"]) != (1, "Atlas-7B")]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))

    assert read_table(file).questions == (("capitals", 0),)


async def test_a_failed_route_counts_as_not_asked_and_is_asked_again(pool, candidates, tmp_path):
    file = tmp_path / "a.jsonl"
    many = offered(*CAPITALS, *CAPITALS, *CAPITALS)
    candidates.broken.add(question_of("France"))
    few = [q for q in many if "France" not in q.text] + many[:1]
    await ask(pool, few, file)
    table = read_table(file)

    candidates.broken.clear()
    await ask(pool, few, file)

    assert len(table) == len(few) - 1
    assert ("capitals", 0) not in table.questions
    assert len(read_table(file)) == len(few)


async def test_with_too_many_failed_routes_nothing_is_said_and_the_rest_is_not_asked(pool, candidates, tmp_path):
    candidates.broken |= {question_of(country) for country in CAPITALS}
    many = offered(*list(CAPITALS) * 20)
    write_pool(tmp_path / "slow.yaml", candidates.url, max_concurrency=1)

    with pytest.raises(TooManyFailed, match=r"21 of 200 routes failed; the last: .*not such a question"):
        await ask(load_pool(tmp_path / "slow.yaml"), many, tmp_path / "a.jsonl")

    assert read_table(tmp_path / "a.jsonl") is None
    assert len(candidates.asked) < 30


async def test_it_is_paid_from_the_budget_and_ends_with_it(pool, candidates, tmp_path):
    file = tmp_path / "a.jsonl"
    write_pool(tmp_path / "slow.yaml", candidates.url, max_concurrency=1)

    with pytest.raises(BudgetSpent, match="budget spent"):
        await ask(load_pool(tmp_path / "slow.yaml"), offered(*CAPITALS), file, budget_usd=4e-5)

    assert 0 < len(read_answers(file)) < 10
    assert sum(a.spend_usd for a in read_answers(file)) >= 4e-5


def test_where_nothing_was_asked_there_is_no_table(tmp_path):
    assert read_table(tmp_path / "none.jsonl") is None


async def test_in_the_simulated_world_the_generalist_is_the_best_constant_and_the_specialists_the_oracle(tmp_path):
    world = World(0)
    with pool_server(tmp_path / "server.log", latency_scale=0) as url:
        pool = load_pool(pool_called("sim"), base_url=url)
        questions = [
            OfferedQuestion(("world", number), q.hops[0].domain, q.text, tuple(q.golden_answers), tuple(pool.names))
            for number, q in enumerate(world.generate("val", 60, shares=ONE_HOP))
        ]
        await ask(pool, questions, tmp_path / "a.jsonl")

    table = read_table(tmp_path / "a.jsonl")
    assert table is not None
    assert len(table) == 60
    hull, by_kind = frontier(table), oracle_by_kind(table)
    assert hull.constants[-1].name == "Omni-72B"
    assert 0.7 < hull.constants[-1].em < 0.95
    assert by_kind.em > 0.85
    assert by_kind.raw_cost < hull.constants[-1].raw_cost / 5
    assert hull.em_above(by_kind.em, by_kind.raw_cost) > 0.5, "the same money buys little without looking"
    assert oracle(table).em >= by_kind.em
