"""The API as an OpenAPI 3.1 document, served at /openapi.json. What reads requests makes their schema, too."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from router_r1 import __version__
from router_r1.serving.chat_request import LABELS, ChatRequest, Message, StreamOptions, TextPart
from router_r1.serving.recording import FeedbackRequest

_REF = "#/components/schemas/{model}"
_REFUSALS = (400, 401, 402, 403, 404, 408, 413, 415, 429, 500, 502, 503, 504)
_STRING, _INTEGER, _NUMBER, _BOOLEAN = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))


@cache
def document() -> dict[str, Any]:
    """The document; not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Router-R1", "version": __version__},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/chat/completions": {
                "post": {
                    "operationId": "chat_completions",
                    "requestBody": {"required": True, "content": _json("ChatRequest")},
                    "responses": {
                        "200": {
                            "description": "The answer; with `stream` as server-sent events",
                            "content": {**_json("ChatCompletion"), "text/event-stream": {"schema": _STRING}},
                        },
                        **_refusals(_REFUSALS),
                    },
                }
            },
            "/v1/feedback": {
                "post": {
                    "operationId": "feedback",
                    "requestBody": {"required": True, "content": _json("FeedbackRequest")},
                    "responses": {
                        "200": {"description": "It is kept", "content": _json("Feedback")},
                        **_refusals((400, 401, 403, 404, 408, 413, 415, 429, 503)),
                    },
                }
            },
            "/v1/models": {
                "get": {
                    "operationId": "models",
                    "responses": {"200": {"description": "All of them", "content": _json("Models")}, **_refusals()},
                }
            },
            "/v1/models/{name}": {
                "get": {
                    "operationId": "model",
                    "parameters": [{"name": "name", "in": "path", "required": True, "schema": _STRING}],
                    "responses": {
                        "200": {"description": "It", "content": _json("Model")},
                        **_refusals((401, 403, 404)),
                    },
                }
            },
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=name)}}}


def _refusals(statuses: tuple[int, ...] = (401, 403)) -> dict[str, Any]:
    return {str(status): {"description": HTTPStatus(status).phrase, "content": _json("Error")} for status in statuses}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> dict[str, Any]:
    request = ChatRequest.model_json_schema(ref_template=_REF)
    request.pop("$defs")
    fields = request["properties"]
    fields["max_tokens"] = fields["max_completion_tokens"]  # its older name
    fields["stop"] = {"anyOf": [_STRING, fields["stop"], {"type": "null"}]}
    fields |= {name: {} for name in LABELS}  # anything may stand there
    request["additionalProperties"] = False
    message = Message.model_json_schema(ref_template=_REF)
    message.pop("$defs")
    message["properties"]["content"] = {"anyOf": [_STRING, message["properties"]["content"]]}
    route = _object(
        candidate=_STRING,
        query=_STRING,
        failed=_BOOLEAN,
        error=_STRING,
        cached=_BOOLEAN,
        prompt_tokens=_INTEGER,
        completion_tokens=_INTEGER,
        raw_cost=_NUMBER,
        spend_usd=_NUMBER,
        seconds=_NUMBER,
    )
    trajectory = _object(
        trajectory_id=_STRING,
        status=_STRING,
        routes={"type": "array", "items": {"$ref": _REF.format(model="Route")}},
        raw_cost=_NUMBER,
        spend_usd=_NUMBER,
        seconds=_NUMBER,
    )
    answer = _object(role={"const": "assistant"}, content=_STRING, reasoning_content=_STRING, refusal={"type": "null"})
    choice = _object(
        index=_INTEGER, message=answer, logprobs={"type": "null"}, finish_reason={"enum": ["stop", "length"]}
    )
    card = _object(id=_STRING, object={"const": "model"}, created=_INTEGER, owned_by=_STRING)
    return {
        "ChatRequest": request,
        "Message": message,
        "TextPart": TextPart.model_json_schema(),
        "StreamOptions": StreamOptions.model_json_schema(),
        "ChatCompletion": _object(
            id=_STRING,
            object={"const": "chat.completion"},
            created=_INTEGER,
            model=_STRING,
            choices={"type": "array", "items": choice, "minItems": 1, "maxItems": 1},
            usage=_object(prompt_tokens=_INTEGER, completion_tokens=_INTEGER, total_tokens=_INTEGER),
            router_r1=trajectory,
        ),
        "FeedbackRequest": FeedbackRequest.model_json_schema(ref_template=_REF),
        "Feedback": _object(trajectory_id=_STRING, score=_NUMBER),
        "Route": route,
        "Model": card,
        "Models": _object(
            object={"const": "list"}, data={"type": "array", "items": {"$ref": _REF.format(model="Model")}}
        ),
        "Error": _object(error=_object(message=_STRING, type=_STRING, param=_or_null(_STRING), code=_or_null(_STRING))),
    }
