"""One question to a trained router: what is shown, what is kept secret, and what is refused."""

import ast
import json
import os
import subprocess
import sys

import pytest

from router_r1.pool import Deal, draw_deal, load_pool
from tests.doubles.commands import ask as main
from tests.integration.conftest import question_of, write_pool

QUESTION = "What is the capital of France"


@pytest.fixture
def ask(policy, pool_file, capfd):
    """Run the command; returns exit code, standard output and standard error."""

    def run(*extra, question=QUESTION):
        options = ["--question", question, "--base_url", policy.url, "--pool", str(pool_file), "--template", "tiny"]
        code = main([*options, *extra])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


def test_it_shows_the_trajectory_each_route_with_its_price_and_the_answer(ask):
    code, out, _ = ask()
    assert code == 0
    at = [
        out.index(part)
        for part in (
            "Question: What is the capital of France",
            "<search> Atlas-7B: What is the capital of France? </search>",
            "Atlas-7B: 10 + 4 tokens, raw cost 2 (spent 1.2e-05 USD)",
            "<information> It is Paris. </information>",
            "<answer> Paris </answer>",
            "1 route, raw cost 2, spent 1.2e-05 USD, status answered",
            "Answer: Paris",
        )
    ]
    assert at == sorted(at)


def test_for_machines_standard_output_is_one_json_object(ask):
    code, out, _ = ask("--json")
    record = json.loads(out)
    assert code == 0
    assert (record["question"], record["answer"], record["status"]) == (QUESTION, "Paris", "answered")
    assert (record["routes"], record["raw_cost"], record["spend_usd"]) == (1, 2.0, pytest.approx(1.2e-5))
    route = record["turns"][0]["route"]
    assert (route["candidate"], route["query"], route["reply"]) == ("Atlas-7B", question_of("France"), "It is Paris.")
    assert (route["prompt_tokens"], route["completion_tokens"], route["failed"]) == (10, 4, False)
    assert route["latency_s"] > 0


def test_neither_markup_nor_escape_sequences_of_others_reach_the_terminal(ask, candidates):
    candidates.replies[question_of("France")] = "[bold red]It is[/] \x1b[31mParis\x1b]0;title\x07 \u202eevil"
    _, out, _ = ask()
    assert "[bold red]It is[/]" in out
    assert not set("\x1b\x07\u202e") & set(out)
    _, out, _ = ask(question="[link=http://x]What\x1b[2J is it")
    assert "[link=http://x]What" in out
    assert "\x1b" not in out


def test_a_failed_route_shows_its_cause_and_the_policy_goes_on(ask, candidates):
    candidates.broken.add(question_of("France"))
    code, out, _ = ask()
    assert code == 0
    assert "Atlas-7B failed after" in out
    assert "HTTP 400" in out
    assert "1 route (1 failed)" in out
    assert "Answer: no idea" in out


def test_a_refused_key_ends_it_before_the_question_is_asked(ask, candidates, policy):
    candidates.refuses_after = -1
    code, out, err = ask()
    assert (code, out, policy.requests) == (2, "", [])
    assert "HTTP 401" in err
    assert ask("--skip-preflight")[0] == 1  # the first route tells
    assert policy.requests


def test_a_given_key_is_sent_to_the_candidates_alone_and_shown_nowhere(ask, candidates, policy, monkeypatch):
    monkeypatch.delenv("ROUTER_R1_API_KEY", raising=False)
    for extra in ((), ("--json",)):
        _, out, err = ask("--api_key", "sk-very-secret", *extra)
        assert "very-secret" not in out + err
    assert set(candidates.keys) == {"Bearer sk-very-secret"}
    assert not any("secret" in key for key in policy.keys)


def test_a_key_goes_under_the_name_that_the_pool_file_has_for_it(policy, candidates, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("SOME_API_KEY", raising=False)
    pool = write_pool(tmp_path / "keyed.yaml", candidates.url, api_key_env="SOME_API_KEY")
    options = ["--question", QUESTION, "--base_url", policy.url, "--pool", str(pool), "--template", "tiny"]
    assert main(options) == 2
    assert "SOME_API_KEY" in capfd.readouterr().err
    assert main([*options, "--api_key", "k"]) == 0
    assert os.environ["SOME_API_KEY"] == "k"
    monkeypatch.delenv("SOME_API_KEY")


def test_one_key_is_not_sent_to_several_providers(policy, candidates, tmp_path, capfd):
    pool = write_pool(tmp_path / "keyed.yaml", candidates.url, api_key_env="SOME_API_KEY")
    text = pool.read_text().replace("name: Borealis-70B", "name: Borealis-70B\n  api_key_env: OTHER_API_KEY")
    pool.write_text(text)
    code = main(["--question", QUESTION, "--base_url", policy.url, "--pool", str(pool), "--api_key", "sk-x"])
    err = capfd.readouterr().err
    assert code == 2
    assert "OTHER_API_KEY, SOME_API_KEY" in err
    assert "sk-x" not in err


def test_the_candidates_endpoint_can_be_overridden(policy, candidates, tmp_path, capfd):
    pool = write_pool(tmp_path / "elsewhere.yaml", "http://127.0.0.1:1/v1")
    options = ["--question", QUESTION, "--base_url", policy.url, "--pool", str(pool), "--template", "tiny"]
    assert main([*options, "--api_base", candidates.url]) == 0
    assert "Answer: Paris" in capfd.readouterr().out


def test_max_turns_is_obeyed(ask):
    _, out, _ = ask("--max_turns", "0", "--json")
    assert json.loads(out)["status"] == "max_turns"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--question", " "], "--question"),
        (["--temperature", "3"], "temperature"),
        (["--max_turns", "-1"], "--max-turns"),
        (["--pool", "/no/such/pool.yaml"], "/no/such/pool.yaml"),
        (["--template", "nothing"], "nothing"),
        (["--run", "never"], "--run"),
        (["--model_path", "/no/such/model"], "--model-path"),
    ],
)
def test_bad_input_ends_in_one_line_that_names_it(ask, policy, options, named):
    code, out, err = ask(*options)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert not policy.requests


