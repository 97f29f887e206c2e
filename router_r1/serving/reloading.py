"""The pool file, read again while the server goes on.

Invariants:

- a pool that is refused changes nothing: the log says what is wrong with it, and the old one goes on;
- a trajectory ends with the pool that its prompt was made for;
- ledger, metrics, cache and trace go on, and with them the server's budget and what each key has spent; limits and
  breakers of the candidates begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool
from router_r1.routing import RouteService
from router_r1.routing.preflight import preflight
from router_r1.serving.answering import Answering
from router_r1.settings import RouterSettings, make_settings

logger = logging.getLogger(__name__)


class PoolReloading:
    """Reads the pool file of a server again, once for each time that it is asked to; made by `pool_reloading`."""

    def __init__(self, answering: Answering, services: AsyncExitStack, *, check_candidates: bool) -> None:
        self._answering, self._services, self._check = answering, services, check_candidates
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read it soon. Asked again before that, it is read once; asked while it is read, it is read once more."""
        self._asked.set()

    async def run(self) -> None:
        """Do as asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self.reload()
            except Exception:  # the server goes on, and so does whoever asks next time
                logger.exception("the pool is not reloaded, and the old one goes on")

    async def reload(self) -> bool:
        """Read it now; False if it is refused."""
        router = self._answering.router
        try:
            pool = await self._read(router.settings)
            service = RouteService(pool, config=router.settings.options.routing, predecessor=router.routes)
        except ConfigError as fault:
            logger.error("the pool is not reloaded, and the old one goes on: %s", fault)
            return False
        routes = await self._services.enter_async_context(service)
        try:
            self._answering.change_router(router.with_candidates(pool, routes))
        except ConfigError as fault:  # a fitted method, or an arm of the split, lacks a candidate
            logger.error("the pool is not reloaded, and the old one goes on: %s", fault)
            return False
        logger.warning("the pool is reloaded: %s with %s", pool.name, ", ".join(pool.names))
        return True

    async def _read(self, settings: RouterSettings) -> RoutingPool:
        """The pool file as it is now, with its candidates asked a word if that is wanted.

        Raises:
            ConfigError: as at the start of the server; or the pool is one that the server itself serves.
        """
        fresh = await asyncio.to_thread(make_settings, settings.options)
        if settings.simulated or fresh.simulated:
            remedy = "is served by this process: start the server anew"
            raise ConfigError("command line", "--pool", settings.options.pool, remedy)
        if self._check:
            await preflight(fresh.pool)
        return fresh.pool


@asynccontextmanager
async def pool_reloading(answering: Answering, *, check_candidates: bool) -> AsyncIterator[PoolReloading]:
    """Stand by to read the pool again.

    Services of pools that were replaced are closed at the end only: until their keep-alive ends they hold connections,
    then nothing but memory.

    Args:
        check_candidates: ask each a word before the new pool is taken.
    """
    async with AsyncExitStack() as services:
        reloading = PoolReloading(answering, services, check_candidates=check_candidates)
        task = asyncio.create_task(reloading.run())
        try:
            yield reloading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
