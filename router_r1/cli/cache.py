"""`router_r1 cache stats | prune | export`."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router_r1.errors import ConfigError
from router_r1.routing.cache import CacheFile, default_cache_file

_DAY_S = 86_400


def add_cache_commands(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands to a parser; each sets `run`, a function of the parsed arguments."""
    commands = parser.add_subparsers(required=True, metavar="stats|prune|export")
    stats = commands.add_parser("stats", help="replies and tokens kept, by endpoint and model")
    stats.set_defaults(run=_stats)
    prune = commands.add_parser("prune", help="delete replies")
    prune.set_defaults(run=_prune)
    which = prune.add_argument_group("which ones (together: those that fit both)")
    which.add_argument("--older-than", type=float, metavar="DAYS")
    which.add_argument("--model", metavar="ID")
    which.add_argument("--all", action="store_true", help="every one")
    export = commands.add_parser("export", help="one JSON line per reply")
    export.set_defaults(run=_export)
    export.add_argument("--out", type=Path, metavar="FILE", help="(default: standard output)")
    for command in (stats, prune, export):
        command.add_argument("--file", type=Path, default=default_cache_file(), help="(default: %(default)s)")


def _open(path: Path) -> CacheFile:
    """An existing cache; looking at one must not make it."""
    if not path.is_file():
        raise ConfigError("--file", "", str(path), "is no file; nothing was cached there yet")
    return CacheFile(path)


def _stats(arguments: argparse.Namespace) -> int:
    file = _open(arguments.file)
    table = Table(title=f"{file.path} ({file.path.stat().st_size / 1e6:.1f} MB)")
    for heading in ("endpoint", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("replies", "prompt tokens", "completion tokens", "oldest", "newest"):
        table.add_column(heading, justify="right")
    for endpoint, model, *counts, oldest, newest in file.stats():
        dates = (f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M}" for when in (oldest, newest))
        table.add_row(endpoint, model, *(f"{count:,}" for count in counts), *dates)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    file.close()
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    if not (arguments.all or arguments.model or arguments.older_than is not None):
        raise ConfigError(
            "router_r1 cache prune", "", None, "say which replies: --older-than DAYS, --model ID or --all"
        )
    before = None if arguments.older_than is None else time.time() - _DAY_S * arguments.older_than
    file = _open(arguments.file)
    try:
        count = file.prune(before=before, model=arguments.model)
    except sqlite3.Error as fault:
        raise ConfigError("--file", "", str(arguments.file), f"cannot be written: {fault}") from None
    file.close()
    print(f"{count} replies deleted")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    file = _open(arguments.file)
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in file.export())
    if arguments.out:
        with arguments.out.open("w", encoding="utf-8") as sink:
            sink.writelines(lines)
    else:
        sys.stdout.writelines(lines)
    file.close()
    return 0
