"""`bash test.sh`: a trained router on test sets.

All trajectories are in flight at once; what limits them is the engine's batch and the candidates' own limits. Each is
written to `trajectories.jsonl` when it is finished. A fault of the engine ends the benchmark; a failed route counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from router_r1.errors import ConfigError
from router_r1.evaluation.ask import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, results_only
from router_r1.evaluation.plan import PROJECT_ROOT, Plan, add_arguments, make_plan, options_of
from router_r1.evaluation.questions import Question, check_lengths, read_questions
from router_r1.evaluation.records import trajectory_record
from router_r1.evaluation.rendering import printable
from router_r1.evaluation.results import Row, Scored, over_all, summarise, write_results
from router_r1.evaluation.session import Session, open_session
from router_r1.rewards.compose import RewardConfig, score
from router_r1.rewards.cost import NEUTRAL
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.runs import provenance

_FILE_WIDTH = 120  # characters of the table where there is no terminal
TRAJECTORIES_FILE = "trajectories.jsonl"
_SHOWN = {  # key of the results -> heading, format
    "n": ("n", ".0f"),
    "em": ("EM", ".3f"),
    "f1": ("F1", ".3f"),
    "format_ok": ("format", ".3f"),
    "raw_cost": ("raw cost", ".4g"),
    "routes": ("routes", ".2f"),
    "failed_routes": ("failed", ".0f"),
    "latency_p95_s": ("p95 s", ".1f"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        plan = make_plan(options_of(arguments))
        _check_samples(arguments.n_samples, plan)
        files = arguments.data or _files_of_run(plan)
        render = arguments.template is not None
        questions = read_questions(files, plan, render=render, limit=arguments.limit)
        folder: Path = arguments.out or _default_folder(plan)
        if (folder / "results.json").exists():
            raise ConfigError("command line", "--out", str(folder), "already holds results; give another folder")
        _make_folder(folder)
        with results_only() as out:
            datasets = asyncio.run(run_benchmark(plan, questions, folder, n_samples=arguments.n_samples))
            facts = {
                "seed": plan.seed,
                "n_samples": arguments.n_samples,
                "data": [str(file) for file in files],
                "config": plan.as_config(),
                **provenance(PROJECT_ROOT),
            }
            write_results(folder, datasets, facts)
            show(Console(file=out, highlight=False, width=None if out.isatty() else _FILE_WIDTH), datasets)
            print(f"results: {folder}", file=out)
    except ConfigError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_REFUSED
    except RuntimeError as fault:  # engine, policy endpoint or pool server: each says in its text what happened
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="test.sh", description="Benchmark a trained router on test sets.")
    parser.add_argument("--data", nargs="+", metavar="FILE", help="question files, parquet (default: the run's own)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: results/<name>-<time>)"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="at most N questions of each data set")
    parser.add_argument(
        "--n_samples", type=_positive, default=1, metavar="N", help="trajectories per question (default: 1)"
    )
    add_arguments(parser)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _check_samples(n_samples: int, plan: Plan) -> None:
    if n_samples > 1 and plan.sampling.temperature == 0:
        raise ConfigError(
            "command line", "--n_samples", n_samples, "greedy trajectories are all alike; give a --temperature above 0"
        )


def _files_of_run(plan: Plan) -> list[str]:
    files = plan.run.get("val_files") or []
    if not files:
        raise ConfigError(
            "command line", "--data", None, "is needed: this policy comes from no run with test questions"
        )
    return [files] if isinstance(files, str) else list(files)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError("command line", "--out", str(folder), f"cannot be made: {fault.strerror}") from None


def _default_folder(plan: Plan) -> Path:
    name = plan.run_dir.name if plan.run_dir else Path(plan.model_path or "served").name
    return Path("results", f"{name}-{datetime.now():%Y%m%d-%H%M%S}")


async def run_benchmark(
    plan: Plan, questions: Sequence[Question], folder: Path, *, n_samples: int = 1
) -> dict[str, Row]:
    """Roll out all questions, `n_samples` times each; returns data source -> metrics.

    Raises:
        ConfigError: a prompt that does not fit, before an engine starts; or an endpoint that is not there.
        RuntimeError: the engine or the policy's endpoint failed; finished trajectories are in `folder`.
    """
    tokenizer = load_tokenizer(plan.model_path) if plan.model_path else None
    if tokenizer is not None:
        check_lengths(questions, tokenizer, plan.limits.max_prompt_length)
    async with open_session(plan, tokenizer=tokenizer) as session:
        if tokenizer is None:
            check_lengths(questions, session.tokenizer, plan.limits.max_prompt_length)
        with (folder / TRAJECTORIES_FILE).open("w", encoding="utf-8") as sink, _progress() as progress:
            task = progress.add_task("trajectories", total=len(questions) * n_samples)
            scored = await _all(session, questions, n_samples, sink, lambda: progress.advance(task))
    return summarise(scored)


async def _all(
    session: Session, questions: Sequence[Question], n_samples: int, sink: IO[str], finished: Callable[[], None]
) -> list[Scored]:
    """Every trajectory at once; the first error cancels the rest."""

    async def one(question: Question, sample: int) -> Scored:
        request_id = f"{question.data_source}-{question.index}-{sample}"
        started = time.monotonic()
        trajectory = await session.roll_out(question.messages, request_id=request_id)
        latency_s = time.monotonic() - started
        reward = score(
            trajectory, question.golden, config=RewardConfig(), pool=session.pool, cost=lambda _: NEUTRAL
        )  # no window of training costs here, and nothing reported depends on it
        scored = Scored(question.data_source, question.index, trajectory, reward, latency_s)
        sink.write(json.dumps(_line(question, sample, scored), ensure_ascii=False) + "\n")
        sink.flush()
        finished()
        return scored

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(q, sample)) for q in questions for sample in range(n_samples)]
    except BaseExceptionGroup as faults:
        raise _first(faults) from None
    return [task.result() for task in tasks]


def _first(faults: BaseExceptionGroup) -> BaseException:
    first = faults.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _line(question: Question, sample: int, scored: Scored) -> Mapping[str, Any]:
    return {
        "data_source": question.data_source,
        "id": question.id,
        "index": question.index,
        "sample": sample,
        "question": question.text,
        "golden_answers": list(question.golden),
        "em": scored.reward.em,
        "f1": scored.reward.f1,
        "format_error": scored.reward.format_error,
        "latency_s": scored.latency_s,
        **trajectory_record(scored.trajectory),
    }


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def show(console: Console, datasets: Mapping[str, Row]) -> None:
    """A row per data set, and their mean."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("data set", overflow="fold")
    for heading, _ in _SHOWN.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in datasets.items():
        table.add_row(Text(printable(name)), *_cells(row))
    table.add_section()
    table.add_row("mean", *_cells(over_all(datasets)), style="bold")
    console.print(table)


def _cells(row: Row) -> list[str]:
    return [format(row[key], spec) for key, (_, spec) in _SHOWN.items()]
