"""Many questions to one loaded policy: from a file, or as they are typed; and the same loop as a benchmark's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from router_r1.benchmark.records import read_records
from router_r1.cli.ask import read_question_list
from router_r1.errors import ConfigError
from router_r1.rollout.loop import RolloutLimits
from tests.doubles.commands import ask as main
from tests.doubles.commands import bench as benchmark
from tests.integration.conftest import CAPITALS, PolicyServer, question_of, write_questions


@pytest.fixture
def options(policy, pool_file):
    return ["--base_url", policy.url, "--pool", str(pool_file), "--template", "tiny"]


# ---------------------------------------------------------------- from a file


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "What is the capital of France?\n\n  What is the capital of Italy?  \n"),
        ("q.jsonl", '{"question": "What is the capital of France?"}\n"What is the capital of Italy?"\n'),
    ],
)
def test_a_file_of_questions_is_answered_in_its_order(options, tmp_path, capfd, name, text):
    (tmp_path / name).write_text(text)
    assert main([*options, "--questions", str(tmp_path / name), "--json"]) == 0
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(r["question"], r["answer"]) for r in records] == [
        (question_of("France"), "Paris"),
        (question_of("Italy"), "Rome"),
    ]
    assert main([*options, "--questions", str(tmp_path / name)]) == 0
    out = capfd.readouterr().out
    assert out.index("Question: What is the capital of France?") < out.index("Answer: Paris")
    assert out.index("Answer: Paris") < out.index("Question: What is the capital of Italy?") < out.index("Answer: Rome")
    assert "Atlas-7B: 10 + 4 tokens" in out


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("q.txt", "", "holds no question"),
        ("q.jsonl", '{"q": 1}\n', r"q.jsonl:1: question: must be a string"),
        ("q.jsonl", '"Who?"\n{\n', r"q.jsonl:2: is not valid JSON"),
        ("q.jsonl", '"Who \\ud800?"\n', r"q.jsonl:1.*no valid UTF-8 text"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_the_line(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_question_list(tmp_path / name)


def test_the_first_fault_of_the_policy_ends_them_all(options, policy, tmp_path, capfd):
    (tmp_path / "q.txt").write_text("\n".join(map(question_of, CAPITALS)))
    policy.dies_after = 3
    assert main([*options, "--questions", str(tmp_path / "q.txt")]) == 1
    assert "engine is dead" in capfd.readouterr().err


# ---------------------------------------------------------------- typed


def start(project_root, options, stdin):
    return subprocess.Popen(
        [sys.executable, str(project_root / "infer_vllm.py"), *options],
        env={**os.environ, "PYTHONPATH": str(project_root)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def read_until(stream, text: bytes) -> bytes:
    found = b""
    while text not in found:
        byte = stream.read(1)
        assert byte, found
        found += byte
    return found


def test_typed_questions_are_answered_one_by_one_by_one_session(options, policy, monkeypatch, capfd):
    typed, keyboard = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(typed))
    os.write(keyboard, f"{question_of('France')}\n \n".encode() + b"\xff\n")
    # The last one comes in two pieces, the second of them while the first question is being answered.
    question = question_of("Italy").encode()
    os.write(keyboard, question[:10])

    def type_the_rest():
        policy.on_request = lambda: None
        os.write(keyboard, question[10:])
        os.close(keyboard)

    policy.on_request = type_the_rest
    assert main(options) == 0
    captured = capfd.readouterr()
    assert captured.out.index("Answer: Paris") < captured.out.index("Answer: Rome")
    assert captured.err.count("error: standard input: question") == 2, "a bad line is told, and the next one awaited"
    assert len(policy.requests) == 4


def test_questions_may_come_from_a_redirected_file(options, tmp_path, monkeypatch, capfd):
    (tmp_path / "q").write_text(f"{question_of('Spain')}\n{question_of('Poland')}")
    with (tmp_path / "q").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main([*options, "--json"]) == 0
    assert [json.loads(line)["answer"] for line in capfd.readouterr().out.splitlines()] == ["Madrid", "Warsaw"]


@pytest.mark.slow
def test_ctrl_c_while_waiting_for_a_question_ends_it_at_once(options, project_root):
    process = start(project_root, options, subprocess.PIPE)
    read_until(process.stderr, b"question> ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.slow
def test_the_trajectory_is_shown_as_it_grows(model_folder, pool_file, project_root):
    """The policy answers only after the test has read the first turn and its observation."""

    class Waiting(PolicyServer):
        def reply(self, request):
            with self._lock:
                told = "<information>" in self.tokenizer.decode(request["prompt"])
            if told:
                assert self.let_go.wait(300)
            return super().reply(request)

    with Waiting(model_folder).running() as policy:
        options = ["--base_url", policy.url, "--pool", str(pool_file), "--template", "tiny"]
        process = start(project_root, [*options, "--question", question_of("France")], subprocess.DEVNULL)
        seen = read_until(process.stdout, b"</information>")
        assert b"<search> Atlas-7B: What is the capital of France? </search>" in seen
        assert b"Atlas-7B: 10 + 4 tokens, raw cost 2 (spent 1.2e-05 USD)" in seen
        assert not policy.let_go.is_set()
        policy.let_go.set()
        out, _ = process.communicate(timeout=300)
    assert b"Answer: Paris" in out
    assert b"<search>" not in out, "each turn is shown once"


# ---------------------------------------------------------------- one loop for all commands


def test_a_single_question_and_a_benchmark_give_the_policy_the_same_tokens(
    options, policy, model_folder, tmp_path, capfd
):
    questions = write_questions(tmp_path / "q.parquet", {"a": CAPITALS})
    named = [*options[:4], "--model_path", str(model_folder), "--data", str(questions), "--out", str(tmp_path / "out")]
    assert benchmark(named) == 0
    in_benchmark = sorted(request["prompt"] for request in policy.requests)
    policy.requests.clear()
    (tmp_path / "q.txt").write_text("\n".join(map(question_of, CAPITALS)))
    capfd.readouterr()
    assert main([*options, "--questions", str(tmp_path / "q.txt"), "--json"]) == 0
    assert sorted(request["prompt"] for request in policy.requests) == in_benchmark
    asked = {r["question"]: r for r in map(json.loads, capfd.readouterr().out.splitlines())}
    for record in read_records(tmp_path / "out" / "trajectories.jsonl"):
        single = asked[record["question"]]
        assert [t["text"] + t["observation"] for t in single["turns"]] == [
            t["text"] + t["observation"] for t in record["turns"]
        ]
        assert (single["status"], single["raw_cost"]) == (record["status"], record["raw_cost"])


class Stubborn(PolicyServer):
    """Mentions the answer tag in its thoughts, and searches for as long as it is let."""

    def reply(self, request):
        with self._lock:
            ids = self.tokenizer.encode("<think> Not <answer> yet. </think> <search> Atlas-7B: Which one? </search>")
        choice = {"index": 0, "text": "", "finish_reason": "stop", "token_ids": ids, "logprobs": None}
        return 200, {"id": "c", "object": "text_completion", "created": 0, "model": "policy", "choices": [choice]}


def test_as_many_routes_as_in_training_then_a_last_turn_and_an_answer_in_a_thought_is_none(
    model_folder, pool_file, candidates, capfd
):
    with Stubborn(model_folder).running() as policy:
        options = ["--base_url", policy.url, "--pool", str(pool_file), "--template", "tiny"]
        assert main([*options, "--question", question_of("France"), "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["routes"] == len(candidates.asked) == RolloutLimits().max_turns == 4
    assert len(record["turns"]) == 5, "the last turn's search is not dispatched"
    assert (record["answer"], record["status"]) == (None, "max_turns")


def test_sampling_repeats_with_its_seed(options, policy):
    for _ in range(2):
        assert main([*options, "--question", question_of("France"), "--temperature", "1", "--seed", "4"]) == 0
    seeds = [request["seed"] for request in policy.requests]
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]
