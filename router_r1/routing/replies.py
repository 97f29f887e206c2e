"""Reading an answer: the words, and what they cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from router_r1.pool import Message
from router_r1.routing.adapters import Completion, validation_fault
from router_r1.routing.failures import RouteError, malformed, redact, told, told_of, without_secrets
from router_r1.routing.requests import Request

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Reply:
    """What a candidate said. Counts are the endpoint's, or ours if it sent none (`usage_estimated`)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    usage_estimated: bool


_Tokens = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""More than a billion is no count of one reply."""


class _Usage(BaseModel):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None


def estimate_tokens(*texts: str) -> int:
    """Tokens of texts whose tokenizer is unknown: one for every four characters, rounded up."""
    return math.ceil(sum(map(len, texts)) / _CHARACTERS_PER_TOKEN)


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    """Tokens of what is sent, by the same rule."""
    return estimate_tokens(*(message["content"] for message in messages))


def read_reply(content: str | bytes, request: Request) -> Reply:
    """The reply in the body of an HTTP response to `request`.

    Raises:
        RouteError: it is no JSON, the request's adapter cannot read it, or it holds no text; the usage it charges comes
            with the fault.
    """
    candidate, endpoint = request.candidate, request.endpoint
    completion = _completion(content, request)
    usage = _read_usage(completion)
    charged = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
    said = completion.text
    if not said.strip():
        why = told(completion.fault, request.secrets) if isinstance(completion.fault, str) else ""
        raise malformed(candidate, endpoint, why or "no text", charged)
    text = _with_reasoning(completion) if candidate.keep_reasoning else without_reasoning(said)
    if not text.strip():
        # At temperature 0 the next attempt would end in the same place, and cost the same.
        raise malformed(candidate, endpoint, "only reasoning, no answer; raise max_tokens", charged, transient=False)
    return Reply(
        text=without_secrets(text, request.secrets),
        prompt_tokens=usage.prompt_tokens or estimate_prompt_tokens(request.messages),
        completion_tokens=usage.completion_tokens or estimate_tokens(said),
        usage_estimated=not (usage.prompt_tokens and usage.completion_tokens),  # 0 is no count of any text
    )


def _completion(content: str | bytes, request: Request) -> Completion:
    """What the request's adapter makes of the body. It is a user's code: whatever it raises is a malformed reply."""

    def useless(what: str) -> RouteError:
        return malformed(request.candidate, request.endpoint, redact(what, *request.secrets))

    try:
        # Not pydantic's parser: it refuses half of a surrogate pair, which a model that is cut in an emoji may send.
        answer = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise useless(f"no JSON: {fault}") from None
    try:
        completion = request.adapter.read(answer)
    except ValidationError as fault:
        raise useless(validation_fault(fault)) from None
    except ValueError as fault:
        raise useless(told(str(fault), request.secrets)) from None
    except (Exception, SystemExit) as fault:
        raise useless(f"the adapter's read() failed: {told_of(fault, request.secrets)}") from None
    if not isinstance(completion, Completion):
        raise useless(f"the adapter's read() gave no Completion but {type(completion).__name__}")
    if not isinstance(completion.text, str):
        raise useless("the adapter's read() gave a text that is no string")
    return completion


def without_reasoning(text: str) -> str:
    """What follows the reasoning; some chat templates write the opening tag themselves, so it may be missing."""
    _, closing, after = text.rpartition("</think>")
    if closing:
        return after.strip()
    return "" if text.lstrip().startswith("<think>") else text


def _with_reasoning(completion: Completion) -> str:
    if not completion.reasoning:
        return completion.text
    return f"<think>{completion.reasoning}</think>\n{completion.text}"


def _read_usage(completion: Completion) -> _Usage:
    """What the endpoint counted. A usage that makes no sense counts as none: the reply is worth keeping anyway."""
    try:
        return _Usage(prompt_tokens=completion.prompt_tokens, completion_tokens=completion.completion_tokens)
    except ValidationError:
        return _Usage()
