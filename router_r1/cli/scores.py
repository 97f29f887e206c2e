"""`router-r1 scores collect | import | show`: what every candidate scores on every question, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from router_r1.cli.options import Routing, SkipPreflight
from router_r1.cli.running import exit_code_of, results_only
from router_r1.errors import ConfigError
from router_r1.printable import printable
from router_r1.routing.config import RoutingConfig
from router_r1.scores.prices import REPLY_TOKENS
from router_r1.settings import RouterOptions

app = App(name="scores", help="What every candidate scores on every question: gathered, brought along, looked at.")


class AskedCandidates(BaseModel):
    """Which candidates are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: str | None = None
    """Routing pool: a file, or the name of one that comes with the project (default: that of --run)."""
    run: str | None = None
    """A training run: its pool and, of the simulated pool, its world."""
    runs: Path = Path("runs")
    """Folder that the runs are in."""
    sim_qa: tuple[str, ...] = ()
    """For the simulated pool: FlashRAG files or folders whose questions it knows (default: the run's)."""
    api_base: str | None = None
    """Endpoint of all candidates, instead of the pool file's."""
    api_key: str | None = None
    """The candidates' API key; safer is the environment variable that the pool file names in api_key_env."""


Asked = Annotated[AskedCandidates, Parameter(name="*", group="Candidates")]


@app.command
def collect(
    *,
    data: tuple[Path, ...],
    out: Path,
    n_samples: Annotated[int, Parameter(name=["--n", "--n-samples"])] = 1,
    temperature: float | None = None,
    limit: int | None = None,
    resume: bool = False,
    skip_preflight: SkipPreflight = False,
    candidates: Asked = AskedCandidates(),
    routing: Routing = RoutingConfig(),
) -> int:
    """Ask every candidate every question, and write replies, scores and costs.

    Parameters
    ----------
    data
        Question files, parquet.
    out
        The file of scores, .parquet; answers are kept beside it, in .jsonl, while they come.
    n_samples
        Answers of each candidate to each question.
    temperature
        Of every candidate, instead of the pool file's.
    limit
        At most so many questions of each data set.
    resume
        Go on with what is there; more samples or questions than before may be asked.
    skip_preflight
        Start without asking every candidate of the pool a word first.
    """
    begun: list[Path] = []

    def run() -> None:
        from router_r1.scores.collecting import Collection

        options = RouterOptions(**candidates.model_dump(exclude_unset=True), routing=routing)
        collection = Collection(
            options,
            data=data,
            out=out,
            n_samples=n_samples,
            temperature=temperature,
            limit=limit,
            resume=resume,
            skip_preflight=skip_preflight,
        )
        begun.append(out)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with results_only() as to:
            with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
                task = progress.add_task("every candidate, every question", total=None)
                collection.run(lambda done, total: progress.update(task, completed=done, total=total))
            print(_told(out), file=to)

    return exit_code_of(run, how_to_go_on=lambda: f"go on with --resume --out {out}" if begun else "")


@app.command(name="import")
def import_(
    files: Annotated[tuple[Path, ...], Parameter(name="FILES")],
    /,
    *,
    format: str,
    out: Path,
    prices: tuple[str, ...] = (),
    reply_tokens: int = REPLY_TOKENS,
    complete_only: bool = False,
) -> int:
    """Bring scores that others recorded into a file of scores.

    Parameters
    ----------
    files
        What to read; compressed by gzip or not.
    format
        llmrouter, routellm, routerarena, routerbench, or shared (docs/scores.md).
    out
        The file of scores, .parquet.
    prices
        NAME=INPUT/OUTPUT in USD per 1M tokens, or files of prices: a pool, or JSON of LLMRouter or RouterArena.
    reply_tokens
        Assumed length of a reply of which neither tokens nor words are known.
    complete_only
        Leave questions out that lack a candidate, rather than refuse them.
    """

    def run() -> None:
        from router_r1.scores.importing import import_scores

        if not files:
            raise ConfigError("command line", "FILES", None, "is needed: what to read")
        checked = import_scores(
            format, files, out, prices=prices, reply_tokens=reply_tokens, complete_only=complete_only
        )
        print(_told(out))
        for count, what in (
            (checked.incomplete, "questions left out that lack a candidate"),
            (checked.repeated, "rows that said the same once more"),
        ):
            if count:
                print(f"note: {count} {what}")

    return exit_code_of(run)


@app.command
def show(file: Path, /) -> int:
    """Print what a file of scores holds: questions, candidates, constants, oracle, how it was come by.

    Parameters
    ----------
    file
        The file of scores.
    """
    return exit_code_of(lambda: print(_told(file)))


def _told(file: Path) -> str:
    from router_r1.scores.summary import summary

    return printable(summary(file))
