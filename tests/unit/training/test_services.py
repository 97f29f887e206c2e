"""What all trajectories of a worker share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from router_r1.pool import load_pool
from router_r1.project_files import pool_file
from router_r1.routing import RoutingConfig
from router_r1.training import services


def test_a_worker_looks_its_services_up_and_settles_its_memory_once_however_many_threads_ask_first(monkeypatch):
    together, calls, pool = threading.Barrier(4), [], load_pool(pool_file("dealt"))
    actor = SimpleNamespace(plan=SimpleNamespace(remote=lambda: (pool, RoutingConfig())))
    second = threading.Barrier(2)

    def get_actor(name: str) -> object:
        calls.append(name)
        with suppress(threading.BrokenBarrierError):  # whoever is here alone: nobody else looks them up
            second.wait(0.2)
        return actor

    ray = SimpleNamespace(get_actor=get_actor, get=lambda value: value)
    monkeypatch.setattr(services, "ray", ray)
    monkeypatch.setattr(services.memory, "settle", lambda: calls.append("settled"))
    services._connect.cache_clear()

    def ask(_: int) -> services.Services:
        together.wait(20)
        return services.connect()

    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(ask, range(4)))
    finally:
        services._connect.cache_clear()

    assert all(one is found[0] for one in found)
    assert sorted(calls) == sorted([services.COST_WINDOW, f"{services.ROUTES}_0", "settled"])
