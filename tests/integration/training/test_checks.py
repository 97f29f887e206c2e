"""What is wrong with a composed configuration is found before a start, and named by file, key, value and remedy.

`test_refusals.py` sees the same told by the command; here one composition, which takes a second, serves all tests.
"""

from __future__ import annotations

import copy
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router_r1.datasets import Question, parquet_schema, question_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.pool import Deal, Shown
from router_r1.prompts.cost_words import cost_word
from router_r1.routing import RoutingConfig
from router_r1.training import configuration as cfg
from router_r1.training import simulation
from router_r1.training.plan import check
from tests.integration.training.conftest import REAL_POOL

RUN = {"name": "x", "run_dir": "/x"}


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    config = cfg.compose_config(["platform=cpu"])
    cfg.set_values(config, RUN)
    return cfg.resolve(config)


@pytest.fixture
def refusal(composed):
    """The line that the default experiment with some values changed is refused with."""

    def run(values: dict[str, Any]) -> str:
        config = copy.deepcopy(composed)
        cfg.set_values(config, values)
        with pytest.raises(ConfigError) as told:
            check(config)
        assert "\n" not in str(told.value)
        return str(told.value)

    return run


def test_a_run_on_ones_own_files_is_sound(composed, own_data):
    config = copy.deepcopy(composed)
    cfg.set_values(config, own_data)

    assert check(config) == []


# ---------------------------------------------------------------- the pool


def test_an_unknown_key_of_the_pool_file_is_named_with_the_nearest_right_one(refusal, own_data, pool_file):
    pool_file(candidates__0__descriptr="typo")

    assert all(word in refusal(own_data) for word in ("pool.yaml", "descriptr", "descriptor"))


def test_a_missing_price_is_named(refusal, own_data, pool_file):
    pool_file(candidates__0__price=...)

    assert all(word in refusal(own_data) for word in ("pool.yaml", "candidates[0]", "price"))


def test_a_candidate_named_twice_is_named(refusal, own_data, pool_file):
    pool_file(candidates=[REAL_POOL["candidates"][0], {**REAL_POOL["candidates"][0], "name": "a-7b"}])

    assert all(word in refusal(own_data) for word in ("pool.yaml", "candidates[1].name", "a-7b"))


def test_an_unset_api_key_variable_is_named_and_no_value_of_another_is_shown(refusal, own_data, pool_file, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "secret-value")
    pool_file(defaults__api_key_env="MY_POOL_KEY")

    error = refusal(own_data)

    assert all(word in error for word in ("pool.yaml", "api_key_env", "MY_POOL_KEY", "export"))
    assert "secret-value" not in error


def test_in_a_dry_run_all_that_this_machine_lacks_is_listed_and_is_no_fault(composed, own_data, pool_file):
    pool_file(defaults__api_key_env="MY_POOL_KEY")
    config = copy.deepcopy(composed)
    cfg.set_values(config, own_data | {"data.train_files": "/nowhere/train.parquet"})

    key, file = map(str, check(config, dry_run=True))

    assert "MY_POOL_KEY" in key
    assert "/nowhere/train.parquet" in file


