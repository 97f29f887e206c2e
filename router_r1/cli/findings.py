"""`router-r1 findings`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError


def findings(
    *overrides: Annotated[str, Parameter(help="key=value, for every training", show=True)],
    seeds: int = 5,
    budget_hours: float = 3.0,
    only: str | None = None,
    out: Path = Path("results", "findings"),
    list_runs: Annotated[bool, Parameter(name="--list")] = False,
) -> int:
    """See which of the paper's findings hold in the small: train what each needs, and say so with intervals.

    Runs that have ended are not run again, and one that was cut goes on: the same command, as often as it takes.

    Parameters
    ----------
    seeds
        Seeds of each run; a verdict needs three.
    budget_hours
        Begin no run that would end later than so many hours from now.
    only
        LETTER,LETTER,... of the findings (default: all).
    out
        Folder for runs and report.
    list_runs
        Print the runs and which findings need them; run nothing.
    """

    def run() -> None:
        from router_r1.benchmark.tables import console_for, show
        from router_r1.findings import catalogue, report, schedule

        for override in overrides:
            if "=" not in override and not override.startswith("~"):
                remedy = "is no override; write key=value, or ~key to take a key out"
                raise ConfigError("command line", "", override, remedy)
        for key, value in (("--seeds", seeds), ("--budget-hours", budget_hours)):
            if not value > 0:
                raise ConfigError("command line", key, value, "must be above 0")
        chosen = catalogue.findings_named(only)
        folder = out.absolute()
        tasks = schedule.tasks_of(chosen, seeds, folder, overrides)
        console = console_for(sys.stdout)
        if list_runs:
            show(console, [report.runs_sheet(chosen, tasks)])
            return
        durations = schedule.Durations(folder / schedule.LOG_FILE)
        outcome = schedule.run(
            tasks,
            durations=durations,
            budget_s=3600 * budget_hours,
            tell=lambda line: print(line, flush=True),
            ended=lambda: report.write_findings(folder, chosen, tasks),
        )
        page = report.write_findings(folder, chosen, tasks)
        show(console, report.verdicts_sheets(folder, chosen))
        for what, some in (("failed or left out", outcome.failed), ("left for the next call", outcome.left)):
            if some:
                print(f"{len(some)} runs {what}: {', '.join(task.name for task in some)}")
        print(f"report: {page}")

    return exit_code_of(run, how_to_go_on=lambda: "the same command goes on")
