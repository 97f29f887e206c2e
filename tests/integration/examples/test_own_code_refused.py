"""What is wrong with a user's own method, back end or data set: one line, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.commands import ask, bench, data_train
from tests.integration.conftest import CAPITALS, write_questions

OWN = """
from contextlib import asynccontextmanager

from router_r1.datasets import Question, Questions
from router_r1.rollout.backends import OpenPolicy


class Blocking:
    def answer(self, question, *, request_id):
        return "Paris"


def make_blocking():
    return Blocking()


class Telling:
    async def answer(self, question, *, request_id):
        return "Paris"


class Silent:
    async def answer(self, question, *, request_id):
        pass


class Nameless:
    async def answer(self, question):
        pass


class Mute:
    pass


class Wanting:
    def __init__(self, pool, tokenizer):
        pass

    async def answer(self, question, *, request_id):
        pass


class Blocks:
    def generate(self, token_ids, *, max_tokens, stop, request_id):
        return []


class Talks:
    async def generate(self, token_ids, *, max_tokens, stop, request_id):
        return "<answer> Paris </answer>"


async def opens_nothing(model_path):
    return Talks()


@asynccontextmanager
async def opens_text(model_path):
    yield "policy"


@asynccontextmanager
async def opens_blocking(model_path):
    yield OpenPolicy(Blocks(), model_path)


@asynccontextmanager
async def opens_talking(model_path):
    yield OpenPolicy(Talks(), model_path)


@asynccontextmanager
async def opens_wanting(weights):
    yield None


class Listless:
    def splits(self, dataset):
        return None

    def read(self, dataset, split, *, max_bad_share):
        return Questions([], 0)


class Raw(Listless):
    def splits(self, dataset):
        return ["train"]

    def read(self, dataset, split, *, max_bad_share):
        return [{"question": "Who?"}]


class OneAnswer(Raw):
    def read(self, dataset, split, *, max_bad_share):
        return Questions([Question("1", "Who?", "Paris")], 0)


class Shareless(Raw):
    def read(self, dataset, split):
        return Questions([], 0)


class Rooted(Raw):
    def __init__(self, data_root):
        pass
"""


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refusal(capfd):
    """Give a command that is refused; its one line of error."""

    def run(command, *options, code: int = 2) -> str:
        assert command(list(options)) == code
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        return errors[0]

    return run


ASYNC = "must be asynchronous: async def answer(self, question, *, request_id)"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("Cascade", "give a dotted path like package.module:name or path/to/file.py:name"),
        ("own.py:Telliing", "own.py has no Telliing; it has Blocking, Blocks, Listless, Mute, Nameless, "),
        ("owm.py:Telling", "cannot be imported: FileNotFoundError"),
        ("no_such_module:Telling", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("own.py:Wanting", "'Wanting': asks for 'tokenizer'; it can have pool, routes, settings"),
        ("own.py:Blocking", f"'Blocking.answer': {ASYNC}"),
        ("own.py:make_blocking", f"'Blocking.answer': {ASYNC}"),
        ("own.py:Mute", "'Mute': must have a method answer: async def answer(self, question, *, request_id)"),
        ("own.py:Nameless", "'Nameless.answer': cannot be called: got an unexpected keyword argument 'request_id'"),
        ("own.py:Telling", "'own.py:Telling': answer returned an object of the class str; must return a Trajectory"),
        ("own.py:Silent", "'own.py:Silent': answer returned None; must return a Trajectory, as trajectory_of makes"),
    ],
)
def test_a_method_that_cannot_answer_is_refused(refusal, pool_file, method, words):
    line = refusal(ask, "--question", "Who?", "--method", method, "--pool", str(pool_file))
    assert line.startswith("error: command line: --method = ")
    assert words in line


def test_a_benchmark_of_a_method_that_blocks_begins_no_folder(refusal, pool_file, tmp_path):
    questions = write_questions(tmp_path / "test.parquet", {"capitals": CAPITALS})
    out = tmp_path / "out"
    options = ["--method", "own.py:Blocking", "--pool", str(pool_file), "--data", str(questions), "--out", str(out)]
    assert ASYNC in refusal(bench, *options)
    assert not out.exists()


@pytest.mark.parametrize(
    ("backend", "code", "words"),
    [
        ("vlm", 2, "is none of vllm, http, ray; name one, or a dotted path"),
        ("own.py:opens_wanting", 2, "asks for 'weights'; it can have model_path, base_urls, replicas, sampling"),
        ("own.py:opens_nothing", 2, "must be an asynchronous context manager: write @asynccontextmanager above"),
        ("own.py:opens_text", 2, "yields an object of the class str; must yield an OpenPolicy"),
        ("own.py:opens_blocking", 2, "'Blocks.generate': must be asynchronous: async def generate(self, token_ids, *,"),
        ("own.py:opens_talking", 1, "the policy returned an object of the class str; must be a Generation"),
    ],
)
def test_a_back_end_that_opens_no_policy_is_refused(refusal, pool_file, model_folder, backend, code, words):
    policy = ["--backend", backend, "--model-path", str(model_folder), "--template", "tiny"]
    assert words in refusal(ask, "--question", "Who?", *policy, "--pool", str(pool_file), code=code)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("own.py:Raws", "own.py has no Raws; it has "),
        ("own.py:Mute", "'Mute': must have a method splits: def splits(self, dataset)"),
        ("own.py:Shareless", "'Shareless.read': cannot be called: got an unexpected keyword argument 'max_bad_share'"),
        ("own.py:Listless", "splits returned None; must return a list of names, [] for a data set that is not there"),
        ("own.py:Raw", "read returned [{'question': 'Who?'}]; must return Questions, as questions_of_rows makes them"),
        ("own.py:OneAnswer", "must return Questions with a tuple of golden answers each"),
        ("own.py:Wanting", "asks for 'pool'; it can have data_root"),
        ("own.py:Rooted", "--data-root: is needed: own.py:Rooted asks for data_root"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(refusal, source, words):
    assert words in refusal(data_train, "--source", source, "--data-sources", "people", "--model", "tiny")


def test_a_folder_is_refused_for_a_source_that_does_not_ask_for_one(refusal):
    options = ["--source", "own.py:Raw", "--data-root", "somewhere", "--data-sources", "people", "--model", "tiny"]
    assert "own.py:Raw does not ask for data_root; leave it out" in refusal(data_train, *options)
