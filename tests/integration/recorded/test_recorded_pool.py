"""A pool of recorded replies, behind the same HTTP and the same route service as any other."""

from __future__ import annotations

import pytest

from router_r1.datasets import check_parquet
from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.recorded.question_files import write_recorded
from router_r1.routing import RouteService
from router_r1.sim.server.process import pool_server
from router_r1.sim.world.candidates import IGNORANCE
from tests.doubles.recorded import sum_lines, write_recorded_pool

pytest.importorskip("fastapi")
LINES = sum_lines(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The pool with the address of its server; whole replies."""
    file = write_recorded_pool(tmp_path_factory.mktemp("recorded"), LINES)
    with pool_server(file.with_suffix(".log"), recorded=file) as base_url:
        yield load_pool(file, base_url=base_url)


async def test_a_known_question_is_answered_and_charged_as_it_was(served):
    said = LINES[4]["candidates"]["Large-70B"]["reply"]
    async with RouteService(served) as routes:
        route = await routes.route("Large-70B", LINES[4]["question"])
        spent = routes.ledger.accounts["Large-70B"]
    prompt, completion = -(-len(LINES[4]["question"]) // 4), -(-len(said) // 4)
    assert route.reply == said
    assert (route.prompt_tokens, route.completion_tokens, route.usage_estimated) == (prompt, completion, False)
    assert route.raw_cost == completion * 20.0
    assert route.spend_usd == pytest.approx((prompt * 5.0 + completion * 20.0) * 1e-6)
    assert float(spent.spend_usd) == pytest.approx(route.spend_usd)


async def test_a_question_with_a_slip_is_the_nearest_one_and_another_is_not_known(served):
    async with RouteService(served) as routes:
        near = await routes.route("Small-7B", LINES[2]["question"].replace("brother", "brothre"))
        far = await routes.route("Small-7B", "Who directed the film?")
    assert near.reply == LINES[2]["candidates"]["Small-7B"]["reply"]
    assert (far.reply, far.failed) == (IGNORANCE, False)


async def test_only_the_conclusion_is_shown_but_all_is_paid_for(tmp_path):
    file = write_recorded_pool(tmp_path, LINES[:3], shown="conclusion")
    said = LINES[1]["candidates"]["Small-7B"]["reply"]
    with pool_server(tmp_path / "server.log", recorded=file) as base_url:
        async with RouteService(load_pool(file, base_url=base_url)) as routes:
            route = await routes.route("Small-7B", LINES[1]["question"])
    assert route.reply == "The answer is 15."
    assert route.completion_tokens == -(-len(said) // 4)


def test_training_and_test_questions_are_the_same_for_all_seeds(tmp_path):
    pytest.importorskip("pyarrow")
    pool = load_pool(write_recorded_pool(tmp_path, LINES))
    train, test = split_recorded(load_recorded_pool(pool))
    assert {q.id for q in train.questions} | {q.id for q in test.questions} == {line["id"] for line in LINES}
    import pyarrow.parquet as pq

    asked = set()
    for seed in (0, 1):
        paths = write_recorded(
            tmp_path / str(seed),
            pool,
            train=99,
            val=99,
            seed=seed,
            render=lambda *_, **__: [{"role": "user", "content": "?"}],
        )
        assert [check_parquet(path) for path in paths] == [{"train"}, {"val"}]
        rows = pq.read_table(paths[1]).to_pylist()
        assert rows[0]["data_source"] == "sums"
        asked.add(frozenset(row["extra_info"]["question"] for row in rows))
    assert asked == {frozenset(q.text for q in test.questions)}


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ({"file": "none.jsonl"}, "recorded.file = .*none.jsonl': is no file"),
        ({"file": "$NO_SUCH_FOLDER/x.jsonl"}, "the environment variable NO_SUCH_FOLDER is not set"),
        ({"threshold": 2}, "recorded.threshold = 2"),
        ({"shown": "half"}, "recorded.shown = 'half'"),
        ({"thresholds": 0.5}, "did you mean threshold"),
    ],
)
def test_a_wrong_section_is_told_in_one_line(tmp_path, recorded, told):
    file = write_recorded_pool(tmp_path, LINES[:3], **recorded)
    with pytest.raises(ConfigError, match=told):
        load_recorded_pool(load_pool(file))


def test_a_candidate_that_said_nothing_is_told(tmp_path):
    file = write_recorded_pool(tmp_path, LINES[:3])
    file.write_text(file.read_text().replace("Small-7B", "Tiny-1B"))
    with pytest.raises(ConfigError, match="candidate = 'Tiny-1B': has said nothing here"):
        load_recorded_pool(load_pool(file))
