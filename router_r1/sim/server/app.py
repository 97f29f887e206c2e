"""An OpenAI-compatible chat completions server over the simulated candidates: real HTTP, simulated knowledge.

What a pool endpoint needs of the OpenAI API (platform.openai.com/docs/api-reference/chat): `POST /v1/chat/completions`
without streaming, `GET /v1/models`, errors in its form; and `GET /health`. A candidate's model id is its name in lower
case. `usage` counts words and punctuation marks (`candidates.count_tokens`). With a fault plan some requests fail as it
says (`faults`).
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router_r1.sim.server.faults import FaultInjector, FaultPlan
from router_r1.sim.world.candidates import PROFILES, SimulatedPool, count_tokens, truncate

_CREATED = 1_700_000_000  # a fixed date: replies do not depend on the clock
_BY_MODEL = {name.casefold(): name for name in PROFILES}


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
    pool: SimulatedPool,
    *,
    latency_scale: float = 1.0,
    api_key: str | None = None,
    faults: FaultPlan | None = None,
) -> FastAPI:
    """The server's application.

    Args:
        pool: who answers.
        latency_scale: factor on every candidate's latency; 0 for none.
        api_key: if given, requests below /v1 without it as bearer token get a 401.
        faults: which requests fail, after the latency of their reply.
    """
    app = FastAPI(title="Router-R1 simulated pool", docs_url=None, redoc_url=None, openapi_url=None)
    samples = itertools.count(1)
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
        entries = [{"id": model, "object": "model", "created": _CREATED, "owned_by": "sim"} for model in _BY_MODEL]
        return {"object": "list", "data": entries}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        check_key(request)
        candidate = _BY_MODEL.get(body.model.casefold())
        if candidate is None:
            message = f"The model {body.model!r} does not exist; there are {', '.join(_BY_MODEL)}"
            raise ApiError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")
        query = next((message.text for message in reversed(body.messages) if message.role == "user"), "")
        sample = _sample(body, samples)
        await asyncio.sleep(latency_scale * pool.latency_s(candidate, query, sample))
        completion = _completion(body, pool.reply(candidate, query, sample))
        fault = injector.next_fault(body.model.casefold(), query)
        return await injector.respond(fault, request, completion) if fault else JSONResponse(completion)

    _answer_errors_in_openai_form(app)
    return app


def _sample(body: ChatRequest, samples: itertools.count[int]) -> int:
    """Which of a candidate's wordings to give: always the first at temperature 0, else by seed or one after another."""
    if not body.temperature:
        return 0
    return next(samples) if body.seed is None else 1 + abs(body.seed)


def _completion(body: ChatRequest, reply: str) -> dict[str, Any]:
    limit = body.max_completion_tokens or body.max_tokens
    content = reply if limit is None else truncate(reply, limit)
    prompt_tokens = sum(count_tokens(message.text) for message in body.messages)
    completion_tokens = count_tokens(content)
    return {
        "id": "chatcmpl-sim",
        "object": "chat.completion",
        "created": _CREATED,
        "model": body.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop" if content == reply else "length",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
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
