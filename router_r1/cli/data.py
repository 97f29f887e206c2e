"""`data_process/qa_*.py`: question files for training, validation and benchmarks."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from router_r1.cli.running import exit_code_of
from router_r1.datasets.flashrag import FlashragFolder, FlashragHub
from router_r1.datasets.parquet import write_parquet
from router_r1.datasets.selection import BENCHMARKS, Draw, draw, held_out_questions, rows_of
from router_r1.datasets.source import MAX_BAD_SHARE, DatasetSource, held_out_split
from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.prompts import load_template, render_messages

_POOLS = Path(__file__).resolve().parents[2] / "configs" / "pools"


def train_main(argv: Sequence[str] | None = None) -> int:
    """`qa_train_merge.py`; the exit code."""
    parser = _parser("qa_train_merge.py", "Training questions of several data sets in one file.", n="7000")
    return _run(parser, argv, _write_train)


def validation_main(argv: Sequence[str] | None = None) -> int:
    """`qa_test_merge.py`; the exit code."""
    parser = _parser("qa_test_merge.py", "Validation questions of several data sets in one file.", n="500")
    return _run(parser, argv, _write_validation)


def benchmarks_main(argv: Sequence[str] | None = None) -> int:
    """`qa_test_gen.py`; the exit code."""
    parser = _parser("qa_test_gen.py", "Test questions, one file per data set.", n="500", sources=BENCHMARKS)
    return _run(parser, argv, _write_tests)


def _parser(
    program: str, description: str, *, n: str, sources: Sequence[str] = ("nq", "hotpotqa")
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument(
        "--data_sources", default=",".join(sources), metavar="NAME,...",
        help=f"of {', '.join(BENCHMARKS)} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--model", default="qwen", metavar="qwen|llama|tiny|FILE", help="prompt template (default: %(default)s)"
    )
    parser.add_argument(
        "--n", default=n, metavar="N|all", help="at most so many questions of each data set (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=42, help="of the draw (default: %(default)s)")
    parser.add_argument(
        "--data_root", default=os.environ.get("DATA_ROOT"), metavar="DIR",
        help="folder in FlashRAG's layout, ROOT/<dataset>/<split>.jsonl (default: $DATA_ROOT, or else the hub)",
    )  # fmt: skip
    parser.add_argument(
        "--pool",
        type=Path,
        metavar="FILE",
        help="pool whose candidates the prompts offer (default: paper.yaml; tiny: sim.yaml)",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="(default: %(default)s/)")
    parser.add_argument(
        "--max_bad_share", type=float, default=MAX_BAD_SHARE, metavar="SHARE",
        help="of unusable rows that are skipped before it is an error (default: %(default)s)",
    )  # fmt: skip
    return parser


class _Job:
    """The checked options, and what all three commands do with them."""

    def __init__(self, arguments: argparse.Namespace, progress: Progress) -> None:
        self.progress = progress
        self.datasets = _datasets(arguments.data_sources)
        self.n = _number(arguments.n)
        self.seed: int = arguments.seed
        self.out: Path = arguments.out
        self.root: DatasetSource = FlashragFolder(arguments.data_root) if arguments.data_root else FlashragHub()
        self.max_bad_share: float = arguments.max_bad_share
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError("command line", "--max_bad_share", self.max_bad_share, "must be within 0 and 1")
        self.model = Path(arguments.model).stem
        self.template = load_template(arguments.model)
        default_pool = _POOLS / ("sim.yaml" if arguments.model == "tiny" else "paper.yaml")
        self.pool = load_pool(arguments.pool or default_pool)
        self._reading: TaskID = progress.add_task("reading", total=len(self.datasets))

    def draw(self, dataset: str, split: str, held_out: set[str], taken: set[str]) -> Draw:
        self.progress.update(self._reading, description=f"reading {dataset}:{split}")
        found = draw(
            self.root, dataset, split, self.n, self.seed,
            held_out=held_out, taken=taken, max_bad_share=self.max_bad_share,
        )  # fmt: skip
        self.progress.advance(self._reading)
        return found

    def write(self, kind: str, draws: Sequence[Draw], serves_as: str) -> Path:
        path = self.out / f"{kind}_{'_'.join(one.dataset for one in draws)}_{self.model}.parquet"
        rows = rows_of(draws, serves_as=serves_as, render=partial(render_messages, self.template, self.pool))
        total = sum(len(one.items) for one in draws)
        provenance = {
            "seed": self.seed,
            "n": self.n or "all",
            "template": self.model,
            "pool": self.pool.name,
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
    held_out = held_out_questions(job.root, asked, not_from=[(dataset, "train") for dataset in job.datasets])
    taken: set[str] = set()
    draws = [job.draw(dataset, "train", held_out, taken) for dataset in job.datasets]
    return [(job.write("train", draws, "train"), draws)]


def _write_validation(job: _Job) -> Written:
    taken: set[str] = set()
    draws = [job.draw(dataset, held_out_split(job.root, dataset), set(), taken) for dataset in job.datasets]
    return [(job.write("test", draws, "test"), draws)]


def _write_tests(job: _Job) -> Written:
    draws = [job.draw(dataset, held_out_split(job.root, dataset), set(), set()) for dataset in job.datasets]
    return [(job.write("test", [one], "test"), [one]) for one in draws]


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None, write: Write) -> int:
    arguments = parser.parse_args(argv)
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    def run() -> None:
        with Progress(*columns, console=console) as progress:
            written = write(_Job(arguments, progress))
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
            "command line", "--data_sources", written, "must name data sets, separated by commas, each once"
        )
    return names


def _number(written: str) -> int | None:
    if written == "all":
        return None
    if not written.isascii() or not written.isdigit() or int(written) < 1:
        raise ConfigError("command line", "--n", written, "must be a whole number above 0, or all")
    return int(written)
