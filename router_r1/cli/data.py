"""`router-r1 data train | validation | benchmarks | recorded`: question files. Scripts in `data_process/` call them."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from router_r1.cli.cost_weights import told_weights
from router_r1.cli.running import exit_code_of
from router_r1.datasets.flashrag import FlashragFolder, FlashragHub
from router_r1.datasets.parquet import write_parquet
from router_r1.datasets.selection import BENCHMARKS, Draw, draw, held_out_questions, rows_of
from router_r1.datasets.source import MAX_BAD_SHARE, SOURCE_ARGUMENTS, CheckedSource, DatasetSource, held_out_split
from router_r1.errors import ConfigError
from router_r1.plugins import call_with, check_asks, load_object
from router_r1.pool import dealer_of, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import load_template, render_messages

app = App(name="data", help="Write question files: what is trained on, validated on, and tested on.")


class DataOptions(BaseModel):
    """What the three commands have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "qwen"
    """Prompt template: qwen, llama, tiny, or a file."""
    seed: int = 42
    """Of the draw."""
    cost_weights: str | None = None
    """Numbers in [0, 1], such as 0,0.2,0.4: each question gets one of them, and its prompt tells it."""
    data_root: str | None = None
    """Folder in FlashRAG's layout, ROOT/<dataset>/<split>.jsonl (default: $DATA_ROOT, or else the hub)."""
    source: str | None = None
    """Instead of FlashRAG's layout: a dotted path to a data set source of your own; --data-root is for it, then."""
    pool: str | None = None
    """Pool whose candidates the prompts offer, a file or a name (default: paper; for tiny: sim)."""
    out: Path = Path("data")
    """Folder for the files."""
    max_bad_share: float = Field(default=MAX_BAD_SHARE, ge=0, le=1)
    """Of unusable rows that are skipped before it is an error."""


Options = Annotated[DataOptions, Parameter(name="*")]
Sources = Annotated[str, Parameter(help=f"Of {', '.join(BENCHMARKS)}; or others that the source has.")]
Number = Annotated[str, Parameter(help="At most so many questions of each data set, or all.")]


@app.command
def train(*, data_sources: Sources = "nq,hotpotqa", n: Number = "7000", options: Options = DataOptions()) -> int:
    """Training questions of several data sets in one file; none that a test set asks."""
    return _run(data_sources, n, options, _write_train)


@app.command
def validation(*, data_sources: Sources = "nq,hotpotqa", n: Number = "500", options: Options = DataOptions()) -> int:
    """Validation questions of several data sets in one file."""
    return _run(data_sources, n, options, _write_validation)


@app.command
def benchmarks(
    *, data_sources: Sources = ",".join(BENCHMARKS), n: Number = "500", options: Options = DataOptions()
) -> int:
    """Test questions, one file per data set."""
    return _run(data_sources, n, options, _write_tests)


@app.command
def recorded(
    *,
    pool: str,
    model: str = "qwen",
    n: Number = "all",
    seed: int = 42,
    cost_weights: str | None = None,
    out: Path = Path("data"),
) -> int:
    """Write train.parquet and val.parquet: what a pool of recorded replies knows, parted by the words of a question.

    Parameters
    ----------
    pool
        A pool with a section `recorded`: a file, or the name of one that comes with the project.
    model
        Prompt template: qwen, llama, tiny, or a file.
    seed
        Of the order, and of what is drawn for a question; which part it is in depends on its words alone.
    cost_weights
        Numbers in [0, 1], such as 0,0.2,0.4: each question gets one of them, and its prompt tells it.
    out
        Folder for the files.
    """

    def run() -> None:
        from router_r1.recorded.pools import recorded_pool
        from router_r1.recorded.question_files import write_recorded

        template, candidates = load_template(model), recorded_pool(pool_file(pool))
        most = _number(n) or sys.maxsize
        paths = write_recorded(
            out,
            candidates,
            train=most,
            val=most,
            seed=seed,
            render=partial(render_messages, template, candidates),
            cost_weights=told_weights(cost_weights, template),
        )
        for path in paths:
            print(path)

    return exit_code_of(run)


