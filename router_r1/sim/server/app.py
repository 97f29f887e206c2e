"""An OpenAI-compatible chat completions server over candidates of ours: real HTTP, simulated or recorded knowledge.

What a pool endpoint needs of the OpenAI API (platform.openai.com/docs/api-reference/chat): `POST /v1/chat/completions`
without streaming, `GET /v1/models`, errors in its form; and `GET /health`. Beside them `POST /v1/retrieve`, where there
are passages to find (`retrieval`). With a fault plan some requests fail as it
says (`faults`).
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router_r1.sim.server.faults import FaultInjector, FaultPlan
from router_r1.sim.server.retrieval import Passage, Retriever, RetrieveRequest
from router_r1.sim.world.candidates import SimulatedPool, count_tokens, truncate

_CREATED = 1_700_000_000  # a fixed date: replies do not depend on the clock


@dataclass(frozen=True)
class Said:
    """A reply, and what is charged for it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    is_cut: bool = False
    """It ended because it reached the most tokens that were asked for."""


class Speaker(Protocol):
    """Who answers the requests."""

    models: Mapping[str, str]
    """Model id in lower case -> candidate."""

    def latency_s(self, candidate: str, query: str, sample: int) -> float:
        """Seconds until the reply."""
        ...

    def say(self, candidate: str, query: str, prompt: Sequence[str], sample: int, max_tokens: int | None) -> Said:
        """The reply to a query.

        Args:
            query: the last message of the user.
            prompt: the texts of all messages, this one too, which are charged for.
            sample: 0 for the greedy reply; another number for another draw.
            max_tokens: of the reply; None for no limit.
        """
        ...


class SimulatedSpeaker:
    """The simulated candidates. A model id is a name in lower case; words and punctuation marks are tokens."""

    def __init__(self, pool: SimulatedPool) -> None:
        self._pool = pool
        self.models: Mapping[str, str] = {name.casefold(): name for name in pool.names}

    def latency_s(self, candidate: str, query: str, sample: int) -> float:
        return self._pool.latency_s(candidate, query, sample)

    def say(self, candidate: str, query: str, prompt: Sequence[str], sample: int, max_tokens: int | None) -> Said:
        reply = self._pool.reply(candidate, query, sample)
        content = reply if max_tokens is None else truncate(reply, max_tokens)
        return Said(content, sum(map(count_tokens, prompt)), count_tokens(content), is_cut=content != reply)


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One chat message; its content is text, whole or in parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(BaseModel):
    """What is read of a chat completion request; other parameters of the API are accepted and have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    stream: Literal[False] | None = None


class ApiError(Exception):
    """An error in the OpenAI API's form."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param


def create_app(
    speaker: Speaker,
    *,
    latency_scale: float = 1.0,
    api_key: str | None = None,
    faults: FaultPlan | None = None,
    passages: Callable[[], Sequence[Passage]] | None = None,
) -> FastAPI:
    """The server's application.

    Args:
        speaker: who answers.
        latency_scale: factor on every candidate's latency; 0 for none.
        api_key: if given, requests below /v1 without it as bearer token get a 401.
        faults: which chat completions fail, after the latency of their reply.
        passages: those of the retriever, read and indexed when it is first asked; None for no retriever.
    """
    app = FastAPI(title="Router-R1 pool", docs_url=None, redoc_url=None, openapi_url=None)
    asked: Counter[tuple[str, str]] = Counter()
    injector = FaultInjector(faults or FaultPlan())

    def check_key(request: Request) -> None:
        given = request.headers.get("authorization", "")
        if api_key is not None and not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
            raise ApiError(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided", code="invalid_api_key")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        check_key(request)
        entries = [{"id": model, "object": "model", "created": _CREATED, "owned_by": "sim"} for model in speaker.models]
        return {"object": "list", "data": entries}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        check_key(request)
        candidate = speaker.models.get(body.model.casefold())
        if candidate is None:
            message = f"The model {body.model!r} does not exist; there are {', '.join(speaker.models)}"
            raise ApiError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")
        query = next((message.text for message in reversed(body.messages) if message.role == "user"), "")
        sample = _sample(body, asked, query)
        await asyncio.sleep(latency_scale * speaker.latency_s(candidate, query, sample))
        prompt, max_tokens = [message.text for message in body.messages], body.max_completion_tokens or body.max_tokens
        completion = _completion(body.model, speaker.say(candidate, query, prompt, sample, max_tokens))
        fault = injector.next_fault(body.model.casefold(), query)
        return await injector.respond(fault, request, completion) if fault else JSONResponse(completion)

    if passages is not None:
        retriever = cache(lambda: Retriever(passages()))

        @app.post("/v1/retrieve")
        async def retrieve(request: Request, body: RetrieveRequest) -> dict[str, Any]:
            check_key(request)
            return retriever().answer(body)

    _answer_errors_in_openai_form(app)
    return app


def _sample(body: ChatRequest, asked: Counter[tuple[str, str]], query: str) -> int:
    """Which draw to give: always the first at temperature 0, else by seed, or one after another for the same words."""
    if not body.temperature:
        return 0
    if body.seed is not None:
        return 1 + abs(body.seed)
    asked[body.model, query] += 1
    return asked[body.model, query]


def _completion(model: str, said: Said) -> dict[str, Any]:
    return {
        "id": "chatcmpl-sim",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said.text},
                "finish_reason": "length" if said.is_cut else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        },
    }


def _answer_errors_in_openai_form(app: FastAPI) -> None:
    def response(status: int, message: str, code: str | None, param: str | None) -> JSONResponse:
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        return JSONResponse({"error": error}, status_code=status)

    @app.exception_handler(ApiError)
    async def on_api_error(_: Request, fault: ApiError) -> JSONResponse:
        return response(fault.status, fault.message, fault.code, fault.param)

    @app.exception_handler(RequestValidationError)
    async def on_bad_body(_: Request, fault: RequestValidationError) -> JSONResponse:
        first = fault.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        return response(HTTPStatus.BAD_REQUEST, f"{param or 'body'}: {first['msg']}", None, param or None)

    @app.exception_handler(HTTPException)
    async def on_http_fault(_: Request, fault: HTTPException) -> JSONResponse:
        return response(fault.status_code, str(fault.detail), None, None)


# ---------------------------------------------------------------- process


class _Server(uvicorn.Server):
    """A uvicorn server that tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class _Protocol(HttpToolsProtocol):
    """Shows the application its connection: a fault may be to reset it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def run(app: FastAPI, sock: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; open requests get five seconds to end.

    Args:
        on_ready: called once connections are accepted.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, lifespan="off", http=_Protocol
    )
    _Server(config, on_ready).run(sockets=[sock])
