"""The OpenAPI document: what it promises is kept, whatever is sent."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest
from hypothesis import given, settings

from tests.integration.serving.conftest import asked

schemathesis = pytest.importorskip("schemathesis")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def at_once(context: str) -> str:
    return "<think> x </think> <answer> y </answer>"


def send_cases(url: str, mode: GenerationMode, examples: int) -> Counter[tuple[str, int]]:
    """Requests as the document allows them, of every operation, or as it does not, of the one that has something to
    get wrong; (operation, status) of the responses."""
    seen: Counter[tuple[str, int]] = Counter()
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:
        operations = [operation for operation in operations if operation.method == "post"]
    assert operations
    for operation in operations:

        @settings(max_examples=examples)
        @given(operation.as_strategy(generation_mode=mode))
        def send(case):
            is_answered = mode is GenerationMode.POSITIVE and case.operation.path == "/v1/chat/completions"
            if is_answered and isinstance(case.body, dict):
                question = {"role": "user", "content": "Who?"}  # without it, and a model that is there, nobody answers
                case.body |= {"model": "router-r1", "messages": [*case.body["messages"], question], "stream": False}
                case.body.pop("stream_options", None)
            response = case.call(base_url=url, timeout=60)
            seen[case.operation.label, response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        send()
    return seen


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as it says", "otherwise"])
async def test_whatever_is_sent_the_answer_is_one_that_the_document_has_and_never_500(serve, mode):
    async with serve(at_once) as served:
        loop = asyncio.get_running_loop()
        seen = await loop.run_in_executor(None, send_cases, served.url, mode, 15)
        await served.books_balance()
    assert {status for _, status in seen} <= {200, 400, 401, 403, 404, 405, 413, 415}
    assert mode is GenerationMode.NEGATIVE or seen["POST /v1/chat/completions", 200] > 0


async def test_it_is_there_for_everybody_and_names_every_parameter_that_is_honoured(serve):
    async with serve(keys={"one": b"x" * 32}) as served, httpx.AsyncClient() as http:
        document = (await http.get(f"{served.url}/openapi.json")).json()
    request = document["components"]["schemas"]["ChatRequest"]
    assert request["required"] == ["model", "messages"]
    assert {"max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "stream"} <= set(
        request["properties"]
    )
    assert "n" not in request["properties"]
    assert not request["additionalProperties"]


async def test_a_path_with_a_slash_too_many_is_not_found_and_leads_nowhere(serve):
    async with serve() as served, httpx.AsyncClient() as http:
        reply = await http.post(f"{served.url}/v1/chat/completions/", json=asked(), headers={"Host": "evil.example"})
    assert (reply.status_code, reply.headers.get("location")) == (404, None)
