"""The server's application: who asks what over HTTP, and what becomes of it.

`create_app` is given a router that is open; starting and stopping is up to `process`.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from router_r1.router import Router
from router_r1.serving import openapi
from router_r1.serving.admission import admit
from router_r1.serving.answering import Answering, Outcome, Prepared
from router_r1.serving.api_errors import CLIENT_CLOSED_REQUEST, ApiError, ClientGone
from router_r1.serving.chat_request import read_chat_request
from router_r1.serving.chat_response import Chunks, completion
from router_r1.serving.connections import EventStream, notes_of, read_body, while_connected
from router_r1.serving.fitted import NO_MORE, MoreMethods
from router_r1.serving.keys import Keys
from router_r1.serving.limits import RequestRate
from router_r1.serving.live import Event
from router_r1.serving.observing import Observed, ServingMetrics
from router_r1.serving.options import ServingOptions
from router_r1.serving.recording import Recording, read_feedback, retention_of
from router_r1.trajectories import TrajectoryStore

_DRAIN_RETRY_S = 5.0
_READER_PATIENCE_S = 60.0
_MOST_FEEDBACK_BYTES = 16 * 1024


class Application:
    """The API of one router, as an ASGI application.

    Args:
        store: where trajectories are kept; closing it is up to its owner.
        more: methods beyond those that need no scores.

    Attributes:
        answering: what answers its requests.
        is_draining: new requests are refused (503); set it before the end.
    """

    def __init__(
        self,
        router: Router,
        options: ServingOptions,
        keys: Keys,
        logger: logging.Logger,
        store: TrajectoryStore,
        more: MoreMethods = NO_MORE,
    ) -> None:
        self.answering = Answering(router, options, more)
        self.is_draining = False
        self._options, self._keys = options, keys
        self._rate = RequestRate(options.requests_per_minute)
        self._metrics = ServingMetrics(self.answering)
        self._recording = Recording(store, retention_of(options), self._metrics.kept)
        self._started = int(time.time())
        self.api = FastAPI(title="Router-R1", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        self._add_routes()
        answer_errors_in_openai_form(self.api)
        self._observed = Observed(self.api, self._metrics, logger)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._observed(scope, receive, send)

    def close(self) -> None:
        """Write what is still to be kept. It takes as long as the disk does; no request may be in flight."""
        self._recording.close()

    @property
    def in_flight(self) -> int:
        """HTTP requests whose responses are not yet at their end."""
        return self._observed.in_flight

    def _add_routes(self) -> None:
        add = self.api.add_api_route
        add("/v1/chat/completions", self._chat_completions, methods=["POST"], response_model=None)
        add("/v1/feedback", self._feedback, methods=["POST"], response_model=None)
        add("/v1/models", self._models, methods=["GET"], response_model=None)
        add("/v1/models/{name:path}", self._model, methods=["GET"], response_model=None)
        add("/openapi.json", self._openapi, methods=["GET"], response_model=None)
        add("/healthz", self._healthz, methods=["GET"], response_model=None)
        add("/readyz", self._readyz, methods=["GET"], response_model=None)
        add("/metrics", self._show_metrics, methods=["GET"], response_model=None)

    # ------------------------------------------------------------ endpoints

    async def _chat_completions(self, request: Request) -> Response:
        key = self._who(request)
        if self.is_draining:
            message = "the server is shutting down"
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, code="shutting_down", retry_after_s=_DRAIN_RETRY_S)
        self._rate.admit(key)
        _check_content_type(request)
        limits = self._options
        chat = read_chat_request(await read_body(request, limits.max_body_kb * 1024, limits.request_timeout_s))
        asked = self.answering.prepare(chat, key)
        notes = notes_of(request.scope)
        notes |= {"id": asked.id, "model": asked.model.name, "cost_weight": asked.model.cost_weight}
        if asked.model.arm:
            notes["arm"] = asked.model.arm
        if self._options.log_texts:
            notes["question"] = asked.question
        seen = self._observer(asked, notes, time.monotonic())
        if chat.stream:
            chunks = Chunks(asked, wants_usage=chat.wants_usage)
            return EventStream(self.answering, asked, chunks, seen=seen, patience_s=_READER_PATIENCE_S)
        try:
            outcome = await while_connected(request.receive, self.answering.answer(asked, lambda event: None))
        except ApiError as fault:
            seen(fault)
            raise
        seen(outcome)
        return JSONResponse(completion(asked, outcome), headers={"X-Request-Id": asked.id})

    async def _feedback(self, request: Request) -> Response:
        key = self._who(request)
        self._rate.admit(key)
        _check_content_type(request)
        body = await read_body(request, _MOST_FEEDBACK_BYTES, self._options.request_timeout_s)
        given = read_feedback(body)
        await self._recording.judge(given, key)
        notes_of(request.scope).update(id=given.trajectory_id, score=given.as_score)
        return JSONResponse({"trajectory_id": given.trajectory_id, "score": given.as_score})

    async def _models(self, request: Request) -> Response:
        self._who(request)
        return JSONResponse({"object": "list", "data": [self._card(name) for name in self.answering.models.names]})

    async def _model(self, request: Request, name: str) -> Response:
        self._who(request)
        self.answering.models.find(name)
        return JSONResponse(self._card(name))

    async def _openapi(self) -> Response:
        return JSONResponse(openapi.document())

    async def _healthz(self) -> Response:
        if not self.answering.is_alive:
            return PlainTextResponse("the policy's engine is dead: start the server anew\n", status_code=503)
        return PlainTextResponse("ok\n")

    async def _readyz(self) -> Response:
        if self.is_draining:
            return PlainTextResponse("shutting down\n", status_code=503)
        if not self.answering.is_ready:
            return PlainTextResponse("the policy failed\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _show_metrics(self, request: Request) -> Response:
        self._who(request)
        return Response(self._metrics.shown(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    # ------------------------------------------------------------ what they share

    def _who(self, request: Request) -> str:
        """The name of the key that asks.

        Raises:
            ApiError: 401 or 403; it may not.
        """
        key = admit(request.headers, self._keys)
        notes_of(request.scope)["key"] = key
        return key

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "router-r1"}

    def _observer(self, asked: Prepared, notes: dict[str, Any], started: float) -> Any:
        """What puts a request's events into metrics, log and store."""
        model, metrics = asked.model.name, self._metrics
        is_first = True

        def seen(event: Event | Outcome | ApiError) -> None:
            nonlocal is_first
            if isinstance(event, Outcome):
                metrics.answered(asked, event)
                self._recording.keep(asked, event)
                notes.update(
                    trajectory=event.status.value,
                    policy_tokens=event.completion_tokens,
                    routes=len(event.routes),
                    failed_routes=sum(route.failed for route in event.routes),
                    spend_usd=event.spend_usd,
                )
                if self._options.log_texts:
                    notes["answer"] = event.content
            elif isinstance(event, ApiError):
                metrics.ended(asked.model, event.code or "error")
                notes["error"] = event.code
            elif is_first:
                is_first = False
                metrics.first_event.labels(model).observe(time.monotonic() - started)

        return seen


def _check_content_type(request: Request) -> None:
    """A page of another site can send other types without being asked whether it may."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        message = "the body must be sent with the header 'Content-Type: application/json'"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message, code="unsupported_media_type")


def answer_errors_in_openai_form(api: FastAPI) -> None:
    """Give every error of an application the form that `api_errors` says."""

    @api.exception_handler(ApiError)
    async def on_api_error(request: Request, fault: ApiError) -> Response:
        notes_of(request.scope).setdefault("error", fault.code)
        return JSONResponse(fault.body, status_code=fault.status, headers=fault.headers)

    @api.exception_handler(HTTPException)
    async def on_http_fault(_: Request, fault: HTTPException) -> Response:
        error = ApiError(HTTPStatus(fault.status_code), str(fault.detail))
        return JSONResponse(error.body, status_code=fault.status_code, headers=fault.headers)

    @api.exception_handler(ClientGone)
    async def on_client_gone(request: Request, _: ClientGone) -> Response:
        notes_of(request.scope)["status"] = CLIENT_CLOSED_REQUEST
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @api.exception_handler(Exception)
    async def on_fault(request: Request, fault: Exception) -> Response:
        error = ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why", code="server_failed")
        return JSONResponse(error.body, status_code=error.status)
