"""Bad input ends a run before anything is started: exit code 2, one line, naming file, key, value and remedy."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from router_r1.datasets import Question, parquet_schema, question_row, write_parquet
from tests.doubles.commands import train as main

# Each composes veRL's whole configuration: more than a second.
pytestmark = pytest.mark.slow

REAL_POOL = {
    "name": "real",
    "defaults": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": None},
    "candidates": [{"name": "A-7B", "model": "a", "price": {"input": 0.1, "output": 0.2}, "descriptor": "good at all"}],
}


@pytest.fixture
def refusal(tmp_path, capsys):
    """Runs train.sh's program with overrides and returns the one line it ends with."""

    def run(*overrides: str) -> str:
        assert main([f"runs_dir={tmp_path / 'runs'}", *overrides]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert "\n" not in error
        assert not (tmp_path / "runs").exists(), "something was started"
        assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
        return error

    return run


@pytest.fixture
def pool_file(tmp_path):
    def write(**changes) -> Path:
        pool = yaml.safe_load(yaml.safe_dump(REAL_POOL))
        for dotted, value in changes.items():
            where, (*parents, last) = pool, dotted.split("__")
            for part in parents:
                where = where[int(part) if part.isdigit() else part]
            if value is ...:
                del where[last]
            else:
                where[last] = value
        file = tmp_path / "pool.yaml"
        file.write_text(yaml.safe_dump(pool))
        return file

    return write


@pytest.fixture
def questions(tmp_path):
    """Train and validation files of the right form."""
    files = []
    for split in ("train", "val"):
        item = Question("1", "Who?", ("Me",))
        row = question_row(item, data_source="nq", split=split, index=0, messages=[{"role": "user", "content": "Who?"}])
        files.append(tmp_path / f"{split}.parquet")
        write_parquet([row], files[-1])
    return files


@pytest.fixture
def own_data(questions, untrained_policy, pool_file):
    """Overrides of a run on a real pool and the user's own files, all sound."""
    train, val = questions
    return [
        "router_r1.sim.enabled=false",
        f"router_r1.pool={pool_file()}",
        f"data.train_files={train}",
        f"data.val_files={val}",
        f"actor_rollout_ref.model.path={untrained_policy}",
    ]


def test_an_unknown_key_of_the_pool_file_is_named_with_the_nearest_right_one(refusal, own_data, pool_file):
    pool_file(candidates__0__descriptr="typo")

    assert all(word in refusal(*own_data) for word in ("pool.yaml", "descriptr", "descriptor"))


def test_a_missing_price_is_named(refusal, own_data, pool_file):
    pool_file(candidates__0__price=...)

    assert all(word in refusal(*own_data) for word in ("pool.yaml", "candidates[0]", "price"))


def test_a_candidate_named_twice_is_named(refusal, own_data, pool_file):
    pool_file(candidates=[REAL_POOL["candidates"][0], {**REAL_POOL["candidates"][0], "name": "a-7b"}])

    assert all(word in refusal(*own_data) for word in ("pool.yaml", "candidates[1].name", "a-7b"))


def test_an_unset_api_key_variable_is_named_and_no_value_of_another_is_shown(refusal, own_data, pool_file, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "secret-value")
    pool_file(defaults__api_key_env="MY_POOL_KEY")

    error = refusal(*own_data)

    assert all(word in error for word in ("pool.yaml", "api_key_env", "MY_POOL_KEY", "export"))
    assert "secret-value" not in error


@pytest.mark.parametrize("alpha", ["1.5", "-0.1", "nan"])
def test_alpha_outside_0_to_1_is_refused(refusal, alpha):
    assert "router_r1.reward: cost_coe" in refusal(f"router_r1.reward.cost_coe={alpha}")


def test_an_unknown_reward_key_is_refused(refusal):
    assert "cost_coef" in refusal("+router_r1.reward.cost_coef=0.5")


def test_a_model_path_that_does_not_exist_is_named(refusal, own_data):
    error = refusal(*own_data, "actor_rollout_ref.model.path=/nowhere/model")

    assert all(word in error for word in ("actor_rollout_ref.model.path", "/nowhere/model", "does not exist"))


def test_a_model_folder_without_a_model_is_named(refusal, own_data, tmp_path):
    (tmp_path / "empty").mkdir()

    assert "config.json" in refusal(*own_data, f"actor_rollout_ref.model.path={tmp_path / 'empty'}")


def test_a_missing_parquet_column_is_named(refusal, own_data, questions):
    table = pq.read_table(questions[0])
    pq.write_table(table.drop_columns(["reward_model"]), questions[0])

    assert all(word in refusal(*own_data) for word in ("train.parquet", "reward_model"))


def test_a_data_file_that_does_not_exist_is_named(refusal, own_data):
    assert "/nowhere/train.parquet" in refusal(*own_data, "data.train_files=/nowhere/train.parquet")


def test_validation_rows_that_say_they_are_training_rows_are_refused(refusal, own_data, questions):
    train, _ = questions

    assert "extra_info.split" in refusal(*own_data, f"data.val_files={train}")


def test_an_empty_data_file_is_refused(refusal, own_data, questions):
    pq.write_table(pa.Table.from_pylist([], schema=parquet_schema()), questions[0])

    assert "no rows" in refusal(*own_data)


def test_an_unknown_data_set_is_named_with_those_that_are_there(refusal, tmp_path, monkeypatch):
    (tmp_path / "nq").mkdir()
    (tmp_path / "nq" / "train.jsonl").write_text('{"id": "1", "question": "who?", "golden_answers": ["me"]}\n')
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))

    error = refusal("experiment=nq_hotpotqa_cpu")

    assert "hotpotqa:train" in error
    assert "nq:train" in error


