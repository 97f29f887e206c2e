"""A policy back end in plain PyTorch, for models so small that starting an engine takes longer than using them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from router_r1.rollout.policy import Generation

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Longest stop string, in tokens, for any tokenizer: one per byte.
_STOP_WINDOW = 16


@dataclass
class _Request:
    prompt: list[int]  # [prompt_length]
    max_tokens: int
    stop: Sequence[str]
    result: asyncio.Future[Generation]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class TorchPolicy:
    """Samples with a transformers model, at temperature 1, in batches.

    All requests that arrive in one pass of the event loop are generated together. The loop stands still meanwhile, so
    this is no back end for a server.

    Args:
        model: in evaluation mode.
        seed: of the samples; the same requests in the same order give the same tokens.
        greedy: take the most probable token instead of sampling.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, seed: int = 0, greedy: bool = False
    ) -> None:
        self._model, self._tokenizer, self._greedy = model, tokenizer, greedy
        self._generator = torch.Generator().manual_seed(seed)
        self._waiting: list[_Request] = []

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._generate_waiting)
        request = _Request(list(token_ids), max_tokens, stop, loop.create_future())
        self._waiting.append(request)
        return await request.result

    def _generate_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            self._generate_batch(batch)
        except Exception as fault:  # whoever waits must learn of it, or would wait for ever
            for request in batch:
                if not request.result.done():
                    request.result.set_exception(fault)

    @torch.inference_mode()
    def _generate_batch(self, batch: list[_Request]) -> None:
        ids, mask = self._left_padded([request.prompt for request in batch])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = None
        running = set(range(len(batch)))
        while running:
            output = self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logprobs = output.logits[:, -1].float().log_softmax(-1)  # [batch, vocabulary]
            ids = self._choose(logprobs)  # [batch, 1]
            chosen = logprobs.gather(1, ids)[:, 0].tolist()
            for row in sorted(running):
                if self._append(batch[row], int(ids[row]), chosen[row]):
                    running.remove(row)
            mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
            positions = positions[:, -1:] + 1

    def _left_padded(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and attention mask, each [batch, longest prompt]."""
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        return ids, mask

    def _choose(self, logprobs: Tensor) -> Tensor:
        if self._greedy:
            return logprobs.argmax(-1, keepdim=True)
        return torch.multinomial(logprobs.exp(), 1, generator=self._generator)

    def _append(self, request: _Request, token: int, logprob: float) -> bool:
        """Add a token to the request. Returns whether that ended it, and then hands over its result."""
        request.ids.append(token)
        request.logprobs.append(logprob)
        tail = self._tokenizer.decode(request.ids[-_STOP_WINDOW:])
        if token == self._tokenizer.eos_token_id or any(stop in tail for stop in request.stop):
            finish: Literal["stop", "length"] = "stop"
        elif len(request.ids) >= request.max_tokens:
            finish = "length"
        else:
            return False
        request.result.set_result(Generation(request.ids, finish, request.logprobs))
        return True
