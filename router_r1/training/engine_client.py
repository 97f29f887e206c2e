"""Whom a rollout worker asks to generate: by veRL's load balancer, or past it where there is nothing to balance."""

from __future__ import annotations

import functools
import threading
from typing import Any

import ray
from omegaconf import DictConfig
from ray.actor import ActorHandle
from verl.workers.rollout.llm_server import LLMServerClient

_LOOKING_UP = threading.Lock()


class OneEngineClient(LLMServerClient):
    """veRL's client of a run with one engine, which needs nobody to say which engine it is.

    veRL's asks its load balancer, an actor, before every request, and tells it after every request: with a small policy
    these two calls cost as much as the request itself.
    """

    def __init__(self, config: DictConfig, engine: tuple[str, ActorHandle]) -> None:
        super().__init__(config)
        self._engine = engine

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, ActorHandle]:
        return self._engine

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        pass


def quickest(client: LLMServerClient) -> LLMServerClient:
    """The client to use in place of `client`; looked up once per worker process, whichever thread is the first.

    A trainer that changes its engines while it runs has a client of a class of its own, and that one is kept.
    """
    with _LOOKING_UP:
        return _quickest(client)


@functools.lru_cache(maxsize=1)
def _quickest(client: LLMServerClient) -> LLMServerClient:
    if type(client) is not LLMServerClient:
        return client
    balancer = client._load_balancer
    if len(ray.get(balancer.get_all_servers.remote())) != 1:
        return client
    server_id, engine = ray.get(balancer.acquire_server.remote("any"))
    balancer.release_server.remote(server_id)
    return OneEngineClient(client.config, (server_id, engine))
