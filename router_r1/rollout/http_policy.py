"""Policy back end: an OpenAI-compatible completions endpoint that takes token ids and returns them (`vllm serve`).

Faults of the endpoint propagate as `PolicyEndpointError`, after bounded retries where a retry can help.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from router_r1.errors import ConfigError
from router_r1.rollout.policy import Finish, Generation
from router_r1.rollout.sampling import Sampling

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Completion, CompletionChoice

_FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "abort": "abort"}
_RETRIES = 3
_TIMEOUT_S = 600.0  # one generation, the server's queue included
_CONNECT_S = 10.0
_NO_KEY = "none"  # the client insists on one, and would else take OPENAI_API_KEY
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class PolicyEndpointError(RuntimeError):
    """The policy's endpoint cannot be reached, or refuses or garbles a request."""


class HttpPolicy:
    """A served model as `rollout.policy.Policy`; made by `http_policy`."""

    def __init__(self, client: AsyncOpenAI, model: str, sampling: Sampling, *, root: str, max_model_len: int | None):
        self._client = client
        self._sampling = sampling
        self.model = model
        """The name it is served by."""
        self.root = root
        """Where the server loaded it from: a folder or a hub id."""
        self.max_model_len = max_model_len
        """Longest sequence, prompt included, in tokens; None if the server does not say."""

    def with_sampling(self, sampling: Sampling) -> HttpPolicy:
        """See `AdjustablePolicy.with_sampling`."""
        return HttpPolicy(self._client, self.model, sampling, root=self.root, max_model_len=self.max_model_len)

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """See `Policy.generate`. Cancelling it closes the connection, which has the server abort the request.

        Raises:
            PolicyEndpointError: no usable reply.
            ConfigError: the server returns no token ids.
        """
        import openai

        asked = self._asked(token_ids, max_tokens, stop, request_id)
        try:
            completion: Completion = await self._client.completions.create(**asked)
        except openai.APIError as fault:
            raise PolicyEndpointError(f"{self._client.base_url}: {_cause(fault)}") from fault
        if not completion.choices:
            raise PolicyEndpointError(f"{self._client.base_url}: the reply holds no choices")
        choice = completion.choices[0]
        ids, logprobs = self._tokens(choice)
        return Generation(ids, self._finish(choice.finish_reason), logprobs)

    async def stream(
        self,
        token_ids: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
        told: Callable[[Sequence[int]], None],
    ) -> Generation:
        """See `StreamingPolicy.stream`; cancelling and errors as in `generate`. It is tried again only as long as
        nothing was told."""
        import httpx
        import openai

        ids: list[int] = []
        logprobs: list[float] = []
        ended: str | None = None
        asked = self._asked(token_ids, max_tokens, stop, request_id)
        try:
            async with await self._client.completions.create(**asked, stream=True) as pieces:
                async for piece in pieces:
                    for choice in piece.choices[:1]:
                        new, new_logprobs = self._tokens(choice)
                        ids, logprobs = ids + new, logprobs + new_logprobs
                        ended = choice.finish_reason or ended
                        if new:
                            told(new)
        except (openai.APIError, httpx.HTTPError) as fault:
            raise PolicyEndpointError(f"{self._client.base_url}: {_cause(fault)}") from fault
        return Generation(ids, self._finish(ended), logprobs)

    def _asked(self, token_ids: Sequence[int], max_tokens: int, stop: Sequence[str], request_id: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": list(token_ids),
            "max_tokens": max_tokens,
            "stop": list(stop),
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            "seed": self._sampling.seed_of_turn(request_id, len(token_ids)),
            "logprobs": 0 if self._sampling.logprobs else None,
            # A server takes what is not given from the checkpoint's generation_config.json.
            "extra_body": {
                "return_token_ids": True,
                "include_stop_str_in_output": True,
                "skip_special_tokens": False,
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            },
            "extra_headers": {"X-Request-Id": request_id},
        }

    def _tokens(self, choice: CompletionChoice) -> tuple[list[int], list[float]]:
        """Ids and log-probs of a reply, or of a piece of one."""
        token_ids = (choice.model_extra or {}).get("token_ids")
        if token_ids is None:
            raise ConfigError(
                self._client.base_url,
                "token_ids",
                None,
                "the server does not return the ids it sampled; serve the policy with vLLM 0.10.2 or later",
            )
        logprobs = list(choice.logprobs.token_logprobs or []) if choice.logprobs else []
        return [int(i) for i in token_ids], logprobs

    def _finish(self, written: str | None) -> Finish:
        if written not in _FINISHES:
            raise PolicyEndpointError(f"{self._client.base_url}: a generation was ended by {written!r}")
        return _FINISHES[written]


@asynccontextmanager
async def http_policy(
    base_url: str, *, sampling: Sampling | None = None, model: str | None = None, api_key: str | None = None
) -> AsyncIterator[HttpPolicy]:
    """Connect to a served policy.

    Args:
        base_url: up to and with `/v1`.
        sampling: greedy by default.
        model: the name it is served by; None: the only model of the server.
        api_key: of the policy's endpoint, if it takes one.

    Raises:
        ConfigError: there is no such endpoint or model.
    """
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("policy", "base_url", base_url, "must look like http://host:port/v1")
    client = AsyncOpenAI(
        base_url=base_url,
        api_key=api_key or _NO_KEY,
        timeout=Timeout(_TIMEOUT_S, connect=_CONNECT_S, pool=None),  # a benchmark may queue for a connection for hours
        max_retries=_RETRIES,
        # A proxy of the environment cannot reach this machine's own loopback.
        http_client=DefaultAsyncHttpxClient(trust_env=parts.hostname not in _LOOPBACK),
    )
    async with client:
        card = await _find_model(client, base_url, model)
        extra: dict[str, Any] = card.model_extra or {}
        yield HttpPolicy(
            client,
            card.id,
            sampling or Sampling(),
            root=extra.get("root") or card.id,
            max_model_len=extra.get("max_model_len"),
        )


async def _find_model(client: AsyncOpenAI, base_url: str, name: str | None) -> Any:
    """The server's card of the model."""
    import openai

    try:
        # Without retries: nothing has begun that would be lost, and a wrong address is told at once.
        cards = [card async for card in client.with_options(max_retries=0).models.list()]
    except openai.APIError as fault:
        raise ConfigError(
            "policy", "base_url", base_url, f"is no OpenAI-compatible endpoint: {_cause(fault)}"
        ) from fault
    names = ", ".join(card.id for card in cards) or "none"
    if name is None and len(cards) == 1:
        return cards[0]
    if name is None:
        raise ConfigError("policy", "base_url", base_url, f"name the model; this endpoint serves {names}")
    found = next((card for card in cards if card.id == name), None)
    if found is None:
        raise ConfigError("policy", "model", name, f"is not served at {base_url}; there is {names}")
    return found


def _cause(fault: Exception) -> str:
    """What happened, in one line. The client's own text for a lost connection says nothing but that."""
    origin: BaseException = fault
    while origin.__cause__ is not None:
        origin = origin.__cause__
    text = " ".join(str(origin).split()) or type(origin).__name__
    return text if len(text) <= 300 else text[:297] + "..."
