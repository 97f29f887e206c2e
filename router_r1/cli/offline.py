"""`router-r1 bench --scores FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from router_r1.cli.running import exit_code_of, how_to_resume, results_only
from router_r1.offline.options import ComparisonOptions

Compared = Annotated[ComparisonOptions, Parameter(name="*", group="Several methods side by side")]


def bench_scores(options: ComparisonOptions, *, out: Path | None, resume: bool) -> int:
    """Compare fitted routers on recorded scores; the exit code.

    Args:
        out: folder for the results.
        resume: go on with what is in it.
    """
    folder: list[Path] = []

    def run() -> None:
        from router_r1.benchmark.tables import console_for, show
        from router_r1.offline.benchmark import OfflineBenchmark
        from router_r1.offline.report import REPORT_FILE
        from router_r1.offline.tables import sheets, verdicts

        options.check_alone()
        benchmark = OfflineBenchmark(options, out=out, resume=resume)
        folder.append(benchmark.folder)
        with results_only() as to:
            results = benchmark.run()
            show(console_for(to), sheets(results))
            for line in verdicts(results):
                print(line, file=to)
            for title, remedy in results.not_installed.items():
                print(f"{title} did not run: it {remedy}", file=to)
            for title, why in results.not_run.items():
                print(f"{title} did not run: {why}", file=to)
            for note in benchmark.notes:
                print(f"note: {note}", file=to)
            print(f"results: {benchmark.folder}\nreport: {benchmark.folder / REPORT_FILE}", file=to)

    return exit_code_of(run, how_to_go_on=lambda: how_to_resume(folder))
