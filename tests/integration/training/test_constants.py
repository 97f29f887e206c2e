"""Which validation questions the candidates are asked before a training, and through what."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router_r1 import runs
from router_r1.candidate_answers import read_answers, read_table
from router_r1.constant_routers import compare
from router_r1.errors import BudgetSpent, ConfigError
from router_r1.pool import load_pool
from router_r1.protocol import Route
from router_r1.routing import RouteService, RoutingConfig
from router_r1.training import configuration as cfg
from router_r1.training.configuration import pool_of
from router_r1.training.constants import ask_validation_questions, questions_to_ask
from tests.integration.conftest import CAPITALS, CandidateServer, question_of, write_pool, write_questions


@pytest.fixture(scope="module")
def composed():
    return cfg.compose_config(["platform=cpu", "experiment=world_cpu"])


@pytest.fixture
def server():
    with CandidateServer().running() as server:
        yield server


@pytest.fixture
def resolved(composed, server, tmp_path):
    """A run on a real pool that is asked for the best constant; more values may be changed."""
    val = write_questions(tmp_path / "val.parquet", {"nq": CAPITALS})
    given = {
        "name": "x",
        "run_dir": str(tmp_path),
        "router_r1.sim.enabled": False,
        "router_r1.pool": str(write_pool(tmp_path / "pool.yaml", server.url)),
        "router_r1.constants.enabled": True,
        "data.val_files": str(val),
    }

    def change(**values: object):
        config = copy.deepcopy(composed)
        cfg.set_values(config, given | {key.replace("__", "."): value for key, value in values.items()})
        return cfg.resolve(config)

    return change


def asked(config):
    return questions_to_ask(config, pool_of(config))


def test_a_real_pool_is_asked_only_if_that_is_wanted_and_the_simulated_one_by_itself(resolved):
    default = {"router_r1__constants__enabled": None}

    assert asked(resolved(**default)) == []
    assert len(asked(resolved())) == 5
    simulated = resolved(**default, router_r1__sim__enabled=True, router_r1__pool="configs/pools/sim.yaml")
    assert [len(q.candidates) for q in asked(simulated)] == [8] * 5


def test_a_question_is_asked_as_its_row_has_it(resolved):
    first = asked(resolved())[0]

    assert (first.key, first.kind, first.text) == (("nq", 0), "nq", question_of("France"))
    assert (first.golden_answers, first.candidates) == (("Paris",), ("Atlas-7B", "Borealis-70B"))


def test_at_most_so_many_are_drawn_the_same_ones_each_time(resolved):
    drawn = [asked(resolved(router_r1__constants__max_questions=3)) for _ in range(2)]

    assert len({q.key for q in drawn[0]}) == 3
    assert drawn[0] == drawn[1]


def test_a_row_that_offers_a_selection_is_asked_of_that_selection(resolved, tmp_path):
    rows = pq.read_table(tmp_path / "val.parquet").to_pylist()
    rows[0]["extra_info"]["candidates"] = [{"name": "Shown-1B", "candidate": "Borealis-70B"}]
    rows[1]["extra_info"]["candidates"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dealt.parquet")

    questions = asked(resolved(data__val_files=str(tmp_path / "dealt.parquet")))

    assert [q.candidates for q in questions[:2]] == [("Borealis-70B",), ("Atlas-7B", "Borealis-70B")]


def test_questions_that_cannot_be_told_apart_are_refused(resolved, tmp_path):
    file = str(tmp_path / "val.parquet")

    with pytest.raises(ConfigError, match=r"extra_info.index = 0: is that of two questions of nq") as told:
        asked(resolved(data__val_files=[file, file]))
    assert "router_r1.constants.enabled=false" in str(told.value)


@pytest.mark.parametrize(
    ("key", "value"), [("max_questions", 0), ("enabled", "maybe"), ("max_question", 5)], ids=lambda v: str(v)
)
def test_a_wrong_value_is_refused_with_the_configuration(resolved, key, value):
    with pytest.raises(ConfigError, match=rf"router_r1.constants: {key}"):
        cfg.check_settings(resolved(**{f"router_r1__constants__{key}": value}))


def ask(config, pool, **routing) -> None:
    """From a thread that has no loop, through a service in another one: as the trainer's process asks the actor."""

    async def serve() -> None:
        async with RouteService(pool, config=RoutingConfig(**routing)) as service:
            elsewhere = Elsewhere(service, asyncio.get_running_loop())
            await asyncio.to_thread(ask_validation_questions, config, pool, elsewhere)

    asyncio.run(serve())


