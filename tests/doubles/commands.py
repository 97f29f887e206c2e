"""The commands, called in this process as the command line calls them: arguments in, exit code out."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr

from router_r1.cli import main


def _command(*words: str) -> Callable[[Sequence[str]], int]:
    return lambda arguments: main([*words, *arguments])


ask, bench, compare, cache, train = (_command(name) for name in ("ask", "bench", "compare", "cache", "train"))
pool, sim, warm_start = _command("pool"), _command("sim"), _command("sim", "warm-start")
data_train, data_validation, data_benchmarks, data_recorded = (
    _command("data", kind) for kind in ("train", "validation", "benchmarks", "recorded")
)


def captured(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, results and messages of a command, for fixtures that outlive a test and so cannot use `capfd`."""
    kept = os.dup(1)
    with tempfile.TemporaryFile("w+") as results, redirect_stderr(io.StringIO()) as messages:
        os.dup2(results.fileno(), 1)
        try:
            code = command(arguments)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        results.seek(0)
        return code, results.read(), messages.getvalue()
