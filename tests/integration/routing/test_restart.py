"""The pool server is restarted while routes are in flight: they are answered after the back-off, none is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from router_r1.pool import load_pool
from router_r1.routing import RouteService
from router_r1.sim.server.app import bind
from router_r1.sim.world.candidates import SimulatedPool
from router_r1.sim.world.facts import World

pytestmark = pytest.mark.slow  # starts the server twice, with its start-up in the middle


def start(port: int, latency: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "router_r1", "sim", "serve", "--port", str(port), "--latency", latency]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["graceful", "kill -9"])
async def test_a_restart_of_the_pool_server_costs_time_and_no_route(project_root, end):
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    names = ["Pico-1B", "Omni-72B"]
    server = start(port, "Omni-72B=400,0.2")
    try:
        assert "ready" in await asyncio.wait_for(asyncio.to_thread(server.stdout.readline), 60)
        pool = load_pool(project_root / "configs/pools/sim.yaml", base_url=f"http://127.0.0.1:{port}/v1")
        half_way = asyncio.Event()
        async with RouteService(pool) as service:

            async def roll_out(number: int) -> list:
                routes = []
                for turn in range(4):
                    routes.append(await service.route(names[turn % 2], f"{number}.{turn}: who?"))
                    if service.ledger.total().finished >= 60:
                        half_way.set()
                return routes

            trajectories = [asyncio.create_task(roll_out(number)) for number in range(60)]
            await half_way.wait()
            server.send_signal(end)
            await asyncio.to_thread(server.communicate, timeout=30)
            server = start(port, "Omni-72B=400,0.2")
            done = await asyncio.gather(*trajectories)
            account = service.ledger.total()
    finally:
        server.kill()
        server.communicate()
    said = SimulatedPool(World(0))
    assert all(route.reply == said.reply(route.candidate, route.query) for row in done for route in row)
    assert (account.finished, account.failed, account.cancelled) == (240, 0, 0)
