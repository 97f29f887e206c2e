"""A benchmark that ends early: nothing finished is lost, and it goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router_r1.atomic import appending
from router_r1.benchmark.records import read_records
from tests.doubles.commands import bench as main
from tests.doubles.commands import captured
from tests.integration.conftest import CAPITALS, CandidateServer, PolicyServer, write_model, write_pool, write_questions


def options_of(policy: PolicyServer, pool: Path, model: Path, folder: Path) -> list[str]:
    questions = write_questions(folder / "test.parquet", {"a": CAPITALS, "b": {**CAPITALS, "France": "Lyon"}})
    named = {"--base_url": policy.url, "--model_path": model, "--pool": pool, "--data": questions}
    return [str(word) for pair in {**named, "--out": folder / "out"}.items() for word in pair]


@pytest.fixture
def options(policy, pool_file, model_folder, tmp_path):
    return options_of(policy, pool_file, model_folder, tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[tuple[list[str], PolicyServer]]:
    """The options of a benchmark that came to its end, and its policy, still served."""
    folder = tmp_path_factory.mktemp("finished")
    model = write_model(folder / "model")
    with CandidateServer().running() as candidates, PolicyServer(model).running() as policy:
        options = options_of(policy, write_pool(folder / "pool.yaml", candidates.url), model, folder)
        code, _, messages = captured(main, options)
        assert code == 0, messages
        yield options, policy


def results_of(folder) -> dict:
    found = json.loads((folder / "results.json").read_text())
    return {name: {k: v for k, v in row.items() if "latency" not in k} for name, row in found["datasets"].items()}


def test_after_a_fault_of_the_policy_the_error_says_how_to_go_on(options, policy, tmp_path, capfd):
    policy.dies_after = 9
    assert main(options) == 1
    err = capfd.readouterr().err
    assert f"engine is dead; go on with --resume --out {tmp_path / 'out'}" in " ".join(err.split())
    policy.dies_after = None
    assert main([*options, "--resume"]) == 0


@pytest.mark.slow
def test_only_what_is_missing_is_asked_and_the_results_are_those_of_an_undisturbed_run(options, policy, tmp_path):
    assert main([*options[:-1], str(tmp_path / "whole")]) == 0
    assert main(options) == 0
    file = tmp_path / "out" / "trajectories.jsonl"
    (tmp_path / "out" / "results.json").unlink()
    kept = file.read_bytes().splitlines(keepends=True)[:4]
    file.write_bytes(b"".join(kept) + b'{"data_source": "a", "ind')
    policy.requests.clear()
    assert main([*options, "--resume"]) == 0
    assert len(policy.requests) == 2 * (10 - len(kept)), "two turns for each trajectory that was missing"
    assert file.read_bytes().splitlines(keepends=True)[:4] == kept
    assert results_of(tmp_path / "out") == results_of(tmp_path / "whole")


def test_a_spent_budget_ends_it_and_what_is_finished_is_not_paid_again(options, candidates, pool_file, tmp_path, capfd):
    write_pool(pool_file, candidates.url, max_concurrency=1)  # one after another, 0.000012 USD each
    assert main([*options, "--budget_usd", "0.00005"]) == 4
    err = " ".join(capfd.readouterr().err.split())
    assert "budget spent: 0.0000600 of 0.00005 USD after 5 requests" in err
    assert f"go on with --resume --out {tmp_path / 'out'}" in err
    finished = len(read_records(tmp_path / "out" / "trajectories.jsonl"))
    assert main([*options, "--resume"]) == 0
    assert len(candidates.asked) == 5 + 10 - finished


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_kill_9_and_ctrl_c_lose_nothing_that_was_finished(options, policy, tmp_path, project_root, end):
    policy.held_back.add("Poland")
    process = subprocess.Popen(
        [sys.executable, "-m", "router_r1", "bench", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    file = tmp_path / "out" / "trajectories.jsonl"
    deadline = time.monotonic() + 300
    while len(read_records(file)) < 8:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(end)
    _, err = process.communicate(timeout=300)
    policy.let_go.set()
    assert process.returncode == (130 if end == signal.SIGINT else -9)
    if end == signal.SIGINT:
        assert "interrupted; go on with --resume --out" in err
    assert not (tmp_path / "out" / "results.json").exists()
    assert main([*options, "--resume"]) == 0
    assert len(read_records(file)) == 10
    assert results_of(tmp_path / "out")["b"]["em"] == 0.8


def test_half_a_line_that_a_crash_left_is_cut_off(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_bytes(b'{"a": 1}\n{"a": ')
    assert read_records(file) == [{"a": 1}]
    with appending(file) as sink:
        sink.write('{"a": 2}\n')
    assert read_records(file) == [{"a": 1}, {"a": 2}]


def test_a_finished_benchmark_is_only_counted_again(finished):
    options, policy = finished
    folder = Path(options[-1])
    before, asked = results_of(folder), len(policy.requests)
    (folder / "results.json").unlink()
    assert main([*options, "--resume"]) == 0
    assert len(policy.requests) == asked
    assert results_of(folder) == before


@pytest.mark.parametrize(
    ("changed", "key"),
    [(["--max_turns", "2"], "max_turns"), (["--temperature", "1"], "temperature"), (["--limit", "1"], "num_questions")],
)
def test_another_setting_is_not_gone_on_with(finished, changed, key, capfd):
    options, _ = finished
    assert main([*options, *changed, "--resume"]) == 2
    err = capfd.readouterr().err
    assert "setting.json" in err
    assert key in err


def test_resume_needs_a_folder_and_a_used_folder_needs_resume(finished, capfd):
    options, _ = finished
    assert main(options) == 2
    assert "--resume" in capfd.readouterr().err
    assert main([*options[:-2], "--resume"]) == 2
    assert "--out" in capfd.readouterr().err
