"""The HTTP back end against a small completions server: what it sends, what it accepts, when it gives up."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from router_r1.errors import ConfigError
from router_r1.rollout.http_policy import PolicyEndpointError, http_policy
from router_r1.rollout.sampling import Sampling

STOPS = ("</search>", "</answer>")
CHOICE = {
    "index": 0,
    "text": "x",
    "finish_reason": "stop",
    "token_ids": [5, 6, 7],
    "logprobs": {
        "token_logprobs": [-0.1, -0.2, -0.3],
        "tokens": ["a", "b", "c"],
        "top_logprobs": None,
        "text_offset": [],
    },
}


class Endpoint:
    """Answers completions with the given (status, body) pairs, the last one for ever; remembers what was asked."""

    def __init__(self, *replies, models=("policy",)):
        self.replies = list(replies)
        self.models = models
        self.asked = []
        self.headers = []

    def reply(self, request):
        self.asked.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def pieces(*choices, done=True):
    """A stream of these choices, each in a chunk of its own."""
    chunks = [json.dumps({**completion()[1], "choices": [{**CHOICE, **choice}]}) for choice in choices]
    return 200, "".join(f"data: {chunk}\n\n" for chunk in [*chunks, *(["[DONE]"] if done else [])]).encode()


def completion(**changes):
    choice = {k: v for k, v in {**CHOICE, **changes}.items() if v is not None}
    return 200, {"id": "c", "object": "text_completion", "created": 0, "model": "policy", "choices": [choice]}


@contextmanager
def serve(endpoint):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            cards = [{"id": m, "object": "model", "root": f"/models/{m}", "max_model_len": 99} for m in endpoint.models]
            self._send(200, {"object": "list", "data": cards})

        def do_POST(self):
            endpoint.headers.append(self.headers)
            self._send(*endpoint.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _send(self, status, body):
            is_stream = isinstance(body, bytes)
            data = body if is_stream else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After-Ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def generate(url, *, sampling=None, request_id="r0", **options):
    async with http_policy(url, sampling=sampling, **options) as policy:
        return await policy.generate([1, 2, 3], max_tokens=9, stop=STOPS, request_id=request_id)


async def stream(url, *, sampling=None):
    """The generation, and what was told."""
    told = []
    async with http_policy(url, sampling=sampling) as policy:
        generation = await policy.stream([1, 2, 3], max_tokens=9, stop=STOPS, request_id="r0", told=told.append)
    return generation, told


PIECES = [
    {"token_ids": [5], "finish_reason": None, "logprobs": {"token_logprobs": [-0.1]}},
    {"token_ids": [6, 7], "finish_reason": None, "logprobs": {"token_logprobs": [-0.2, -0.3]}},
    {"token_ids": [], "finish_reason": "stop", "logprobs": None},
]


async def test_a_stream_tells_its_tokens_as_they_come_and_asks_for_the_same():
    endpoint = Endpoint(completion(), pieces(*PIECES))
    with serve(endpoint) as url:
        whole = await generate(url, sampling=Sampling(logprobs=True))
        generation, told = await stream(url, sampling=Sampling(logprobs=True))
    assert told == [[5], [6, 7]]
    assert generation == whole
    assert endpoint.asked[1] == endpoint.asked[0] | {"stream": True}


@pytest.mark.parametrize(
    ("reply", "fault", "words"),
    [
        (pieces(*PIECES[:2]), PolicyEndpointError, "ended by None"),
        (pieces(), PolicyEndpointError, "ended by None"),
        ((500, {"error": {"message": "engine is dead"}}), PolicyEndpointError, "engine is dead"),
        ((200, b'data: {"error": {"message": "engine is dead"}}\n\n'), PolicyEndpointError, "engine is dead"),
        (pieces({"token_ids": None}), ConfigError, "does not return the ids"),
    ],
    ids=["cut off", "empty", "refused", "broken off", "without ids"],
)
async def test_a_stream_that_breaks_is_an_error_and_no_end_of_sequence(reply, fault, words):
    with serve(Endpoint(reply)) as url, pytest.raises(fault, match=words):
        await stream(url)


async def test_a_view_samples_otherwise_and_the_original_as_before():
    endpoint = Endpoint(completion())
    with serve(endpoint) as url:
        async with http_policy(url) as policy:
            view = policy.with_sampling(Sampling(temperature=0.7, top_p=0.9, seed=3))
            for one in (view, policy):
                await one.generate([1], max_tokens=9, stop=STOPS, request_id="r0")
    warm, greedy = endpoint.asked
    assert (warm["temperature"], warm["top_p"], "seed" in warm) == (0.7, 0.9, True)
    assert (greedy["temperature"], greedy["top_p"]) == (0.0, 1.0)


async def test_ids_go_in_and_come_back_with_their_logprobs():
    endpoint = Endpoint(completion())
    with serve(endpoint) as url:
        generation = await generate(url, sampling=Sampling(logprobs=True))
    assert (generation.token_ids, generation.finish, generation.logprobs) == ([5, 6, 7], "stop", [-0.1, -0.2, -0.3])
    asked = endpoint.asked[0]
    assert asked["prompt"] == [1, 2, 3]
    assert (asked["max_tokens"], asked["stop"], asked["model"]) == (9, list(STOPS), "policy")
    assert (asked["return_token_ids"], asked["include_stop_str_in_output"], asked["skip_special_tokens"]) == (
        True,
        True,
        False,
    )
    assert asked["logprobs"] == 0


async def test_greedy_is_said_and_no_default_of_the_checkpoint_can_creep_in():
    endpoint = Endpoint(completion(logprobs=None))
    with serve(endpoint) as url:
        generation = await generate(url)
    asked = endpoint.asked[0]
    assert (asked["temperature"], asked["top_p"], asked["top_k"], asked["min_p"]) == (0.0, 1.0, 0, 0.0)
    assert asked["repetition_penalty"] == 1.0
    assert generation.logprobs == []


async def test_sampled_turns_have_repeatable_seeds_of_their_own():
    endpoint = Endpoint(completion())
    sampling = Sampling(temperature=1.0, seed=7)
    with serve(endpoint) as url:
        for request_id in ("a", "b", "a"):
            await generate(url, sampling=sampling, request_id=request_id)
    first, second, again = (asked["seed"] for asked in endpoint.asked)
    assert first == again != second


async def test_a_server_that_returns_no_ids_is_a_configuration_error():
    without_ids = Endpoint(completion(token_ids=None))
    with serve(without_ids) as url, pytest.raises(ConfigError, match=r"does not return the ids.*vLLM"):
        await generate(url)


async def test_a_server_error_is_retried_a_few_times():
    endpoint = Endpoint((500, {"error": "busy"}), (503, {"error": "busy"}), completion())
    with serve(endpoint) as url:
        assert (await generate(url)).token_ids == [5, 6, 7]
    assert len(endpoint.asked) == 3


async def test_retries_are_bounded_and_then_the_error_says_where_and_what():
    endpoint = Endpoint((500, {"error": {"message": "engine is dead"}}))
    with serve(endpoint) as url, pytest.raises(PolicyEndpointError, match="engine is dead") as caught:
        await generate(url)
    assert url in str(caught.value)
    assert len(endpoint.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refused_request_is_not_retried(status):
    endpoint = Endpoint((status, {"error": {"message": "no"}}))
    with serve(endpoint) as url, pytest.raises(PolicyEndpointError):
        await generate(url)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("finish_reason", ["error", "content_filter", None])
async def test_an_unknown_ending_is_an_error_and_no_end_of_sequence(finish_reason):
    with serve(Endpoint(completion(finish_reason=finish_reason))) as url, pytest.raises(PolicyEndpointError):
        await generate(url)


async def test_a_reply_without_choices_is_an_error():
    status, body = completion()
    with serve(Endpoint((status, {**body, "choices": []}))) as url, pytest.raises(PolicyEndpointError, match="choices"):
        await generate(url)


async def test_an_endpoint_that_is_not_there_is_refused_at_once():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    with pytest.raises(ConfigError, match="base_url"):
        await generate(url)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", ""])
async def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="base_url"):
        await generate(url)


async def test_the_model_must_be_served_and_named_where_there_are_several():
    with serve(Endpoint(completion(), models=("a", "b"))) as url:
        with pytest.raises(ConfigError, match="a, b"):
            await generate(url)
        with pytest.raises(ConfigError, match="a, b"):
            await generate(url, model="c")
        async with http_policy(url, model="b") as policy:
            assert (policy.model, policy.root, policy.max_model_len) == ("b", "/models/b", 99)


async def test_the_key_of_the_environment_is_not_sent_and_a_given_one_is(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-somebody")
    endpoint = Endpoint(completion())
    with serve(endpoint) as url:
        await generate(url)
        await generate(url, api_key="policy-key")
    assert "secret" not in endpoint.headers[0]["Authorization"]
    assert endpoint.headers[1]["Authorization"] == "Bearer policy-key"


async def test_many_generations_run_at_once():
    gate = threading.Barrier(8, timeout=30)

    class Together(Endpoint):
        def reply(self, request):
            gate.wait()
            return super().reply(request)

    with serve(Together(completion())) as url:
        async with http_policy(url) as policy:
            calls = [policy.generate([1], max_tokens=1, stop=STOPS, request_id=str(i)) for i in range(8)]
            assert len(await asyncio.gather(*calls)) == 8
