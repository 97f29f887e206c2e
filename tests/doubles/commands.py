"""The commands, called in this process as the command line calls them: arguments in, exit code out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router_r1.cli import main


def _command(*words: str) -> Callable[[Sequence[str]], int]:
    return lambda arguments: main([*words, *arguments])


ask, bench, compare, cache, train = (_command(name) for name in ("ask", "bench", "compare", "cache", "train"))
pool, sim, warm_start = _command("pool"), _command("sim"), _command("sim", "warm-start")
data_train, data_validation, data_benchmarks = (
    _command("data", kind) for kind in ("train", "validation", "benchmarks")
)
