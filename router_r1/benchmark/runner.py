"""A benchmark: all trajectories of a router, or of another method, on test questions, and what comes of them.

All are asked at once: what limits them is the engine's batch and the candidates' own limits; none waits for another.
Each is written down when it is finished, so that whatever ends a benchmark early, `resume` goes on from there. A fault
of the engine ends it; a failed route counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from router_r1.atomic import appending
from router_r1.benchmark.folders import open_folder
from router_r1.benchmark.metrics import Results, summarise, write_results
from router_r1.benchmark.plots import write_figures
from router_r1.benchmark.questions import PromptedQuestion, check_lengths, read_test_questions
from router_r1.benchmark.records import Record, append, benchmark_record, key_of, read_records
from router_r1.benchmark.report import write_report
from router_r1.candidate_answers import OfferedQuestion, TooManyFailed, ask_every_candidate, left_to_ask, read_table
from router_r1.datasets.parquet import read_provenance
from router_r1.errors import ConfigError
from router_r1.event_loops import wait_for
from router_r1.pool import RoutingPool, offered_names
from router_r1.prompts.cost_words import cost_word
from router_r1.protocol import Trajectory
from router_r1.rewards.cost import NEUTRAL
from router_r1.rewards.rubric import score
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.router import open_method, open_router
from router_r1.routing import RouteService
from router_r1.runs import CONSTANTS_FILE, provenance
from router_r1.settings import RouterOptions, RouterSettings, make_settings

TRAJECTORIES_FILE = "trajectories.jsonl"


Answer = Callable[[PromptedQuestion, str], Awaitable[Trajectory]]
"""(question, request id) -> trajectory."""


class Benchmark:
    """Test questions for a router or another method: checked when it is made, rolled out by `run`.

    Args:
        options: which router or method, which candidates.
        data: question files (parquet); none for those of the router's run.
        out: folder for the results; None for `results/<name>-<time>`.
        resume: go on with the unfinished benchmark in `out`.
        n_samples: trajectories per question.
        limit: at most so many questions of each data set; None for all.
        skip_preflight: start without asking every candidate a word first.
        constants: ask every candidate every question too, so that the router is told beside the best constant one; None
            for simulated candidates only.

    Attributes:
        folder: where trajectories, results, pictures and report go.

    Raises:
        ConfigError: an option, a file or a row is wrong, or `out` holds something else.
    """

    def __init__(
        self,
        options: RouterOptions,
        *,
        data: Sequence[str | Path] = (),
        out: Path | None = None,
        resume: bool = False,
        n_samples: int = 1,
        limit: int | None = None,
        skip_preflight: bool = False,
        constants: bool | None = None,
    ) -> None:
        self.settings = settings = make_settings(options)
        check_numbers(settings, n_samples=n_samples, limit=limit)
        self.files = list(data) or files_of_run(settings)
        # A method reads the question alone, so that whatever prompt a file holds is no matter.
        render = (options.template, options.cost_weight, settings.method) != (None, None, None)
        self.questions = read_test_questions(self.files, settings, render=render, limit=limit)
        if resume and out is None:
            raise ConfigError("command line", "--resume", None, "needs --out DIR: the folder to go on with")
        self.n_samples, self._skip_preflight = n_samples, skip_preflight
        self._asks_constants = settings.simulated if constants is None else constants
        self.folder = out or _default_folder(settings)
        self._done = take_up(self.folder, setting_of(settings, self.questions, n_samples), resume=resume)

    def run(self) -> Results:
        """Roll out what is left to do, and write `results.json`, `results.csv`, pictures and `report.html`.

        Raises:
            ConfigError: a prompt that does not fit, or a candidate that cannot be asked, before an engine starts; or
                an endpoint that is not there.
            RuntimeError: the engine or the policy's endpoint failed, or a candidate's key or model is refused from now
                on; finished trajectories are in the folder.
        """
        calls = run_benchmark(
            self.settings,
            self.questions,
            self.folder,
            n_samples=self.n_samples,
            done=self._done,
            skip_preflight=self._skip_preflight,
            constants=self._asks_constants,
        )
        records = wait_for(calls)
        facts = self._facts()
        table = read_table(self.folder / CONSTANTS_FILE)
        results = summarise(records, self.settings.pool.names, table)
        write_results(self.folder, results, facts)
        write_report(self.folder, results, records, write_figures(self.folder, results, table), facts)
        return results

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        notes = ["these are the figures of the questions asked, not of the whole data sets"]
        asked = self.folder / CONSTANTS_FILE
        if asked.exists() and read_table(asked) is None:
            notes.append("what the candidates alone would score is not known: too many of their routes failed")
        if self.settings.method:
            notes.insert(0, f"what was asked is the method {self.settings.options.method}, not a trained router")
            if self.settings.pool.deals:
                notes.append("the method may ask the whole pool, where a router is dealt a part of it")
        if self.settings.simulated and self.settings.pool.recorded:
            notes.append(f"the candidates say what was recorded in {self.settings.pool.recorded.file}")
        elif self.settings.simulated:
            notes.append("the candidates are simulated: nothing follows for real ones, nor for the benchmarks")
        if (weight := self.settings.options.cost_weight) is not None and not self.settings.method:
            notes.append(f"every prompt says that cost counts {cost_word(weight)} (cost weight {weight:g})")
        return notes

    def _facts(self) -> dict[str, Any]:
        return {
            "seed": self.settings.options.seed,
            "n_samples": self.n_samples,
            "data": [str(file) for file in self.files],
            "draws": {str(file): read_provenance(file) for file in self.files},
            "config": self.settings.as_config(),
            "notes": self.notes,
            **provenance(),
        }


def check_numbers(settings: RouterSettings, *, n_samples: int, limit: int | None) -> None:
    """See that so many trajectories of so many questions are worth asking for.

    Raises:
        ConfigError: they are not.
    """
    for key, value in (("--n", n_samples), ("--limit", limit)):
        if value is not None and value < 1:
            raise ConfigError("command line", key, value, "must be at least 1")
    if n_samples > 1 and settings.sampling.temperature == 0 and not settings.method:
        remedy = "greedy trajectories are all alike; give a --temperature above 0"
        raise ConfigError("command line", "--n", n_samples, remedy)


def files_of_run(settings: RouterSettings) -> list[str | Path]:
    """The question files of a run.

    Raises:
        ConfigError: there are none.
    """
    files = settings.run.get("val_files") or []
    if not files:
        remedy = "is needed: this policy comes from no run with test questions (--run latest is the one trained last)"
        raise ConfigError("command line", "--data", None, remedy)
    assert settings.run_dir is not None
    written = [files] if isinstance(files, str) else files
    # Those that it made itself are written as seen from its folder; joining leaves a whole path as it is.
    return [file if "://" in file else settings.run_dir / file for file in written]


def _default_folder(settings: RouterSettings) -> Path:
    options = settings.options
    name = options.method or (settings.run_dir.name if settings.run_dir else Path(options.model_path or "served").name)
    return Path("results", f"{name.replace(':', '.').replace('/', '.')}-{datetime.now():%Y%m%d-%H%M%S}")


def take_up(folder: Path, setting: dict[str, Any], *, resume: bool) -> list[Record]:
    """Make the folder of trajectories, or take up an unfinished one; the records of earlier attempts.

    Arguments and errors: `open_folder`.
    """
    open_folder(folder, setting, kept=TRAJECTORIES_FILE, resume=resume)
    return read_records(folder / TRAJECTORIES_FILE)


def setting_of(settings: RouterSettings, questions: Sequence[PromptedQuestion], n_samples: int) -> dict[str, Any]:
    """What the trajectories depend on. How many engines make them is no part of it."""
    digest = hashlib.sha256()
    for q in questions:
        asked = [q.data_source, q.index, q.question.text, q.question.golden_answers, list(map(dict, q.messages))]
        if q.deal:  # or else as it was before there were deals, so that an earlier benchmark can be gone on with
            asked.append(q.deal.as_rows())
        digest.update(json.dumps(asked).encode())
    facts = {"n_samples": n_samples, "num_questions": len(questions), "questions_sha256": digest.hexdigest()}
    return {**settings.resume_key(), **facts}


async def run_benchmark(
    settings: RouterSettings,
    questions: Sequence[PromptedQuestion],
    folder: Path,
    *,
    n_samples: int = 1,
    done: Sequence[Record] = (),
    skip_preflight: bool = False,
    constants: bool = False,
) -> list[Record]:
    """Roll out all questions, `n_samples` times each, but for those that are `done`; all records.

    With `constants`, every candidate is asked every question then, through the same route service. Errors as in
    `Benchmark.run`.
    """
    finished = {key_of(record) for record in done}
    left = [
        (question, sample)
        for question in questions
        for sample in range(n_samples)
        if (question.data_source, question.index, sample) not in finished
    ]
    offered = [offered_question(question, settings.pool) for question in questions] if constants else []
    if not left and not left_to_ask(offered, folder / CONSTANTS_FILE):
        return list(done)

    async def ask_all(answer: Answer, routes: RouteService, pool: RoutingPool) -> list[Record]:
        records = await roll_out_left(answer, pool)
        if not offered:
            return records
        await ask_constants(offered, folder, routes, pool)
        return records

    async def roll_out_left(answer: Answer, pool: RoutingPool) -> list[Record]:
        with appending(folder / TRAJECTORIES_FILE) as sink, Tally(len(questions) * n_samples) as tally:
            for record in done:
                tally.add(record)
            return [*done, *await roll_out_all(answer, pool, left, sink, tally.add)]

    candidates: dict[str, Any] = {"check_candidates": not skip_preflight, "stop_when_refused": True}
    if settings.method:
        async with open_method(settings, **candidates) as (method, routes, pool):
            return await ask_all(lambda q, name: method.answer(q.question.text, request_id=name), routes, pool)
    model_path = settings.options.model_path
    tokenizer = load_tokenizer(model_path) if model_path else None
    if tokenizer is not None:
        check_lengths(questions, tokenizer, settings.limits.max_prompt_length)
    async with open_router(settings, tokenizer=tokenizer, **candidates) as router:
        if tokenizer is None:
            check_lengths(questions, router.tokenizer, settings.limits.max_prompt_length)

        def roll_out(q: PromptedQuestion, name: str) -> Awaitable[Trajectory]:
            return router.roll_out(q.messages, request_id=name, deal=q.deal)

        return await ask_all(roll_out, router.routes, router.pool)


async def ask_constants(
    offered: Sequence[OfferedQuestion], folder: Path, routes: RouteService, pool: RoutingPool
) -> None:
    """Ask every candidate every question, with a progress bar; what is answered is in the folder. Routes that fail end
    it, but are no error: nothing is told of constants then."""
    with _progress() as progress, suppress(TooManyFailed):
        task = progress.add_task("every candidate, every question", total=None)
        await ask_every_candidate(
            offered,
            pool=pool,
            routes=routes,
            file=folder / CONSTANTS_FILE,
            told=lambda count, total: progress.update(task, completed=count, total=total),
        )


def offered_question(asked: PromptedQuestion, pool: RoutingPool) -> OfferedQuestion:
    """The question as candidates are asked it: whole."""
    question = asked.question
    key = (asked.data_source, asked.index)
    return OfferedQuestion(key, asked.kind, question.text, question.golden_answers, offered_names(pool, asked.deal))


async def roll_out_all(
    answer: Answer,
    pool: RoutingPool,
    asked: Sequence[tuple[PromptedQuestion, int]],
    sink: IO[str],
    finished: Callable[[Record], None],
) -> list[Record]:
    """Every (question, sample) at once; the first error cancels the rest."""

    async def one(question: PromptedQuestion, sample: int) -> Record:
        # Seeds of sampled turns come from it: it names the trajectory, whatever engine makes it, and when.
        request_id = f"{quote(question.data_source)}-{question.index}-{sample}"
        started = time.monotonic()
        trajectory = await answer(question, request_id)
        latency_s = time.monotonic() - started
        # There is no window of training costs here, and nothing reported depends on the cost term.
        golden = question.question.golden_answers
        reward = score(trajectory, golden, pool=pool, cost=NEUTRAL, deal=question.deal)
        record = benchmark_record(question, sample, trajectory, reward, latency_s)
        append(sink, record)
        finished(record)
        return record

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question, sample)) for question, sample in asked]
    except BaseExceptionGroup as faults:
        raise first_error(faults) from None
    return [task.result() for task in tasks]


def first_error(faults: BaseExceptionGroup) -> BaseException:
    """What ended a task group."""
    first = faults.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


class Tally(AbstractContextManager["Tally"]):
    """A progress bar with EM and spend so far.

    Args:
        label: what stands before them.
    """

    def __init__(self, total: int, label: str = "") -> None:
        self._progress, self._label = _progress(), label
        self._task = self._progress.add_task(label or "trajectories", total=total)
        self._count, self._em, self._spend = 0, 0.0, 0.0

    def __enter__(self) -> Tally:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, record: Record) -> None:
        self._count += 1
        self._em += record["em"]
        self._spend += record["spend_usd"]
        told = f"{self._label} EM {self._em / self._count:.3f}, spent {self._spend:.4g} USD"
        self._progress.update(self._task, advance=1, description=told.lstrip())
