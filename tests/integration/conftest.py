"""Real servers on loopback: candidates that know capitals, and a policy that follows the form."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from router_r1.datasets import Question, question_row, write_parquet
from tests.integration.rollout.conftest import tiny_checkpoint as tiny_checkpoint  # a fixture

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Austria": "Vienna", "Poland": "Warsaw"}


class JsonServer:
    """Answers POST with `reply(path, request)`, a (status, body) pair, and GET with `models`; remembers requests."""

    models: dict[str, Any]

    def __init__(self) -> None:
        self.models = {"object": "list", "data": []}
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""

    def reply(self, request: dict[str, Any]) -> tuple[int, Any]:
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[JsonServer]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._send(200, outer.models)

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(request)
                outer.keys.append(self.headers["Authorization"])
                self._send(*outer.reply(request))

            def _send(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                """A client that was killed resets its connection; that is no news here."""

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class CandidateServer(JsonServer):
    """Knows the capitals; `replies`, `broken` and `forbidden` change what it says to single queries.

    From `refuses_after` routes on it answers with the status `refusal`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[str, str] = {}
        self.broken: set[str] = set()
        self.forbidden: set[str] = set()
        self.refuses_after: int | None = None
        self.refusal = 401

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests of routes, without those of a preflight."""
        return [request for request in self.requests if request["messages"][0]["content"] != "Say yes."]

    def reply(self, request):
        query = request["messages"][0]["content"]
        if self.refuses_after is not None and len(self.asked) > self.refuses_after:
            return self.refusal, {"error": {"message": "the key was withdrawn"}}
        if query in self.forbidden:
            return 403, {"error": {"message": "flagged by moderation"}}
        if query in self.broken:
            return 400, {"error": {"message": "not such a question"}}
        country = next((c for c in CAPITALS if c in query), None)
        text = self.replies.get(query, f"It is {CAPITALS.get(country, 'unknown')}.")
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14},
        }


class PolicyServer(JsonServer):
    """A served policy: asks Atlas-7B the question as it stands, then answers with what it was told.

    It asks `experts` instead about the countries there; without a `candidate`, the first that the prompt offers.

    From `dies_after` requests on it refuses; with a `gate`, first turns wait there for each other; questions about a
    country in `held_back` wait until it is `let_go`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from tests.doubles.bpe_tokenizers import build_tokenizer  # the core's tests run without this library

        self.tokenizer = build_tokenizer()
        self.models["data"] = [{"id": "policy", "object": "model", "root": str(folder), "max_model_len": 2000}]
        self.dies_after: int | None = None
        self.gate: threading.Barrier | None = None
        self.candidate: str | None = "Atlas-7B"
        self.experts: dict[str, str] = {}
        self.held_back: set[str] = set()
        self.let_go = threading.Event()
        self.on_request: Callable[[], object] = lambda: None
        self._lock = threading.Lock()  # the tokenizer is no concurrent one

    def reply(self, request):
        self.on_request()
        if self.dies_after is not None and len(self.requests) > self.dies_after:
            return 400, {"error": {"message": "engine is dead"}}
        with self._lock:
            context = self.tokenizer.decode(request["prompt"])
        told = re.findall(r"<information> It is (\w+)\. </information>", context)
        question = re.findall(r"Question: (.*?)<\|im_end\|>", context, re.DOTALL)[-1]
        if any(country in question for country in self.held_back):
            self.let_go.wait(60)
        if "<information>" not in context:
            if self.gate is not None:
                self.gate.wait()
            asked = self.candidate or re.findall(r"Candidates: .*?(\S+)[:;\n]", context)[-1]
            candidate = next((name for c, name in self.experts.items() if c in question), asked)
            text = f"<think> Who knows? </think> <search> {candidate}: {question} </search>"
        else:
            text = f"<think> I was told. </think> <answer> {told[-1] if told else 'no idea'} </answer>"
        with self._lock:
            ids = self.tokenizer.encode(text)
        choice = {"index": 0, "text": text, "finish_reason": "stop", "token_ids": ids, "logprobs": None}
        return 200, {"id": "c", "object": "text_completion", "created": 0, "model": "policy", "choices": [choice]}


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def write_model(folder: Path) -> Path:
    """A tokenizer and a configuration: enough for a policy that is served elsewhere."""
    from tests.doubles.bpe_tokenizers import build_tokenizer

    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return folder


@pytest.fixture
def candidates() -> Iterator[CandidateServer]:
    with CandidateServer().running() as server:
        yield server


@pytest.fixture
def policy(model_folder: Path) -> Iterator[PolicyServer]:
    with PolicyServer(model_folder).running() as server:
        yield server


@pytest.fixture
def pool_file(tmp_path: Path, candidates: CandidateServer) -> Path:
    return write_pool(tmp_path / "pool.yaml", candidates.url)


def write_pool(path: Path, url: str, **defaults: Any) -> Path:
    price = {"input": 1.0, "output": 0.5}
    entry = {"model": "m", "price": price, "descriptor": "knows things"}
    entries = [{"name": "Atlas-7B", "aliases": ["atlas"], **entry}, {"name": "Borealis-70B", **entry}]
    pool = {"name": "two", "defaults": {"base_url": url, **defaults}, "candidates": entries}
    path.write_text(yaml.safe_dump(pool))
    return path


def question_of(country: str) -> str:
    return f"What is the capital of {country}?"


def tiny_prompt(country: str) -> str:
    """The question as the template `tiny` asks it of the two candidates."""
    pool = "knows things Atlas-7B; knows things Borealis-70B"
    return f"Candidates: {pool}\nIn this question cost counts nothing.\nQuestion: {question_of(country)}"


def write_questions(path: Path, sets: dict[str, dict[str, str]], content: str | None = None) -> Path:
    """A question file: data source -> country -> golden answer. The prompts are those of the template `tiny`."""
    rows = []
    for source, answers in sets.items():
        for country, golden in answers.items():
            text = content or tiny_prompt(country)
            item = Question(f"{source}-{country}", question_of(country), (golden,))
            messages = [{"role": "user", "content": text}]
            rows.append(question_row(item, data_source=source, split="test", index=len(rows), messages=messages))
    write_parquet(rows, path)
    return path
