"""The body of a chat completion request: what of OpenAI's parameters is honoured, and what is refused by its name.

A parameter that would change the answer, and cannot be honoured, is refused; one that says "as usual" is accepted, and
so are those that only label a request. Nothing is ignored in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from router_r1.errors import dotted
from router_r1.serving.api_errors import ApiError, refused

MAX_STOPS = 4


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class TextPart(_Part):
    type: Literal["text"]
    text: str


class Message(_Part):
    """One message; what else a client sends back of an earlier reply (its reasoning, say) is passed over."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[TextPart] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _in_parts(cls, written: object) -> object:
        return [{"type": "text", "text": written}] if isinstance(written, str) else written

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content or ())


class StreamOptions(_Part):
    include_usage: bool = False


class ChatRequest(_Part):
    """A request that is understood; without `temperature`, `top_p` or `seed` those of the server are used."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """Policy tokens of the whole trajectory, thoughts and searches included."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=MAX_STOPS)
    """The answer ends before the first of these."""
    user: str | None = None
    """Whoever asks through this client: the same user falls to the same arm of a split."""
    safety_identifier: str | None = None
    """OpenAI's newer name for it."""

    @property
    def end_user(self) -> str:
        """ "" if none is named."""
        return self.user or self.safety_identifier or ""

    @property
    def wants_usage(self) -> bool:
        """A stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


LABELS = ("metadata", "store", "service_tier", "prompt_cache_key")
"""Labels of a request, for dashboards and caches of the provider: they change no answer."""

# Parameters that cannot be honoured, with the values that ask for nothing.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
_WHY = {"n": "a request is one trajectory, which costs money: ask several times"}


def read_chat_request(body: bytes) -> ChatRequest:
    """The request that a body holds.

    Raises:
        ApiError: 400; it is no JSON object in UTF-8, a parameter is wrong, or cannot be honoured.
    """
    given = json_object(body)
    given = {name: value for name, value in given.items() if value is not None and name not in LABELS}
    for name, neutral in _NEUTRAL.items():
        value = given.pop(name, None)
        if value is not None and not any(type(value) is type(same) and value == same for same in _as_sent(neutral)):
            raise _unsupported(name, _WHY.get(name, "it cannot be honoured here: leave it out"))
    if "max_tokens" in given:
        given.setdefault("max_completion_tokens", given["max_tokens"])
        del given["max_tokens"]
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    if unknown := [name for name in given if name not in ChatRequest.model_fields]:
        raise _unsupported(_short(unknown[0]), "there is no such parameter")
    if given.get("stream_options") is not None and given.get("stream") is not True:
        raise refused("stream_options", "stream_options goes with stream: true only")
    try:
        asked = ChatRequest.model_validate(given)
    except ValidationError as fault:
        raise fault_in_words(fault) from None
    _check_messages(given["messages"])
    return asked


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds.

    Raises:
        ApiError: 400; it holds none, or is not UTF-8.
    """
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as fault:
        raise refused(None, f"the body is not UTF-8 text: byte {fault.start} cannot be decoded") from None
    except (ValueError, RecursionError) as fault:
        told = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise refused(None, f"the body is not valid JSON: {told}") from None
    if not isinstance(found, dict):
        raise refused(None, "the body must be a JSON object")
    return found


def _no_number(written: str) -> float:
    raise ValueError(f"{written} is no number of JSON")


def _as_sent(values: tuple[object, ...]) -> tuple[object, ...]:
    """JSON does not tell 1 from 1.0."""
    return (*values, *(float(value) for value in values if type(value) is int))


def _unsupported(name: str, why: str) -> ApiError:
    return refused(name, f"unsupported parameter {name!r}: {why}", "unsupported_parameter")


def fault_in_words(fault: ValidationError) -> ApiError:
    """The first fault that pydantic found, with its place; what was sent is not repeated."""
    first = fault.errors(include_url=False, include_input=False)[0]
    param = dotted(first["loc"])
    return refused(param or None, f"{param or 'body'}: {first['msg']}")


def _check_messages(messages: list[dict[str, Any]]) -> None:
    """See that no message carries what is not read, and that no text holds half a character."""
    for index, message in enumerate(messages):
        for name in ("tool_calls", "function_call", "audio"):
            if message.get(name):
                raise refused(f"messages[{index}].{name}", f"messages[{index}]: {name} is not supported here")
    try:
        json.dumps(messages, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise refused("messages", "messages: a text holds half a surrogate pair, which is no character") from None


def _short(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:60]