def test_the_experiment_on_real_questions_asks_for_their_folder(refusal, monkeypatch):
    monkeypatch.delenv("DATA_ROOT", raising=False)

    assert "DATA_ROOT" in refusal("experiment=nq_hotpotqa_cpu")


def test_grpo_with_a_single_trajectory_per_question_is_refused(refusal):
    error = refusal("algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=1")

    assert "actor_rollout_ref.rollout.n = 1" in error


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=nope"], ["nope"]),
        (["router_r1.rollout.max_turnz=3"], ["max_turnz"]),
        (["--grpo"], ["--grpo", "router-r1 train --help"]),
        (["grpo"], ["grpo", "key=value"]),
        (["resume=yes"], ["resume", "never or auto"]),
        (["router_r1.max_failed_routes=20"], ["max_failed_routes", "[0, 1]"]),
        (["actor_rollout_ref.actor.ppo_mini_batch_size=48"], ["ppo_mini_batch_size", "48", "64"]),
    ],
)
def test_a_wrong_command_line_is_refused(refusal, overrides, words):
    error = refusal(*overrides)

    assert all(word in error for word in words)


def test_a_run_is_never_started_over_an_earlier_one_of_the_same_name(tmp_path, capsys):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{}")

    assert main([f"runs_dir={tmp_path / 'runs'}", "name=mine"]) == 2
    assert "resume=auto" in capsys.readouterr().err


def test_a_key_that_the_endpoint_refuses_ends_the_run_before_it_starts(refusal, own_data, pool_file, monkeypatch):
    """Within seconds, with one request per candidate."""
    asked: list[str] = []

    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("MY_POOL_KEY", "made-up-key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        pool_file(defaults__base_url=address, defaults__api_key_env="MY_POOL_KEY")
        error = refusal(*own_data)
        server.shutdown()

    assert asked == ["/v1/chat/completions"]
    assert all(word in error for word in ("A-7B", "HTTP 401", "MY_POOL_KEY"))
    assert "made-up-key" not in error


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("router_r1.routing.cache=on", "cache"),
        ("router_r1.routing.budget_usd=-1", "budget_usd"),
        ("+router_r1.routing.cash=1", "cash"),
        ("router_r1.routing.shards=0", "shards"),
    ],
)
def test_a_wrong_routing_setting_is_refused(refusal, override, key):
    assert f"router_r1.routing: {key}" in refusal(override)
