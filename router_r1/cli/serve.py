"""`router-r1 serve`: a router behind OpenAI's chat completions API."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from router_r1 import memory, processes
from router_r1.cli.options import Candidates, Policy, Routing, SkipPreflight, router_options
from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError
from router_r1.exit_codes import ExitCode
from router_r1.routing.config import RoutingConfig
from router_r1.serving.options import ServingOptions
from router_r1.settings import CandidateOptions, PolicyOptions, RouterSettings, make_settings

if TYPE_CHECKING:
    import socket

    from router_r1.serving.fitted import MoreMethods
    from router_r1.serving.keys import Keys
    from router_r1.trajectories import TrajectoryStore

_PATIENCE_S = 15.0

Serving = Annotated[ServingOptions, Parameter(name="*", group="Serving (docs/serving.md)")]


def serve(
    *,
    skip_preflight: SkipPreflight = False,
    serving: Serving = ServingOptions(),
    policy: Policy = PolicyOptions(),
    candidates: Candidates = CandidateOptions(),
    routing: Routing = RoutingConfig(),
) -> int:
    """Serve a router to programs that speak OpenAI's chat completions API.

    Without an option it serves the policy of the newest run with its pool or, before any run, the tiny policy that
    comes with the project with its simulated pool. SIGTERM or Ctrl-C ends it in good order, with exit code 0; at SIGHUP
    the pool file is read again.

    Parameters
    ----------
    skip_preflight
        Start without asking every candidate of the pool a word first.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)

    def run() -> None:
        from router_r1.serving.defaults import with_default_policy
        from router_r1.serving.fitted import more_methods
        from router_r1.serving.keys import load_keys
        from router_r1.serving.models import ServedModels
        from router_r1.serving.process import bind, run_server
        from router_r1.serving.recording import open_store
        from router_r1.serving.splits import read_split

        keys = load_keys(serving.client_keys, serving.client_key_variable)
        serving.check(keys)
        options = router_options(policy, candidates, routing)
        if options.method:
            remedy = "is chosen by each request, as its model; leave it out"
            raise ConfigError("command line", "--method", options.method, remedy)
        settings = make_settings(with_default_policy(options))
        split = read_split(serving.split) if serving.split else None
        sock = bind(serving.host, serving.port)
        try:
            with _signals_before_it_is_ready(), open_store(serving) as store:
                more = more_methods(serving, settings.pool, seed=settings.options.seed)
                ServedModels(settings, settings.pool, more=more, split=split)  # refused now, if it is
                run_server(_serve(settings, serving, keys, sock, store, more, check_candidates=not skip_preflight))
        finally:
            sock.close()

    return exit_code_of(run)


@contextmanager
def _signals_before_it_is_ready() -> Iterator[None]:
    """Before the server handles signals, and after, SIGTERM is what Ctrl-C is: engine and pool are stopped. SIGHUP is
    nothing: the pool has just been read.

    An engine that is starting may swallow the interrupt, or call it a failure: after `_PATIENCE_S` the process ends
    with all that it has started.
    """
    asked, over = threading.Event(), threading.Event()

    def insist() -> None:
        if not over.wait(_PATIENCE_S):
            processes.kill_all_below(os.getpid())
            os._exit(ExitCode.INTERRUPTED)

    def end(*_: object) -> None:
        asked.set()
        threading.Thread(target=insist, daemon=True).start()
        raise KeyboardInterrupt

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, lambda *_: None),
    }
    try:
        yield
    except RuntimeError:
        if asked.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(
    settings: RouterSettings,
    serving: ServingOptions,
    keys: Keys,
    sock: socket.socket,
    store: TrajectoryStore,
    more: MoreMethods,
    *,
    check_candidates: bool,
) -> None:
    from router_r1.pages.api import Pages
    from router_r1.pages.folders import Folders
    from router_r1.router import open_router
    from router_r1.serving.app import Application
    from router_r1.serving.observing import access_logger
    from router_r1.serving.process import Server
    from router_r1.serving.reloading import pool_reloading

    serving.forget_port()

    def on_ready() -> None:
        address = serving.tell_port(sock)
        policy = settings.options.model_path or ", ".join(settings.options.base_url)
        print(f"serving {policy} with pool {settings.pool.name} on {address}/v1, pages at {address}/", file=sys.stderr)

    async with open_router(settings, check_candidates=check_candidates) as router:
        app = Application(router, serving, keys, access_logger(serving.access_log), store, more)
        folders = Folders([settings.options.runs, *serving.folders])
        Pages(folders, keys, models=lambda: app.answering.models, store=store).add_to(app.api)
        memory.settle()
        try:
            async with pool_reloading(app.answering, check_candidates=check_candidates) as reloading:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.ask)
                await Server(app, drain_s=serving.drain_s, on_ready=on_ready).serve(sockets=[sock])
        finally:
            app.close()