def test_a_policy_that_is_not_there_ends_in_one_line(ask):
    code, out, err = ask("--base_url", "http://127.0.0.1:1/v1")
    assert (code, out) == (2, "")
    assert "base_url" in err


def test_a_policy_that_dies_is_an_error_and_no_answer(ask, policy):
    policy.dies_after = 1
    code, out, err = ask()
    assert code == 1
    assert "Answer:" not in out
    assert "engine is dead" in err


# ---------------------------------------------------------------- the launcher


def test_a_missing_model_is_told_in_one_line_before_vllm_is_imported(project_root, pool_file):
    command = [sys.executable, "-X", "importtime", str(project_root / "infer_vllm.py"), "--question", "Who?"]
    done = subprocess.run(
        [*command, "--model_path", "/no/such/model", "--pool", str(pool_file)], capture_output=True, text=True
    )
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == 1
    assert "/no/such/model" in said[0]
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "router_r1.cli.options" in imported
    assert not imported & {"vllm", "torch"}


@pytest.fixture
def bare_project(project_root, tmp_path):
    """The launcher beside a setup script that makes an environment whose Python only tells how it was called."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "router_r1").mkdir()
    for file in ("infer_vllm.py", "router_r1/__init__.py", "router_r1/launcher.py"):
        (tmp_path / file).write_text((project_root / file).read_text())
    (tmp_path / "scripts" / "setup.sh").write_text(
        'echo noise; while [ $# -gt 0 ]; do [ "$1" = --venv ] && venv=$2; shift; done\n'
        'mkdir -p "$venv/bin"; cd "$venv/bin"; printf \'#!/bin/sh\\necho "in venv: $*"\\n\' >python; chmod +x python\n'
    )
    return tmp_path


def launch(folder, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("ROUTER_R1_VENV", "ROUTER_R1_IN_VENV", "PYTHONPATH")}
    command = [sys.executable, "-S", "-E", str(folder / "infer_vllm.py"), "--question", "two words"]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **env})


def test_a_python_without_the_modules_goes_on_in_the_projects_environment(bare_project):
    done = launch(bare_project)
    assert done.stdout == f"in venv: {bare_project / 'infer_vllm.py'} --question two words\n"
    assert (bare_project / ".venv" / "bin" / "python").exists()


def test_the_environment_can_be_elsewhere(bare_project, tmp_path):
    launch(bare_project, ROUTER_R1_VENV=str(tmp_path / "other"))
    assert (tmp_path / "other" / "bin" / "python").exists()
    assert not (bare_project / ".venv").exists()


def test_an_incomplete_environment_is_told_and_not_entered_again(bare_project):
    done = launch(bare_project, ROUTER_R1_IN_VENV="1")
    assert done.returncode != 0
    assert "bash scripts/setup.sh" in done.stderr


def test_a_setup_that_fails_ends_the_launcher_with_its_code(bare_project):
    (bare_project / "scripts" / "setup.sh").write_text("exit 7")
    assert launch(bare_project).returncode == 7


@pytest.mark.parametrize("file", ["infer_vllm.py", "router_r1/__init__.py", "router_r1/launcher.py"])
def test_any_python_from_3_8_on_can_read_the_launcher(project_root, file):
    assert ast.parse((project_root / file).read_text(), feature_version=(3, 8)).body


# ---------------------------------------------------------------- a dealt pool


@pytest.fixture
def dealt_pool(pool_file):
    """Two candidates under two of three names, in either order."""
    with pool_file.open("a") as file:
        file.write("deals: {names: [Nova, Lyra, Orion], sizes: [2, 2]}\n")
    return load_pool(pool_file)


@pytest.mark.parametrize("number", [None, 3])
def test_of_a_dealt_pool_a_question_is_asked_of_one_deal_whose_names_are_shown(ask, policy, dealt_pool, number):
    policy.candidate = None  # the first that is offered
    deal = draw_deal(dealt_pool, 0, "val", number or 0)
    first, second = deal.shown
    code, out, _ = ask(*([] if number is None else ["--deal", str(number)]))
    assert code == 0
    assert f"Dealt: {first.name} ({first.candidate}), {second.name} ({second.candidate})\n" in out
    assert f"<search> {first.name}: What is the capital of France? </search>" in out
    assert f"{first.candidate}: 10 + 4 tokens" in out
    assert "Answer: Paris" in out


def test_for_machines_the_deal_stands_with_the_trajectory(ask, policy, dealt_pool):
    policy.candidate = None
    record = json.loads(ask("--json", "--deal", "1")[1])
    deal = Deal.from_rows(record["candidates"], "record")
    assert deal == draw_deal(dealt_pool, 0, "val", 1)
    assert record["turns"][0]["route"]["candidate"] == deal.shown[0].candidate


def test_a_deal_of_a_pool_that_is_not_dealt_is_refused(ask):
    code, out, err = ask("--deal", "1")
    assert (code, out) == (2, "")
    assert "--deal = 1: is for a trained router and a pool with deals" in err


def test_a_deal_below_the_first_is_refused(ask, dealt_pool):
    code, _, err = ask("--deal", "-1")
    assert code == 2
    assert "--deal = -1: must be 0 or more" in err
