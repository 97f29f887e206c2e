"""How a provider's API is asked: the adapter that a pool file names under `adapter`.

An adapter knows the words of an API and nothing else. Connections, limits, retries, faults, redaction, accounting and
cache are the same for all of them. What it raises costs the attempt it was raised in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from router_r1.errors import ConfigError
from router_r1.plugins import check_call, find
from router_r1.pool import Candidate, Endpoint, Message

DEFAULT_PATH = "/chat/completions"


@dataclass(frozen=True)
class Completion:
    """What an adapter has read in an answer."""

    text: str
    """What the candidate said; "" if it said nothing, which fails the attempt but is charged all the same."""
    prompt_tokens: int | None = None
    """As the provider counts them, and so for the other; None if it does not: they are estimated then. No text costs
    0 tokens, so that 0 counts as None."""
    completion_tokens: int | None = None
    reasoning: str = ""
    """A reasoning model's thoughts, where the API keeps them apart from the text."""
    fault: str = ""
    """Why there is no text, for the error; what the provider has counted is charged even so."""


class ProviderAdapter(Protocol):
    """What is asked of an adapter. A class is made without arguments, one object per candidate.

    Its methods are called in the event loop, so they must not wait for anything.
    """

    path: str
    """Appended to the endpoint's `base_url`; `{model}` in it is the model id, quoted. Default: `/chat/completions`."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """The headers that carry the key (None for an endpoint without one), and others that the API wants."""

    def body(self, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message]) -> Mapping[str, Any]:
        """The JSON body of a request.

        Args:
            candidate: for `max_tokens`, `temperature` and `extra_body`.
            endpoint: for `model`, the model id there.
            messages: a user message, and before it a system message if the pool file has one.
        """

    def read(self, answer: Any) -> Completion:
        """What the body of a 200 answer, parsed as JSON, holds.

        Raises:
            ValueError: it is no answer of this API; the text says why. Any other exception counts the same. Where the
                tokens can be read although the text cannot, give a `Completion` with `fault` instead.
        """


class _Message(BaseModel):
    content: str | None = None
    reasoning_content: Any = None


class _Choice(BaseModel):
    message: _Message


class _ChatCompletion(BaseModel):
    """The part of OpenAI's chat completion object that a route needs; everything else is ignored."""

    choices: list[_Choice] | None = None


class OpenAIAdapter:
    """OpenAI's chat completions, as most providers offer them (platform.openai.com/docs/api-reference/chat)."""

    path = DEFAULT_PATH

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message]) -> Mapping[str, Any]:
        return {
            "model": endpoint.model,
            "messages": messages,
            "temperature": candidate.temperature,
            "max_tokens": candidate.max_tokens,
            **candidate.extra_body,
        }

    def read(self, answer: Any) -> Completion:
        if not isinstance(answer, dict):
            raise ValueError(f"it is no object but {type(answer).__name__}")
        usage = answer.get("usage")
        counted = usage if isinstance(usage, dict) else {}
        tokens = (counted.get("prompt_tokens"), counted.get("completion_tokens"))
        try:
            choices = _ChatCompletion.model_validate(answer).choices
        except ValidationError as fault:
            return Completion("", *tokens, fault=validation_fault(fault))
        message = choices[0].message if choices else _Message()
        thoughts = message.reasoning_content
        return Completion(message.content or "", *tokens, reasoning=thoughts if isinstance(thoughts, str) else "")


def validation_fault(fault: ValidationError) -> str:
    """The first thing that pydantic found, and where; without the value, which is the provider's."""
    error = fault.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else error["msg"]


class _Document(BaseModel):
    contents: str


class _Hit(BaseModel):
    document: _Document


class _Retrieved(BaseModel):
    """The answer of Search-R1's retrieval server with `return_scores`: hits for each query."""

    result: list[list[_Hit]]


class RetrieverAdapter:
    """A retriever as a candidate: the passages that it finds for the sub-query are its reply.

    The API is that of Search-R1's retrieval server (github.com/PeterGriffinJin/Search-R1), which `router-r1 sim
    retrieve` has, too. `extra_body: {topk: 5}` in the pool file asks for more passages. It counts no tokens.
    """

    path = "/retrieve"
    topk = 3

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message]) -> Mapping[str, Any]:
        query = messages[-1]["content"]  # a system message, if there is one, says nothing to a retriever
        return {"queries": [query], "topk": self.topk, "return_scores": True, **candidate.extra_body}

    def read(self, answer: Any) -> Completion:
        try:
            found = _Retrieved.model_validate(answer).result
        except ValidationError as fault:
            raise ValueError(validation_fault(fault)) from None
        passages = [" ".join(hit.document.contents.split()) for hit in (found[0] if found else [])]
        if len(passages) > 1:
            passages = [f"({number}) {passage}" for number, passage in enumerate(passages, start=1)]
        return Completion(" ".join(passages) or NOTHING_FOUND)


NOTHING_FOUND = "Nothing was found."
"""What a retriever says that finds no passage: that is an answer, and no fault to try again after."""

ADAPTERS: dict[str, type[ProviderAdapter]] = {"openai": OpenAIAdapter, "retriever": RetrieverAdapter}
"""Those that a pool file may call by a name instead of a dotted path."""

_METHODS = {"headers": ("key",), "body": ("candidate", "endpoint", "messages"), "read": ("answer",)}
"""Called in the event loop: none of them may be asynchronous."""


def load_adapter(source: object, key: str, written: str) -> ProviderAdapter:
    """The adapter of one candidate.

    Args:
        source: the pool file, and `key` the dotted key in it, for the error text.
        written: a name in `ADAPTERS`, `package.module:name` or `path/to/file.py:name` of a class or an object.

    Raises:
        ConfigError: there is none, it cannot be made, or something that an adapter needs is missing.
    """
    found: Any = find(source, key, written, ADAPTERS)
    try:
        adapter: ProviderAdapter = found() if isinstance(found, type) else found
    except Exception as fault:  # whatever a class of the user's raises
        remedy = f"cannot be made: {type(fault).__name__}: {fault}; an adapter's class takes no arguments"
        raise ConfigError(source, key, written, remedy) from fault
    for name, arguments in _METHODS.items():
        check_call(source, key, adapter, name, arguments=arguments, waits=False)
    path = adapter_path(adapter)
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigError(source, key, written, f"its path = {path!r} must be text that begins with /")
    return adapter


def adapter_path(adapter: ProviderAdapter) -> str:
    """Where it asks, below the endpoint's address."""
    return getattr(adapter, "path", DEFAULT_PATH)
