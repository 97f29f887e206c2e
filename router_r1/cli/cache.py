"""`router-r1 cache stats | prune | export`."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError
from router_r1.printable import printable
from router_r1.routing.cache import CacheFile, default_cache_file

_DAY_S = 86_400


app = App(name="cache", help="Look at the replies of candidates that are kept on disk, and delete or export them.")
File = Annotated[Path, Parameter(help="The cache.")]


def _open(path: Path) -> CacheFile:
    """An existing cache; looking at one must not make it."""
    if not path.is_file():
        raise ConfigError("--file", "", str(path), "is no file; nothing was cached there yet")
    return CacheFile(path)


@app.command
def stats(*, file: File = default_cache_file()) -> int:
    """Show replies and tokens kept, by endpoint and model."""
    return exit_code_of(lambda: _stats(_open(file)))


def _stats(file: CacheFile) -> None:
    table = Table(title=f"{file.path} ({file.path.stat().st_size / 1e6:.1f} MB)")
    for heading in ("endpoint", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("replies", "prompt tokens", "completion tokens", "oldest", "newest"):
        table.add_column(heading, justify="right")
    for endpoint, model, *counts, oldest, newest in file.stats():
        dates = (f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M}" for when in (oldest, newest))
        names = (Text(printable(name)) for name in (endpoint, model))  # the file may come from elsewhere
        table.add_row(*names, *(f"{count:,}" for count in counts), *dates)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    file.close()


@app.command
def prune(
    *, older_than: float | None = None, model: str | None = None, all: bool = False, file: File = default_cache_file()
) -> int:
    """Delete replies.

    Parameters
    ----------
    older_than
        Those that are older than so many days; with --model, those that are of the model as well.
    model
        Those of this model id.
    all
        Every one.
    """

    def run() -> None:
        if not (all or model or older_than is not None):
            raise ConfigError("router-r1 cache prune", "", None, "say which: --older-than DAYS, --model ID or --all")
        _prune(_open(file), before=None if older_than is None else time.time() - _DAY_S * older_than, model=model)

    return exit_code_of(run)


def _prune(file: CacheFile, *, before: float | None, model: str | None) -> None:
    try:
        count = file.prune(before=before, model=model)
    except sqlite3.Error as fault:
        raise ConfigError("--file", "", str(file.path), f"cannot be written: {fault}") from None
    file.close()
    print(f"{count} replies deleted")


@app.command
def export(*, out: Path | None = None, file: File = default_cache_file()) -> int:
    """Write one JSON line per reply.

    Parameters
    ----------
    out
        File for them (default: standard output).
    """
    return exit_code_of(lambda: _export(_open(file), out))


def _export(file: CacheFile, out: Path | None) -> None:
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in file.export())
    if out:
        with out.open("w", encoding="utf-8") as sink:
            sink.writelines(lines)
    else:
        sys.stdout.writelines(lines)
    file.close()
