"""What all commands have in common: how options are written, how a mistake is told, and that help costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import router_r1
from router_r1.cli import main
from router_r1.cli.running import exit_code_of
from router_r1.errors import BudgetSpent, ConfigError
from router_r1.exit_codes import ExitCode

COMMANDS = (
    "train",
    "plan",
    "bench",
    "compare",
    "findings",
    "ask",
    "data",
    "data train",
    "data validation",
    "data benchmarks",
    "pool",
    "pool describe",
    "pool show",
    "scores",
    "scores collect",
    "scores import",
    "scores show",
    "cache",
    "cache stats",
    "cache prune",
    "cache export",
    "sim",
    "sim serve",
    "sim retrieve",
    "sim data",
    "sim warm-start",
    "doctor",
)
HEAVY = ("datasets", "hydra", "matplotlib", "pyarrow", "ray", "tokenizers", "torch", "transformers", "verl", "vllm")

_ASK_FOR_HELP = """
import contextlib, io, json, sys
from router_r1.cli import main
told = {}
for command in ["", *json.loads(sys.argv[1])]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*command.split(), "--help"])
    told[command] = [code, out.getvalue()]
print(json.dumps({"told": told, "modules": sorted(sys.modules)}))
"""


@pytest.fixture
def command(capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


# ---------------------------------------------------------------- help and version


@pytest.fixture(scope="module")
def helped() -> dict:
    """The help of every command, and the modules that a process has loaded which showed them all."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK_FOR_HELP, json.dumps(COMMANDS)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(helped, name):
    code, text = helped["told"][name]
    assert code == 0
    assert f"router-r1 {name}" in text


def test_the_overview_names_every_command(helped):
    _, overview = helped["told"][""]
    assert all(f" {name} " in overview for name in COMMANDS if " " not in name)


def test_help_loads_nothing_heavy(helped):
    assert sorted(set(helped["modules"]) & set(HEAVY)) == []


def test_the_version_is_that_of_the_package(command):
    assert command("--version") == (0, f"{router_r1.__version__}\n", "")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainn"], ["trainn", "train", "router-r1 --help"]),
        (["sim", "srve"], ["srve", "serve", "router-r1 sim --help"]),
        (["ask", "--nope"], ["--nope", "router-r1 ask --help"]),
        (["ask", "--temperature", "hot"], ["--temperature = 'hot'", "number"]),
        (["bench", "--cost-weight", "1.5"], ["--cost-weight = '1.5'", "less than or equal to 1"]),
        (["ask", "--cost_weight", "dear"], ["--cost-weight = 'dear'", "number"]),
        (["ask", "--temperature", "3"], ["--temperature = '3'", "less than or equal to 2"]),
        (["ask", "--budget-usd", "-1"], ["--budget-usd = '-1'", "greater than or equal to 0"]),
        (["ask", "--replicas", "0"], ["--replicas = '0'", "greater than or equal to 1"]),
        (["bench", "--n-samples", "some"], ["--n", "some", "router-r1 bench --help"]),
        (["train", "--runs"], ["--runs", "requires an argument"]),
        (["pool", "describe"], ["--pool", "router-r1 pool describe --help"]),
        (["ask", "Who?", "--base-url", "http://h/v1", "--pool", "nowhere"], ["pool = 'nowhere'", "paper", "sim"]),
        (["ask", " "], ["--question", "empty"]),
    ],
)
def test_a_mistake_is_told_in_one_line_with_exit_code_2(command, arguments, words):
    code, out, err = command(*arguments)
    assert (code, out) == (ExitCode.REFUSED, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("written", ["--api-base", "--api_base"])
def test_dashes_and_underscores_are_alike(command, written):
    code, _, err = command("ask", "--question", "Who?", "--base-url", "http://127.0.0.1:1/v1", written, "nonsense")
    assert code == ExitCode.REFUSED
    assert "Unknown option" not in err
    assert "--pool" in err, "the next thing that is missing"


@pytest.mark.parametrize("first", ["--pool", "--pool="])
def test_of_an_option_given_twice_the_last_one_counts(command, first):
    given = ["--pool=first"] if first.endswith("=") else ["--pool", "first"]
    _, _, err = command("ask", "--question", "Who?", "--base-url", "http://127.0.0.1:1/v1", *given, "--pool", "second")
    assert "pool = 'second'" in err


# ---------------------------------------------------------------- exit codes


def _raise(fault: BaseException) -> None:
    raise fault


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (ConfigError("pool.yaml", "name", "x", "is wrong"), 2, "error: pool.yaml: name = 'x': is wrong\n"),
        (RuntimeError("the engine is dead"), 1, "error: the engine is dead; go on with --resume\n"),
        (BudgetSpent("budget spent"), 4, "error: budget spent; go on with --resume\n"),
        (KeyboardInterrupt(), 130, "interrupted; go on with --resume\n"),
    ],
    ids=["refused", "failed", "budget spent", "interrupted"],
)
def test_the_exit_code_says_how_it_ended_and_one_line_how_to_go_on(capsys, fault, code, told):
    assert exit_code_of(lambda: _raise(fault), how_to_go_on=lambda: "go on with --resume") == code
    assert capsys.readouterr().err == told


def test_a_command_that_is_done_says_nothing(capsys):
    assert exit_code_of(lambda: None) == ExitCode.DONE == 0
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_is_no_mistake_of_the_user():
    with pytest.raises(KeyError):
        exit_code_of(lambda: {}["absent"])
