"""`router-r1 bench --methods`: several methods on the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router_r1.benchmark.contest import Contest
from router_r1.benchmark.contest_results import contest_sheets
from router_r1.benchmark.runner import SETTING_FILE
from router_r1.benchmark.tables import console_for, show
from router_r1.cli.running import exit_code_of, results_only
from router_r1.errors import ConfigError
from router_r1.settings import RouterOptions


def bench_methods(options: RouterOptions, methods: str, *, alphas: str | None, out: Path | None, **how: Any) -> int:
    """Run a contest and print its tables; the command's exit code.

    Args:
        alphas: cost weights as they were written.
        how: the other arguments of `Contest`.
    """
    folder: list[Path] = [out] if out else []

    def run() -> None:
        contest = Contest(options, methods, alphas=_weights(alphas), out=out, **how)
        folder[:] = [contest.folder]
        with results_only() as to:
            contested = contest.run()
            show(console_for(to), contest_sheets(contested))
            for note in contest.notes:
                print(f"note: {note}", file=to)
            print(f"results: {contest.folder}", file=to)

    def how_to_go_on() -> str:
        begun = folder and (folder[0] / SETTING_FILE).exists()
        return f"go on with --resume --out {folder[0]}" if begun else ""

    return exit_code_of(run, how_to_go_on=how_to_go_on)


def _weights(written: str | None) -> tuple[float, ...]:
    if written is None:
        return ()
    try:
        weights = tuple(dict.fromkeys(float(part) for part in written.split(",")))
    except ValueError:
        weights = (-1.0,)
    if not all(0 <= weight <= 1 for weight in weights):
        raise ConfigError("command line", "--alphas", written, "must be numbers in [0, 1], separated by commas")
    return weights