class Elsewhere:
    """A route service whose loop runs in another thread."""

    def __init__(self, service: RouteService, loop: asyncio.AbstractEventLoop) -> None:
        self._service, self._loop = service, loop

    async def route(self, *what: Any, **how: Any) -> Route:
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._service.route(*what, **how), self._loop)
        )


def test_answers_go_into_the_folder_of_the_run_and_are_not_asked_for_again(resolved, server, tmp_path, capsys):
    config = resolved()
    pool = load_pool(config.router_r1.pool)
    ask(config, pool)
    ask(config, pool)

    assert len(server.asked) == 10
    assert read_table(runs.constants_file(tmp_path)).alone["Atlas-7B"].em == 1.0
    assert "candidates asked the validation questions: 10 of 10" in capsys.readouterr().out


def test_each_question_of_a_dealt_file_is_asked_of_its_deal_by_the_pools_own_names(resolved, server, tmp_path):
    rows = pq.read_table(tmp_path / "val.parquet").to_pylist()
    shown = [[("Nova", "Borealis-70B")], [("Nova", "Atlas-7B")], [("Nova", "Atlas-7B"), ("Lyra", "Borealis-70B")]]
    for number, row in enumerate(rows):
        dealt = [{"name": name, "candidate": own} for name, own in shown[number % 3]]
        row["extra_info"] |= {"candidates": dealt, "cost_weight": 0.6}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dealt.parquet")
    config = resolved(data__val_files=str(tmp_path / "dealt.parquet"))

    ask(config, load_pool(config.router_r1.pool))

    assert len(server.asked) == 1 + 1 + 2 + 1 + 1
    table = read_table(runs.constants_file(tmp_path))
    assert table.candidates == ("Atlas-7B", "Borealis-70B")
    offered = dict(zip((index for _, index in table.questions), table.offered.tolist(), strict=True))
    assert [offered[index] for index in range(3)] == [[False, True], [True, False], [True, True]]
    nova = [(key, 1.0, 1.0) for key in table.questions]
    assert compare(table, nova).num_questions == len(rows)


def test_if_too_many_routes_fail_the_run_goes_on_without(resolved, server, tmp_path, caplog):
    server.broken |= {question_of(country) for country in CAPITALS}
    config = resolved()

    ask(config, load_pool(config.router_r1.pool))

    assert read_table(runs.constants_file(tmp_path)) is None
    assert "what the candidates alone would score stays unknown" in caplog.text


def test_the_budget_of_the_run_holds(resolved, tmp_path):
    config = resolved(router_r1__pool=str(Path(tmp_path, "pool.yaml")))
    write_pool(tmp_path / "pool.yaml", "http://127.0.0.1:9/v1")

    with pytest.raises(BudgetSpent, match="budget spent"):
        ask(config, load_pool(config.router_r1.pool), budget_usd=0)
    assert read_answers(runs.constants_file(tmp_path)) == []


def test_off_nothing_is_asked(resolved, server):
    config = resolved(router_r1__constants__enabled=False)

    ask(config, load_pool(config.router_r1.pool))

    assert server.requests == []


@pytest.mark.slow  # importing veRL takes seconds
@pytest.mark.parametrize("shuffle", [True, False])
def test_only_the_questions_that_a_validation_draws_are_asked(resolved, untrained_policy, shuffle):
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset

    config = resolved(data__val_max_samples=3, data__shuffle=shuffle, seed=7)
    tokenizer = AutoTokenizer.from_pretrained(untrained_policy)
    validated = create_rl_dataset(
        config.data.val_files, config.data, tokenizer, None, is_train=False, max_samples=config.data.val_max_samples
    )

    keys = [question.key for question in asked(config)]
    assert keys == [("nq", validated[place]["extra_info"]["index"]) for place in range(len(validated))]
    assert len(keys) == 3