class _Job:
    """The checked options, and what all three commands do with them."""

    def __init__(self, data_sources: str, n: str, options: DataOptions, progress: Progress) -> None:
        self.progress = progress
        self.datasets = _datasets(data_sources)
        self.n = _number(n)
        self.seed, self.out, self.max_bad_share = options.seed, options.out, options.max_bad_share
        self.source = _source(options)
        self.model = Path(options.model).stem
        self.template = load_template(options.model)
        self.cost_weights = told_weights(options.cost_weights, self.template)
        self.pool = load_pool(pool_file(options.pool or ("sim" if options.model == "tiny" else "paper")))
        self._reading: TaskID = progress.add_task("reading", total=len(self.datasets))

    def draw(self, dataset: str, split: str, held_out: set[str], taken: set[str]) -> Draw:
        self.progress.update(self._reading, description=f"reading {dataset}:{split}")
        found = draw(
            self.source, dataset, split, self.n, self.seed,
            held_out=held_out, taken=taken, max_bad_share=self.max_bad_share,
        )  # fmt: skip
        self.progress.advance(self._reading)
        return found

    def write(self, kind: str, draws: Sequence[Draw], serves_as: str) -> Path:
        path = self.out / f"{kind}_{'_'.join(one.dataset for one in draws)}_{self.model}.parquet"
        rows = rows_of(
            draws,
            serves_as=serves_as,
            render=partial(render_messages, self.template, self.pool),
            deal=dealer_of(self.pool, self.seed),
            cost_weights=self.cost_weights,
            seed=self.seed,
        )
        total = sum(len(one.items) for one in draws)
        provenance = {
            "seed": self.seed,
            "n": self.n or "all",
            "template": self.model,
            "pool": self.pool.name,
            "cost_weights": list(self.cost_weights),
            "draws": [one.as_json() for one in draws],
        }
        write_parquet(
            self.progress.track(rows, total=total, description=f"writing {path.name}"), path, provenance=provenance
        )
        return path


Written = list[tuple[Path, list[Draw]]]
Write = Callable[[_Job], Written]


def _write_train(job: _Job) -> Written:
    """Training questions that none of the seven benchmarks asks."""
    job.progress.console.print("comparing with the test questions of every benchmark that is there")
    asked = dict.fromkeys([*BENCHMARKS, *job.datasets])
    held_out = held_out_questions(job.source, asked, not_from=[(dataset, "train") for dataset in job.datasets])
    taken: set[str] = set()
    draws = [job.draw(dataset, "train", held_out, taken) for dataset in job.datasets]
    return [(job.write("train", draws, "train"), draws)]


def _write_validation(job: _Job) -> Written:
    taken: set[str] = set()
    draws = [job.draw(dataset, held_out_split(job.source, dataset), set(), taken) for dataset in job.datasets]
    return [(job.write("test", draws, "test"), draws)]


def _write_tests(job: _Job) -> Written:
    draws = [job.draw(dataset, held_out_split(job.source, dataset), set(), set()) for dataset in job.datasets]
    return [(job.write("test", [one], "test"), [one]) for one in draws]


def _source(options: DataOptions) -> DatasetSource:
    if options.source is not None:
        return _own_source(options.source, options.data_root)
    root = options.data_root or os.environ.get("DATA_ROOT")
    return FlashragFolder(root) if root else FlashragHub()


def _own_source(written: str, data_root: str | None) -> DatasetSource:
    """What the user's class or function makes. It gets the folder of --data-root if it asks for it."""
    make = load_object("command line", "--source", written)
    there = {} if data_root is None else {"data_root": data_root}
    check_asks("command line", "--source", make, SOURCE_ARGUMENTS)
    asked = [parameter for parameter in inspect.signature(make).parameters.values() if parameter.name == "data_root"]
    if data_root is not None and not asked:
        raise ConfigError(
            "command line", "--data-root", data_root, f"{written} does not ask for data_root; leave it out"
        )
    if data_root is None and asked and asked[0].default is asked[0].empty:
        raise ConfigError("command line", "--data-root", None, f"is needed: {written} asks for data_root")
    return CheckedSource(call_with(make, **there), written)


def _run(data_sources: str, n: str, options: DataOptions, write: Write) -> int:
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    def run() -> None:
        with Progress(*columns, console=console) as progress:
            written = write(_Job(data_sources, n, options, progress))
        for path, draws in written:
            print(f"{path}: {sum(len(one.items) for one in draws)} questions")
            for one in draws:
                print(f"  {_told(one)}")

    return exit_code_of(run)


def _told(one: Draw) -> str:
    left_out = {"bad rows": one.bad_rows, "repeated": one.repeated, "also in a test set": one.held_out}
    told = ", ".join(f"{count} {what}" for what, count in left_out.items() if count) or "nothing"
    return f"{one.dataset}:{one.split}: {len(one.items)} of {one.available} drawn; left out: {told}"


def _datasets(written: str) -> list[str]:
    names = [name.strip() for name in written.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            "command line", "--data-sources", written, "must name data sets, separated by commas, each once"
        )
    return names


def _number(written: str) -> int | None:
    if written == "all":
        return None
    if not written.isascii() or not written.isdigit() or int(written) < 1:
        raise ConfigError("command line", "--n", written, "must be a whole number above 0, or all")
    return int(written)
