"""`router-r1 bench --methods`: several methods on the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router_r1.benchmark.contest import Contest
from router_r1.benchmark.contest_report import REPORT_FILE
from router_r1.benchmark.contest_results import contest_sheets
from router_r1.benchmark.tables import console_for, show
from router_r1.cli.running import exit_code_of, how_to_resume, results_only
from router_r1.offline.options import ComparisonOptions
from router_r1.settings import RouterOptions


def bench_methods(options: RouterOptions, compared: ComparisonOptions, *, out: Path | None, **how: Any) -> int:
    """Run a contest and print its tables; the command's exit code.

    Args:
        compared: which methods, and what fitted ones learn from.
        how: the other arguments of `Contest`.
    """
    folder: list[Path] = [out] if out else []

    def run() -> None:
        compared.check_in_loop()
        contest = Contest(
            options,
            compared.methods,
            alphas=compared.cost_weights() if "alphas" in compared.model_fields_set else (),
            scores=compared.scores,
            encoder=compared.encoder,
            paper=compared.paper,
            out=out,
            **how,
        )
        folder[:] = [contest.folder]
        with results_only() as to:
            contested = contest.run()
            show(console_for(to), contest_sheets(contested))
            for note in contest.notes:
                print(f"note: {note}", file=to)
            print(f"results: {contest.folder}\nreport: {contest.folder / REPORT_FILE}", file=to)

    return exit_code_of(run, how_to_go_on=lambda: how_to_resume(folder))
