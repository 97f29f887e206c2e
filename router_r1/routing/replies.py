"""Reading a chat completion: the words, and what they cost."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from router_r1.pool import Candidate, Endpoint
from router_r1.routing.failures import malformed

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Reply:
    """What a candidate said. Counts are the endpoint's, or ours if it sent none (`usage_estimated`)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    usage_estimated: bool


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: Any = None


class _Choice(BaseModel):
    message: _Message


_Tokens = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""More than a billion is no count of one reply."""


class _Usage(BaseModel):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None


class _Completion(BaseModel):
    """The part of OpenAI's chat completion object that a route needs; everything else is ignored."""

    choices: list[_Choice] | None = None
    usage: Any = Field(default=None)


def estimate_tokens(text: str) -> int:
    """Tokens of a text whose tokenizer is unknown: one for every four characters, rounded up."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def read_reply(body: str | bytes, candidate: Candidate, endpoint: Endpoint, query: str) -> Reply:
    """The reply in the body of an HTTP response.

    Raises:
        RouteError: it is no JSON, no chat completion, or holds no text; the usage it charges comes with the fault.
    """
    try:
        # Not pydantic's parser: it refuses half of a surrogate pair, which a model that is cut in an emoji may send.
        completion = _Completion.model_validate(json.loads(body))
    except (ValueError, RecursionError) as fault:
        if not isinstance(fault, ValidationError):
            raise malformed(candidate, endpoint, f"no JSON: {fault}") from None
        error = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, error["loc"]))
        raise malformed(candidate, endpoint, f"{place}: {error['msg']}" if place else error["msg"]) from None
    usage = _read_usage(completion.usage)
    charged = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
    if not completion.choices:
        raise malformed(candidate, endpoint, "no choices", charged)
    message = completion.choices[0].message
    said = message.content or ""
    if not said.strip():
        raise malformed(candidate, endpoint, "no text", charged)
    text = _with_reasoning(message) if candidate.keep_reasoning else _without_reasoning(said)
    if not text.strip():
        # At temperature 0 the next attempt would end in the same place, and cost the same.
        raise malformed(candidate, endpoint, "only reasoning, no answer; raise max_tokens", charged, transient=False)
    return Reply(
        text=text,
        prompt_tokens=estimate_tokens(query) if usage.prompt_tokens is None else usage.prompt_tokens,
        completion_tokens=estimate_tokens(said) if usage.completion_tokens is None else usage.completion_tokens,
        usage_estimated=usage.prompt_tokens is None or usage.completion_tokens is None,
    )


def _without_reasoning(text: str) -> str:
    """What follows the reasoning; some chat templates write the opening tag themselves, so it may be missing."""
    _, closing, after = text.rpartition("</think>")
    if closing:
        return after.strip()
    return "" if text.lstrip().startswith("<think>") else text


def _with_reasoning(message: _Message) -> str:
    thought = message.reasoning_content
    return (
        f"<think>{thought}</think>\n{message.content}"
        if isinstance(thought, str) and thought
        else message.content or ""
    )


def _read_usage(usage: Any) -> _Usage:
    """What the endpoint counted. A usage that makes no sense counts as none: the reply is worth keeping anyway."""
    try:
        return _Usage.model_validate(usage or {})
    except ValidationError:
        return _Usage()
