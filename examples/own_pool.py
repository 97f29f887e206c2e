"""A candidate whose API is not OpenAI's: an adapter, and a pool file that names it.

    python examples/own_pool.py

serves a made-up API on this machine, asks it through the route service, and prints the route. In a pool file of your
own the line is `adapter: examples/own_pool.py:Adapter`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from router_r1.pool import Candidate, Endpoint, Message, load_pool
from router_r1.protocol import Route
from router_r1.routing import Completion, RouteService


class Adapter:
    """How the made-up API is asked: this is all that a provider needs."""

    path = "/engines/{model}/run"

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"x-api-token": key} if key else {}

    def body(self, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message]) -> Mapping[str, Any]:
        system, user = ("".join(m["content"] for m in messages if m["role"] == role) for role in ("system", "user"))
        return {"instructions": system, "input": user, "limit": candidate.max_tokens, **candidate.extra_body}

    def read(self, answer: Any) -> Completion:
        if "output" not in answer:
            raise ValueError(f"no output, but {', '.join(answer)}")
        billed = answer.get("billed", {})
        return Completion(answer["output"], billed.get("units_in"), billed.get("units_out"))


POOL = """\
name: own
defaults:
  base_url: {base_url}
  api_key_env: OWN_API_TOKEN
  adapter: {adapter}
  system: You are {{name}}. Answer in one sentence.
candidates:
  - name: Geographer-7B
    model: geographer-7b
    price: {{input: 0.1, output: 0.4}}  # USD per 1M tokens
    descriptor: knows capitals
"""


class MadeUpApi(BaseHTTPRequestHandler):
    """A provider that is not OpenAI: its own path, header, body and answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the name that http.server looks for
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["x-api-token"] != "made-up-token" or self.path != "/v2/engines/geographer-7b/run":
            return self._answer(403, {"problem": "not yours"})
        said = "The capital of France is Paris."
        words = {"units_in": len(f"{asked['instructions']} {asked['input']}".split()), "units_out": len(said.split())}
        return self._answer(200, {"output": said, "billed": words})

    def _answer(self, status: int, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass  # what is worth saying is printed below


@contextmanager
def made_up_api() -> Iterator[str]:
    """Serve it on a free port of this machine; yields its base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), MadeUpApi) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v2"
        finally:
            server.shutdown()
            thread.join()


async def ask(pool_file: Path, candidate: str, query: str) -> Route:
    async with RouteService(load_pool(pool_file)) as service:
        return await service.route(candidate, query)


def main() -> None:
    os.environ["OWN_API_TOKEN"] = "made-up-token"  # with a real provider: export it in your shell
    with made_up_api() as base_url, tempfile.TemporaryDirectory() as folder:
        pool_file = Path(folder, "own_pool.yaml")
        pool_file.write_text(POOL.format(base_url=base_url, adapter=f"{Path(__file__).resolve()}:Adapter"))
        route = asyncio.run(ask(pool_file, "Geographer-7B", "What is the capital of France?"))
    if route.failed:
        raise SystemExit(f"failed: {route.error}")
    print(f"{route.candidate}: {route.reply}")
    print(f"tokens: {route.prompt_tokens} in, {route.completion_tokens} out; attempts: {route.attempts}")
    print(f"raw cost: {route.raw_cost:g} micro-USD; spent: {route.spend_usd:.2g} USD")


if __name__ == "__main__":
    main()
