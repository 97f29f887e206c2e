"""A policy that can be watched: it says what a function of its context says, token by token."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from router_r1.rollout.backends import OpenPolicy
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Generation
from router_r1.rollout.sampling import Sampling


class SpeakingPolicy:
    """Says `say(context)` up to its first stop string; any number of trajectories at once.

    Attributes:
        samplings: how each turn was to be sampled; None for as usual.
        running, cancelled: turns in flight, and those that were ended from outside.
        gate: a turn waits here after `pause_after` tokens.
    """

    def __init__(self, tokenizer, say: Callable[[str], str]) -> None:
        self.tokenizer, self.say = tokenizer, say
        self.samplings: list[Sampling | None] = []
        self.seeds: list[int | None] = []
        self.contexts: list[str] = []
        self.request_ids: list[str] = []
        self.running = self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.waits = asyncio.Event()
        self.pause_after = 3
        self.fault: Exception | None = None
        self._sampling: Sampling | None = None

    def with_sampling(self, sampling: Sampling) -> SpeakingPolicy:
        view = object.__new__(type(self))
        view.__dict__ = {**self.__dict__, "_sampling": sampling, "_original": self}
        return view

    async def generate(self, token_ids, *, max_tokens, stop, request_id) -> Generation:
        return await self.stream(
            token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id, told=lambda ids: None
        )

    async def stream(self, token_ids, *, max_tokens, stop, request_id, told) -> Generation:
        own = self.__dict__.get("_original", self)
        own.samplings.append(self._sampling)
        own.seeds.append(self._sampling and self._sampling.seed_of_turn(request_id, len(token_ids)))
        context = self.tokenizer.decode(token_ids)
        own.contexts.append(context)
        own.request_ids.append(request_id)
        if own.fault is not None:
            raise own.fault
        text = self.say(context)
        ends = [text.index(s) + len(s) for s in stop if s in text]
        ids = self.tokenizer.encode(text[: min(ends)] if ends else text, add_special_tokens=False)
        if not ends:
            ids.append(self.tokenizer.eos_token_id)
        own.running += 1
        try:
            for number, token in enumerate(ids[:max_tokens]):
                if number == own.pause_after and not own.gate.is_set():
                    own.waits.set()
                    await own.gate.wait()
                await asyncio.sleep(0)
                told([token])
        except asyncio.CancelledError:
            own.cancelled += 1
            raise
        finally:
            own.running -= 1
        return Generation(ids[:max_tokens], "stop" if len(ids) <= max_tokens else "length")


@asynccontextmanager
async def open_telling_process(model_path: str) -> AsyncIterator[OpenPolicy]:
    """A back end whose answer is the process that it runs in."""
    said = f"<think> x </think> <answer> process {os.getpid()} </answer>"
    yield OpenPolicy(SpeakingPolicy(load_tokenizer(model_path), lambda context: said), model_path, 4096)
