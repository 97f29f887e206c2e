"""Bad input ends `train` before anything is started: exit code 2 and one line, whatever stage finds the mistake.

What the checks themselves find is in `test_checks.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.doubles.commands import train as main

# Each composes veRL's whole configuration: more than a second.
pytestmark = pytest.mark.slow


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
def own_run(own_data):
    """The same as overrides."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in own_data.items()]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=nope"], ["experiment = 'nope'", "nq_hotpotqa_cpu", "world_cpu"]),
        (["router_r1.pool=nowhere"], ["pool = 'nowhere'", "local_small, paper"]),
        (["router_r1.rollout.max_turnz=3"], ["max_turnz"]),
        (["router_r1.reward.cost_coe=1.5"], ["router_r1.reward: cost_coe"]),
        (["--grpo"], ["--grpo", "router-r1 train --help"]),
        (["grpo"], ["grpo", "key=value"]),
        (["resume=yes"], ["resume", "never or auto"]),
    ],
)
def test_a_wrong_command_line_is_refused(refusal, overrides, words):
    error = refusal(*overrides)

    assert all(word in error for word in words)


def test_a_missing_key_and_a_missing_data_file_are_refused(refusal, own_run, pool_file):
    assert "/nowhere/train.parquet" in refusal(*own_run, "data.train_files=/nowhere/train.parquet")
    pool_file(defaults__api_key_env="MY_POOL_KEY")
    assert "MY_POOL_KEY" in refusal(*own_run)


def test_a_dry_run_lists_what_is_missing_and_goes_on(own_run, pool_file, tmp_path, capsys):
    """To veRL's own verdict, which takes as long as importing veRL."""
    pool_file(defaults__api_key_env="MY_POOL_KEY")

    assert main([f"runs_dir={tmp_path / 'runs'}", *own_run, "data.val_files=/nowhere/val.parquet", "--dry-run"]) == 0

    out = capsys.readouterr().out
    missing = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert len(missing) == 2
    assert "MY_POOL_KEY" in missing[0]
    assert "/nowhere/val.parquet" in missing[1]
    assert out.rstrip().endswith("dry run: the configuration is sound; nothing was started")
    assert not (tmp_path / "runs").exists()


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


def test_a_model_to_build_a_warm_start_on_is_refused_where_it_is_none_or_the_worlds_questions_are_asked(
    refusal, tmp_path, monkeypatch
):
    build_on = f"router_r1.sim.build_on={tmp_path}"
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))

    assert f"router_r1.sim.build_on = '{tmp_path}'" in refusal("experiment=nq_hotpotqa_cpu", build_on)
    assert "goes with real questions (router_r1.sim.qa_train) or recorded replies" in refusal(
        "router_r1.sim.warm_start=build", build_on
    )


def test_a_run_is_never_started_over_an_earlier_one_of_the_same_name(tmp_path, capsys):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{}")

    assert main([f"runs_dir={tmp_path / 'runs'}", "name=mine"]) == 2
    assert "resume=auto" in capsys.readouterr().err


def test_a_run_is_not_resumed_by_another_number_of_processes_than_wrote_its_checkpoint(tmp_path, capsys):
    run = tmp_path / "runs" / "mine"
    checkpoint = run / "checkpoints" / "global_step_30"
    (checkpoint / "actor" / "huggingface").mkdir(parents=True)
    (checkpoint / "cost_window.json").write_text("{}")
    for rank in range(4):
        (checkpoint / "actor" / f"model_world_size_4_rank_{rank}.pt").touch()
    (run / "run.json").write_text('{"overrides": []}')

    assert main([f"runs_dir={tmp_path / 'runs'}", "name=mine", "resume=auto", "trainer.n_gpus_per_node=2"]) == 2

    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert f"trainer.n_gpus_per_node = 2: {checkpoint} was written by 4 processes" in error
    assert "trainer.nnodes=1 trainer.n_gpus_per_node=4" in error
    assert f"actor_rollout_ref.model.path={checkpoint / 'actor' / 'huggingface'}" in error


def test_a_logger_whose_package_is_not_here_is_refused_and_only_listed_in_a_dry_run(refusal, own_run, tmp_path, capsys):
    if importlib.util.find_spec("swanlab"):
        pytest.skip("swanlab is installed")

    assert "the package swanlab is not installed here" in refusal("trainer.logger=[console,swanlab]")
    assert main([f"runs_dir={tmp_path / 'runs'}", *own_run, "trainer.logger=[console,swanlab]", "--dry-run"]) == 0
    assert "missing: configuration: trainer.logger = 'swanlab'" in capsys.readouterr().out


def test_a_dry_run_tells_of_keys_that_do_nothing(own_run, tmp_path, capsys):
    assert main([f"runs_dir={tmp_path / 'runs'}", *own_run, "critic.ppo_max_token_len_per_gpu=8192", "--dry-run"]) == 0

    out = capsys.readouterr().out
    assert "without effect: critic.ppo_max_token_len_per_gpu (set critic.ppo_infer_max_token_len_per_gpu" in out
    assert out.count("without effect") == 1


def test_a_key_that_the_endpoint_refuses_ends_the_run_before_it_starts(refusal, own_run, pool_file, monkeypatch):
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
        error = refusal(*own_run)
        server.shutdown()

    assert asked == ["/v1/chat/completions"]
    assert all(word in error for word in ("A-7B", "HTTP 401", "MY_POOL_KEY"))
    assert "made-up-key" not in error
