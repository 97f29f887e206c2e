"""Methods that are fitted on scores before the server is ready, asked for by name and cost weight."""

from __future__ import annotations

import json

import openai
import pytest

pytest.importorskip("sklearn")

from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.project_files import pool_file
from router_r1.scores import Sample, write_scores
from router_r1.serving.fitted import more_methods
from router_r1.serving.options import ServingOptions
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from tests.integration.serving.conftest import asked

POOL = load_pool(pool_file("sim"), base_url="http://127.0.0.1:9/v1")
GOOD, CHEAP = "Melodia-7B", "Pico-1B"
"""Who knows everything in these scores, and who costs nothing."""
QUESTION = "Who composed Zirul?"


@pytest.fixture
def scores(tmp_path):
    rows = [
        Sample(
            id=f"q{number}",
            data_source="made up",
            question=f"Who composed number {number}?",
            candidate=name,
            score=float(name == GOOD),
            metric="em",
            raw_cost=0.0 if name == CHEAP else 10.0,
            spend_usd=0.0,
            failed=False,
        )
        for number in range(12)
        for name in POOL.names
    ]
    write_scores(rows, tmp_path / "scores.parquet", provenance={})
    return tmp_path / "scores.parquet"


def more(**options):
    return more_methods(ServingOptions(**options), POOL, seed=0)


async def test_a_fitted_method_answers_by_name_and_follows_its_cost_weight(serve, scores):
    methods = more(scores=scores, methods="knn,knn*")
    async with serve(lambda context: "<think> So. </think> <answer> Litir </answer>", more=methods) as served:
        client = served.client()
        listed = [model.id async for model in await client.models.list()]
        for model, candidate in (("knn", GOOD), ("knn@0.1", GOOD), ("knn@1", CHEAP)):
            reply = await client.chat.completions.create(**asked(QUESTION, model=model))
            assert [route["candidate"] for route in reply.router_r1["routes"]] == [candidate]
            assert (reply.model, reply.router_r1["routes"][0]["query"]) == (model, QUESTION)
        with pytest.raises(openai.NotFoundError, match="the model 'mlp' does not exist"):
            await client.chat.completions.create(**asked(model="mlp"))
        await served.books_balance()
    assert {"router-r1", "direct", "knn", "knn*"} <= set(listed)


async def test_the_sub_queries_of_a_policy_go_to_whom_the_fitted_method_chooses(serve, scores):
    async with serve(more=more(scores=scores, methods="knn*")) as served:
        reply = await served.client().chat.completions.create(**asked(QUESTION, model="knn*@1"))
    assert [route["candidate"] for route in reply.router_r1["routes"]] == [CHEAP]


async def test_an_arm_of_a_split_may_be_fitted(serve, scores):
    methods = more(scores=scores, methods="knn")
    async with serve(more=methods, split="knn@0.3=0.5,knn@0.5=0.5") as served:
        reply = await served.client().chat.completions.create(**asked(QUESTION, model="auto", user="alice"))
    assert reply.router_r1["arm"] == reply.model
    assert reply.model in ("knn@0.3", "knn@0.5")


def test_what_was_fitted_once_is_loaded_and_not_fitted_on_other_scores_unseen(scores, tmp_path, capsys):
    folder = tmp_path / "fitted"
    first = more(scores=scores, methods="knn", fitted=folder)
    assert capsys.readouterr().err == "fitting kNN\n"
    again = more(scores=scores, methods="knn", fitted=folder)
    assert capsys.readouterr().err == ""
    both = [found.fitted["knn"].utilities([QUESTION], 0.3).tolist() for found in (first, again)]
    assert both[0] == both[1]
    facts = json.loads((folder / "fitted_on.json").read_text())
    (folder / "fitted_on.json").write_text(json.dumps(facts | {"seed": 7}))
    with pytest.raises(ConfigError, match="is of other scores, another encoder or seed; give another folder"):
        more(scores=scores, methods="knn", fitted=folder)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"methods": "knn"}, "--scores: is needed: knn is fitted on scores"),
        ({"methods": "nonsense"}, "--methods = 'nonsense': is no method"),
        ({"methods": "knn", "scores": str(SHIPPED_POLICY / "config.json")}, "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, told):
    with pytest.raises(ConfigError) as caught:
        more(**options)
    assert told in str(caught.value)


def test_scores_must_be_of_every_candidate_of_the_pool(scores):
    paper = load_pool(pool_file("paper"))
    with pytest.raises(ConfigError, match="is in the pool and has no scores here"):
        more_methods(ServingOptions(scores=scores, methods="knn"), paper, seed=0)
