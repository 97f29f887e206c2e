"""The pool server is restarted while routes are in flight: they are answered after the back-off, none is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router_r1.pool import load_pool
from router_r1.routing import RouteService
from router_r1.sim.server.app import bind
from router_r1.sim.world.candidates import SimulatedPool
from router_r1.sim.world.facts import World

pytestmark = pytest.mark.slow  # starts the server twice, with its start-up in the middle


def start(port: int, port_file: Path, latency: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "router_r1", "sim", "serve", "--port", str(port), "--port-file", str(port_file)]
    port_file.unlink(missing_ok=True)
    return subprocess.Popen([*command, "--latency", latency], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_ready(port_file: Path) -> None:
    deadline = time.monotonic() + 60
    while not port_file.exists():
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["graceful", "kill -9"])
async def test_a_restart_of_the_pool_server_costs_time_and_no_route(project_root, tmp_path, end):
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    port_file, names = tmp_path / "port", ["Pico-1B", "Omni-72B"]
    server = start(port, port_file, "Omni-72B=400,0.2")
    try:
        await asyncio.to_thread(wait_until_ready, port_file)
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
            await asyncio.to_thread(server.wait, 30)
            server = start(port, port_file, "Omni-72B=400,0.2")
            done = await asyncio.gather(*trajectories)
            account = service.ledger.total()
    finally:
        server.kill()
        server.wait()
    said = SimulatedPool(World(0))
    assert all(route.reply == said.reply(route.candidate, route.query) for row in done for route in row)
    assert (account.finished, account.failed, account.cancelled) == (240, 0, 0)
