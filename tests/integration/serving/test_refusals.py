"""What the server refuses: by which status, in OpenAI's form for errors, and before anybody is asked."""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.routing.conftest import Held, completion, response, serving
from tests.integration.serving.conftest import QUESTION, Served, asked, until

KEY, OTHER_KEY = "k-one-0123456789abcdef", "k-two-0123456789abcdef"
KEYS = {"one": hashlib.sha256(KEY.encode()).digest(), "two": hashlib.sha256(OTHER_KEY.encode()).digest()}
JSON = {"Content-Type": "application/json"}


async def post(served: Served, body: bytes | str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as client:
        given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(f"{served.url}/v1/chat/completions", content=body, headers=given)


def error_of(reply: httpx.Response) -> dict:
    """The error, which has the form that OpenAI's clients read."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# ---------------------------------------------------------------- who may ask


@pytest.mark.parametrize("key", [KEY[:-1], KEY + "x", "\u00e9" * 20])
async def test_a_wrong_key_is_401_and_costs_nothing(serve, key):
    async with serve(keys=KEYS) as served:
        reply = await post(served, json.dumps(asked()), Authorization=f"Bearer {key}".encode())  # type: ignore[arg-type]
        assert (reply.status_code, error_of(reply)["type"]) == (401, "invalid_request_error")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert served.policy.contexts == []
        assert key not in served.log.getvalue()


async def test_the_clients_own_exception_is_raised_for_a_wrong_key_and_a_right_one_is_let_in(serve):
    async with serve(keys=KEYS) as served:
        with pytest.raises(openai.AuthenticationError):
            await served.client(api_key="no").chat.completions.create(**asked())
        with pytest.raises(openai.AuthenticationError):
            await served.client(api_key="no").models.list()
        reply = await served.client(api_key=OTHER_KEY).chat.completions.create(**asked())
        assert reply.choices[0].finish_reason == "stop"
    assert [line.get("key") for line in served.log_lines] == [None, None, "two"]
    assert KEY not in served.log.getvalue()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=lambda headers: str(headers),
)
async def test_without_keys_pages_of_other_sites_are_kept_away(serve, headers):
    async with serve() as served:
        reply = await post(served, json.dumps(asked()), **headers)
        assert (reply.status_code, served.policy.contexts) == (403, [])
        assert error_of(reply)["code"] in ("foreign_host", "foreign_origin")


async def test_a_body_that_a_page_could_send_unasked_is_415(serve):
    async with serve() as served:
        reply = await post(served, json.dumps(asked()), **{"Content-Type": "text/plain"})
        assert (reply.status_code, error_of(reply)["code"]) == (415, "unsupported_media_type")


# ---------------------------------------------------------------- limits


async def test_more_requests_per_minute_than_allowed_are_429_with_retry_after_for_that_key_alone(serve):
    async with serve(keys=KEYS, requests_per_minute=2) as served:
        client = served.client(api_key=KEY)
        for _ in range(2):
            await client.chat.completions.create(**asked())
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**asked())
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        await served.client(api_key=OTHER_KEY).chat.completions.create(**asked())


async def test_beyond_the_places_and_the_queue_requests_are_429_at_once(serve):
    async with serve(max_concurrent=1, max_waiting=1) as served:
        served.policy.gate.clear()
        client = served.client()
        first = asyncio.create_task(client.chat.completions.create(**asked()))
        await served.policy.waits.wait()
        second = asyncio.create_task(client.chat.completions.create(**asked()))
        await until(lambda: served.app.answering.places.waiting == 1)
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(**asked(stream=stream))
            assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("server_busy", "1")
        served.policy.gate.set()
        assert [reply.choices[0].finish_reason for reply in await asyncio.gather(first, second)] == ["stop", "stop"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_a_body_of_ten_megabytes_is_413(serve, chunked):
    async def pieces():
        for _ in range(160):
            yield b"x" * 65536

    async with serve(max_body_kb=64) as served, httpx.AsyncClient(timeout=30) as client:
        content = pieces() if chunked else b"x" * (10 << 20)
        url = f"{served.url}/v1/chat/completions"
        try:
            reply = await client.post(url, content=content, headers=JSON)
        except (httpx.WriteError, httpx.ReadError):  # the server hung up before it was all sent
            assert served.log_lines[0]["status"] == 413
        else:
            assert (reply.status_code, error_of(reply)["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_request_that_takes_too_long_is_504_and_its_route_is_cancelled(serve, stream):
    held = Held(1, completion("late"))
    async with serving(held) as endpoint, serve(candidates=endpoint.base_url, request_timeout_s=1.0) as served:

        async def ask() -> None:
            reply = await served.client().chat.completions.create(**asked(stream=stream))
            async for _ in reply:
                pass

        with pytest.raises(openai.APIError, match="no answer within 1 s") as caught:
            await ask()
        assert caught.value.code == "timeout"
        if not stream:
            assert caught.value.status_code == 504
        await served.books_balance()
        assert served.router.routes.ledger.total().cancelled == 1


async def test_a_key_that_has_spent_its_share_of_the_day_is_402_and_another_is_not(serve):
    async with serve(keys=KEYS, spend_per_day_usd=1e-6) as served:
        client = served.client(api_key=KEY)
        reply = await client.chat.completions.create(**asked())
        assert reply.router_r1["spend_usd"] >= 1e-6
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**asked())
        assert (caught.value.status_code, caught.value.code) == (402, "key_budget_spent")
        assert "of 0.000001 USD today" in str(caught.value)
        other = await served.client(api_key=OTHER_KEY).chat.completions.create(**asked())
        assert other.choices[0].finish_reason == "stop"


async def test_a_key_whose_money_runs_out_within_a_trajectory_gets_no_further_route(serve):
    def for_ever(context: str) -> str:
        return f"<think> Again. </think> <search> Newton-8B: {QUESTION} </search>"

    async with serve(for_ever, spend_per_day_usd=1e-6) as served:
        with pytest.raises(openai.APIStatusError) as caught:
            await served.client().chat.completions.create(**asked())
        assert (caught.value.status_code, served.router.routes.ledger.total().started) == (402, 1)


async def test_the_servers_own_budget_is_402_without_its_figures(serve):
    async with serve(routing={"budget_usd": 0.0}) as served:
        with pytest.raises(openai.APIStatusError) as caught:
            await served.client().chat.completions.create(**asked())
    assert (caught.value.status_code, caught.value.code) == (402, "budget_spent")


# ---------------------------------------------------------------- faults


async def test_a_fault_of_the_policy_is_502_and_the_server_is_not_ready_until_it_answers_again(serve):
    async with serve() as served, httpx.AsyncClient() as http:
        served.policy.fault = RuntimeError("engine is dead at /srv/secret")
        with pytest.raises(openai.InternalServerError) as caught:
            await served.client().chat.completions.create(**asked())
        assert (caught.value.status_code, caught.value.code) == (502, "policy_failed")
        assert "secret" not in str(caught.value)
        assert (await http.get(f"{served.url}/readyz")).status_code == 503
        assert (await http.get(f"{served.url}/healthz")).status_code == 200
        served.policy.fault = None
        await served.client().chat.completions.create(**asked())
        assert (await http.get(f"{served.url}/readyz")).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_fault_that_nobody_thought_of_is_told_in_the_same_form_and_leaves_nothing_behind(serve, stream):
    async with serve() as served:
        served.policy.fault = KeyError("unheard of")

        async def ask() -> None:
            async for _ in await served.client().chat.completions.create(**asked(stream=stream)):
                pass

        with pytest.raises(openai.APIError) as caught:
            await ask()
        assert caught.value.code == "server_failed"
        assert "unheard" not in str(caught.value)
        await served.books_balance()


async def test_a_failed_route_is_part_of_the_trajectory_and_a_failed_candidate_alone_is_502(serve):
    async def broken(number, request):
        return response(400, {"error": {"message": "no"}})

    async with serving(broken) as endpoint, serve(candidates=endpoint.base_url) as served:
        reply = await served.client().chat.completions.create(**asked())
        assert reply.router_r1["routes"][0]["failed"]
        with pytest.raises(openai.InternalServerError, match=r"Newton-8B gave no reply: .*400"):
            await served.client().chat.completions.create(**asked(model="candidate:Newton-8B"))


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        (b"{", None, "not valid JSON"),
        (b"[]", None, "must be a JSON object"),
        (b'{"model": "\xff"}', None, "not UTF-8"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'{"temperature": NaN}', None, "NaN is no number of JSON"),
        (b"{}", "model", "Field required"),
        (json.dumps(asked(temperature="hot")), "temperature", "valid number"),
        (json.dumps(asked(temperature=3)), "temperature", "less than or equal to 2"),
        (json.dumps(asked(max_tokens=0)), "max_completion_tokens", "greater than or equal to 1"),
        (json.dumps(asked(stop=["a"] * 5)), "stop", "at most 4"),
        (json.dumps(asked(messages=[])), "messages", "at least 1"),
        (json.dumps(asked(messages=[{"role": "tool", "content": "x"}])), "messages[0].role", "'user'"),
        (json.dumps(asked(messages=[{"role": "user"}])), "messages[0]", "say something"),
        (json.dumps(asked(" ")), "messages[0]", "say something"),
        (json.dumps(asked(messages=[{"role": "assistant", "content": "x"}])), "messages[0]", "must be the user's"),
        (
            json.dumps(asked(messages=[{"role": "user", "content": [{"type": "image_url"}]}])),
            "messages[0].content[0].type",
            "'text'",
        ),
        (json.dumps(asked("\ud800?")), "messages", "half a surrogate pair"),
        (json.dumps(asked(stream_options={"include_usage": True})), "stream_options", "stream: true"),
        (json.dumps(asked(colour="red")), "colour", "no such parameter"),
    ],
)
async def test_a_body_that_is_wrong_is_400_with_the_place(serve, body, param, told):
    async with serve() as served:
        reply = await post(served, body)
        assert served.policy.contexts == []
    error = error_of(reply)
    assert (reply.status_code, error["param"]) == (400, param)
    assert told in error["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("presence_penalty", 0.5),
        ("logit_bias", {"50256": -100}),
        ("reasoning_effort", "high"),
    ],
)
async def test_a_parameter_that_cannot_be_honoured_is_refused_by_its_name(serve, name, value):
    async with serve() as served:
        with pytest.raises(openai.BadRequestError) as caught:
            await served.client().chat.completions.create(**asked(**{name: value}))
        assert served.policy.contexts == []
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)


async def test_a_candidate_alone_is_not_told_how_to_sample(serve):
    async with serve() as served:
        with pytest.raises(openai.BadRequestError) as caught:
            await served.client().chat.completions.create(**asked(model="candidate:Newton-8B", temperature=0.5))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "temperature")


async def test_unknown_paths_and_methods_have_the_form_of_errors_too(serve):
    async with serve() as served, httpx.AsyncClient() as http:
        assert error_of(await http.get(f"{served.url}/v1/nothing"))["type"] == "invalid_request_error"
        reply = await http.get(f"{served.url}/v1/chat/completions")
        assert (reply.status_code, error_of(reply)["code"]) == (405, None)


def values() -> st.SearchStrategy:
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    return scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=8), scalars, max_size=3)


PARAMETERS = st.sampled_from(
    "model messages stream stream_options max_tokens temperature top_p seed stop n user tools logit_bias other".split()
)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls"]), values() | st.just("user")), max_size=3
)


async def test_no_body_at_all_makes_the_server_fail(serve):
    async with serve(lambda context: "<think> x </think> <answer> y </answer>") as served:
        loop = asyncio.get_running_loop()

        def statuses() -> set[int]:
            found = set()
            with httpx.Client(timeout=30) as http:

                @settings(max_examples=20)
                @given(st.binary(max_size=40) | st.dictionaries(PARAMETERS, values() | MESSAGES).map(json.dumps))
                def send(body):
                    reply = http.post(f"{served.url}/v1/chat/completions", content=body, headers=JSON)
                    found.add(reply.status_code)
                    assert reply.status_code < 500
                    error_of(reply)

                send()
            return found

        assert await loop.run_in_executor(None, statuses) <= {400, 404}
