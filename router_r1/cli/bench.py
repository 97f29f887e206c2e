"""`bash test.sh`: a trained router on test sets; `bash test.sh compare`: see `compare`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from router_r1.benchmark import comparison as compare
from router_r1.benchmark.metrics import summarise, write_results
from router_r1.benchmark.plots import write_figures
from router_r1.benchmark.questions import read_questions
from router_r1.benchmark.report import write_report
from router_r1.benchmark.runner import SETTING_FILE, open_folder, run_benchmark, setting_of
from router_r1.benchmark.tables import console_for, sheets, show
from router_r1.cli.running import exit_code_of, positive, results_only
from router_r1.datasets.parquet import read_provenance
from router_r1.errors import ConfigError
from router_r1.runs import provenance
from router_r1.settings import PROJECT_ROOT, Plan, add_arguments, make_plan, options_of


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == "compare":
        return compare.main(argv[1:])
    arguments = _parser().parse_args(argv)
    return exit_code_of(lambda: _benchmark(arguments), how_to_go_on=lambda: _how_to_go_on(arguments.out))


def _how_to_go_on(folder: Path | None) -> str:
    return f"go on with --resume --out {folder}" if folder and (folder / SETTING_FILE).exists() else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="test.sh",
        description="Benchmark a trained router on test sets.",
        epilog="bash test.sh compare RUN RUN... puts several results side by side.",
    )
    parser.add_argument("--data", nargs="+", metavar="FILE", help="question files, parquet (default: the run's own)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: results/<name>-<time>)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished benchmark in --out")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N questions of each data set")
    parser.add_argument(
        "--n", "--n_samples", dest="n_samples", type=positive, default=1, metavar="N",
        help="trajectories per question (default: 1)",
    )  # fmt: skip
    add_arguments(parser)
    return parser


def _benchmark(arguments: argparse.Namespace) -> None:
    plan = make_plan(options_of(arguments))
    _check_samples(arguments.n_samples, plan)
    files = arguments.data or _files_of_run(plan)
    questions = read_questions(files, plan, render=arguments.template is not None, limit=arguments.limit)
    if arguments.resume and arguments.out is None:
        raise ConfigError("command line", "--resume", None, "needs --out DIR: the folder to go on with")
    folder = arguments.out = arguments.out or _default_folder(plan)
    setting = setting_of(plan, questions, arguments.n_samples)
    done = open_folder(folder, setting, resume=arguments.resume)
    with results_only() as out:
        records = asyncio.run(run_benchmark(plan, questions, folder, n_samples=arguments.n_samples, done=done))
        facts: dict[str, Any] = {
            "seed": plan.seed,
            "n_samples": arguments.n_samples,
            "data": [str(file) for file in files],
            "draws": {str(file): read_provenance(file) for file in files},
            "config": plan.as_config(),
            "notes": _notes(plan),
            **provenance(PROJECT_ROOT),
        }
        results = summarise(records, plan.pool.names)
        write_results(folder, results, facts)
        report = write_report(folder, results, records, write_figures(folder, results), facts)
        show(console_for(out), sheets(results))
        for note in facts["notes"]:
            print(f"note: {note}", file=out)
        print(f"results: {folder}\nreport: {report}", file=out)


def _notes(plan: Plan) -> list[str]:
    """What a reader of the figures must know."""
    notes = ["these are the figures of the questions asked, not of the whole data sets"]
    if plan.simulated:
        notes.append("the candidates are simulated: nothing follows for real ones, nor for the benchmarks")
    return notes


def _check_samples(n_samples: int, plan: Plan) -> None:
    if n_samples > 1 and plan.sampling.temperature == 0:
        raise ConfigError(
            "command line", "--n", n_samples, "greedy trajectories are all alike; give a --temperature above 0"
        )


def _files_of_run(plan: Plan) -> list[str]:
    files = plan.run.get("val_files") or []
    if not files:
        raise ConfigError(
            "command line", "--data", None, "is needed: this policy comes from no run with test questions"
        )
    return [files] if isinstance(files, str) else list(files)


def _default_folder(plan: Plan) -> Path:
    name = plan.run_dir.name if plan.run_dir else Path(plan.model_path or "served").name
    return Path("results", f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
