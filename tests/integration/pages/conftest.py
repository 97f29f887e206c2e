"""The pages in a real browser: a server in a thread of its own, and Chromium, one for all tests.

Every page that a test opens is watched: at its end nothing may have been asked of another origin, refused by the
Content-Security-Policy, or gone wrong in a script.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from router_r1.pages.api import Pages
from router_r1.pages.folders import Folders
from router_r1.pages.viewer import Viewer
from router_r1.serving.keys import Keys
from router_r1.serving.process import Server, bind
from tests.integration.serving.conftest import Served
from tests.integration.serving.conftest import serve as serve  # a fixture
from tests.integration.serving.conftest import simulated_pool as simulated_pool
from tests.integration.serving.conftest import tokenizer as tokenizer

_TELL_VIOLATIONS = """
  window.violations = [];
  addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class LoopInThread:
    """An event loop of its own, for servers that run while a test waits for its browser."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def call(self, function: Callable[[], object]) -> None:
        """Call it in the loop."""
        self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopInThread]:
    thread = LoopInThread()
    yield thread
    thread.close()


@pytest.fixture
def serve_pages(serve: Any, loop_thread: LoopInThread) -> Iterator[Callable[..., Served]]:
    """`serve_pages(say, folders=[...], ...)`: a server with a policy that says what it is told, and the pages."""
    with ExitStack() as opened:

        def serve_them(*args: Any, folders: tuple[Path, ...] = (), keys: Any = None, **options: Any) -> Served:
            manager = serve(*args, keys=keys, **options)
            served: Served = loop_thread.run(manager.__aenter__())
            opened.callback(lambda: loop_thread.run(manager.__aexit__(None, None, None)))
            models = lambda: served.app.answering.models  # noqa: E731
            Pages(Folders(folders), Keys(keys or {}), models=models, store=served.store).add_to(served.app.api)
            return served

        yield serve_them


@pytest.fixture
def view(loop_thread: LoopInThread) -> Iterator[Callable[..., str]]:
    """`view(folder, ...)`: the address of `router-r1 view`'s application for these folders."""
    with ExitStack() as opened:

        def view_them(*folders: Path, keys: dict[str, bytes] | None = None) -> str:
            async def start() -> tuple[Server, asyncio.Task[None], int]:
                ready, sock = asyncio.Event(), bind("127.0.0.1", 0)
                server = Server(Viewer(Folders(folders), Keys(keys or {})), drain_s=0, on_ready=ready.set)
                task = asyncio.create_task(server.serve(sockets=[sock]))
                await ready.wait()
                return server, task, sock.getsockname()[1]

            async def end(server: Server, task: asyncio.Task[None]) -> None:
                server.should_exit = True
                await task

            server, task, port = loop_thread.run(start())
            opened.callback(lambda: loop_thread.run(end(server, task)))
            return f"http://127.0.0.1:{port}"

        yield view_them


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the tests of a file: while it is there, Playwright has a loop in this thread, and nobody else."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    sync_api.expect.set_options(timeout=20_000)  # a busy machine is slow, and that is no fault
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(address, **options of a browser context)`: a page, watched until the end of the test."""
    contexts: list[Any] = []
    faults: list[str] = []

    def opened(address: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        context.add_init_script(_TELL_VIOLATIONS)
        origin = "/".join(address.split("/")[:3])
        context.on(
            "request", lambda r: faults.append(f"asked {r.url}") if not r.url.startswith((origin, "data:")) else None
        )
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            faults += page.evaluate("window.violations")
        context.close()
    assert faults == []