# ---------------------------------------------------------------- the configuration's own keys


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("router_r1.reward.cost_coe", 1.5, "router_r1.reward: cost_coe"),
        ("router_r1.reward.cost_coe", -0.1, "router_r1.reward: cost_coe"),
        ("router_r1.reward.cost_coe", float("nan"), "router_r1.reward: cost_coe"),
        ("router_r1.reward.cost_coe", "often", "cost_coe = 'often': must be a number in [0, 1], or sampled"),
        ("router_r1.reward.cost_coef", 0.5, "cost_coef: unknown key"),
        ("router_r1.reward.cost_weights", [0.2, 2], "router_r1.reward: cost_weights: must be numbers in [0, 1]"),
        ("router_r1.reward.cost_weights", [0.6, 0.55], "cost_weights: a prompt tells 0.6 and 0.55 alike (much)"),
        ("router_r1.max_failed_routes", 20, "router_r1.max_failed_routes = 20: must be in [0, 1]"),
        ("router_r1.template", "nowhere", "nowhere"),
        ("router_r1.routing.cache", "on", "router_r1.routing: cache = 'on'"),
        ("router_r1.routing.budget_usd", -1, "router_r1.routing: budget_usd = -1"),
        ("router_r1.routing.cash", 1, "router_r1.routing: cash: unknown key"),
        ("router_r1.routing.shards", 0, "router_r1.routing: shards = 0"),
        ("actor_rollout_ref.actor.ppo_mini_batch_size", 48, "ppo_mini_batch_size = 48: must divide data.train_batch"),
        ("resume", "yes", "resume = 'yes': must be never or auto"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(refusal, key, value, told):
    assert told in refusal({key: value})


def test_an_unknown_template_is_refused_with_those_there_are(refusal):
    assert all(name in refusal({"router_r1.template": "nowhere"}) for name in ("llama", "qwen", "tiny"))


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_an_estimator_that_compares_trajectories_is_refused_a_single_one_per_question(refusal, estimator):
    error = refusal({"algorithm.adv_estimator": estimator, "actor_rollout_ref.rollout.n": 1})

    assert f"actor_rollout_ref.rollout.n = 1: {estimator.upper()} compares" in error


# ---------------------------------------------------------------- model and data


def test_a_model_path_that_does_not_exist_is_named(refusal, own_data):
    error = refusal(own_data | {"actor_rollout_ref.model.path": "/nowhere/model"})

    assert all(word in error for word in ("actor_rollout_ref.model.path", "/nowhere/model", "does not exist"))


def test_a_model_folder_without_a_model_is_named(refusal, own_data, tmp_path):
    (tmp_path / "empty").mkdir()

    assert "config.json" in refusal(own_data | {"actor_rollout_ref.model.path": str(tmp_path / "empty")})


def test_a_missing_parquet_column_is_named(refusal, own_data, questions):
    table = pq.read_table(questions[0])
    pq.write_table(table.drop_columns(["reward_model"]), questions[0])

    assert all(word in refusal(own_data) for word in ("train.parquet", "reward_model"))


def test_a_data_file_that_does_not_exist_is_named(refusal, own_data):
    assert "/nowhere/train.parquet" in refusal(own_data | {"data.train_files": "/nowhere/train.parquet"})


def test_validation_rows_that_say_they_are_training_rows_are_refused(refusal, own_data):
    assert "extra_info.split" in refusal(own_data | {"data.val_files": own_data["data.train_files"]})


def test_questions_that_are_dealt_candidates_of_another_pool_are_refused_with_file_and_row(
    refusal, own_data, questions
):
    train, _ = questions
    item, messages = Question("1", "Who?", ("Me",)), [{"role": "user", "content": "Who?"}]
    deals = [None, Deal((Shown("Nova", "A-7B"),)), Deal((Shown("Nova", "A-7B"), Shown("Lyra", "Z-9B")))]
    rows = [
        question_row(item, data_source="nq", split="train", index=index, messages=messages, deal=deal)
        for index, deal in enumerate(deals)
    ]
    write_parquet(rows, train)

    assert f"{train}: row 2: candidates[1].candidate = 'Z-9B': is no candidate of" in refusal(own_data)


def test_an_empty_data_file_is_refused(refusal, own_data, questions):
    pq.write_table(pa.Table.from_pylist([], schema=parquet_schema()), questions[0])

    assert "no rows" in refusal(own_data)


# ---------------------------------------------------------------- an alpha for each question

SAMPLED = {"router_r1.reward.cost_coe": "sampled"}


@pytest.fixture
def weighed(own_data, questions):
    """A sound run on files of one's own, whose questions have cost weights."""
    for number, path in enumerate(questions):
        weigh(path, 0.2 * number)
    return own_data | SAMPLED | {"router_r1.template": "qwen"}


def weigh(path, weight: float | None) -> None:
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["extra_info"]["cost_weight"] = weight
    write_parquet(rows, path)


def test_a_run_with_an_alpha_for_each_question_is_sound(composed, weighed):
    config = copy.deepcopy(composed)
    cfg.set_values(config, weighed)

    assert check(config) == []


@pytest.mark.parametrize("place", [0, 1], ids=["training", "validation"])
def test_a_question_without_a_cost_weight_is_named_by_file_row_column_and_remedy(refusal, weighed, questions, place):
    weigh(questions[place], None)

    error = refusal(weighed)

    assert f"{questions[place]}: row 0: extra_info.cost_weight: has no cost weight" in error
    assert "--cost-weights" in error


def test_a_template_that_tells_no_cost_weight_is_refused_with_a_sampled_alpha(refusal, weighed, tmp_path):
    silent = tmp_path / "silent.txt"
    silent.write_text("{pool_list} {question}")

    error = refusal(weighed | {"router_r1.template": str(silent)})

    assert f"router_r1.template = '{silent}': tells no cost weight" in error
    assert "{cost_weight}" in error


@pytest.mark.parametrize(("cost_coe", "found"), [("sampled", {0.0: 3, 0.6: 3}), (0.6, {0.6: 6})])
def test_the_simulated_worlds_questions_are_written_with_the_alphas_of_the_run(composed, tmp_path, cost_coe, found):
    config = copy.deepcopy(composed)
    values = {"reward.cost_coe": cost_coe, "reward.cost_weights": [0.0, 0.6], "template": "qwen"}
    values |= {"sim.train_size": 6, "sim.val_size": 6}
    cfg.set_values(config, {f"router_r1.{key}": value for key, value in values.items()})

    simulation.write_questions(config, tmp_path)

    for split in ("train", "val"):
        rows = pq.read_table(tmp_path / f"{split}.parquet").to_pylist()
        assert Counter(row["extra_info"]["cost_weight"] for row in rows) == found
        assert all(
            f"here: {cost_word(row['extra_info']['cost_weight'])} (" in row["prompt"][0]["content"] for row in rows
        )


# ---------------------------------------------------------------- how the candidates are asked


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a model that holds a value, those of nested models dotted."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def another_value(field: FieldInfo) -> Any:
    """A value of the field's type that is not its default."""
    kind = field.annotation
    if get_origin(kind) is types.UnionType:  # X | None
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != field.default)
    if kind is bool:
        return not field.default
    if kind is int:
        return (field.default or 0) + 1
    return (field.default or 3.0) / 2 if kind is float else "/somewhere/a.file"


def test_every_key_of_the_route_service_is_a_plain_override():
    given = {key: another_value(field) for key, field in leaves(RoutingConfig)}
    overrides = [f"router_r1.routing.{key}={str(value).lower()}" for key, value in given.items()]

    config = cfg.compose_config(["platform=cpu", *overrides])
    cfg.set_values(config, RUN)
    found = cfg.route_settings(cfg.resolve(config))

    assert {"retries.max_attempts", "breaker.share", "cache"} <= set(given)
    for key, value in given.items():
        assert value_at(found, key) == value != value_at(RoutingConfig(), key), key


def value_at(model: BaseModel, key: str) -> Any:
    for part in key.split("."):
        model = getattr(model, part)
    return model
