"""All trajectories of a benchmark at once.

What limits them is the engine's batch and the candidates' own limits; none waits for another. Each is written down when
it is finished, so that whatever ends a benchmark early, `resume` goes on from there. A fault of the engine ends it; a
failed route counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.benchmark.questions import PromptedQuestion, check_lengths
from router_r1.benchmark.records import Record, append, appending, benchmark_record, key_of, read_records
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool
from router_r1.protocol import Trajectory
from router_r1.rewards.cost import NEUTRAL
from router_r1.rewards.rubric import score
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.router import open_session
from router_r1.settings import Plan

TRAJECTORIES_FILE = "trajectories.jsonl"
SETTING_FILE = "setting.json"


class Router(Protocol):
    """What rolls out questions: a `session.Session`."""

    @property
    def pool(self) -> RoutingPool: ...

    async def roll_out(self, messages: Sequence[Mapping[str, str]], *, request_id: str) -> Trajectory: ...


def open_folder(folder: Path, setting: dict[str, Any], *, resume: bool) -> list[Record]:
    """Make the folder of a benchmark, or take up an unfinished one.

    Args:
        setting: everything the trajectories depend on, as JSON types; kept in the folder.
        resume: go on with what is there.

    Returns:
        The records of earlier attempts.

    Raises:
        ConfigError: it holds another benchmark, or trajectories that nobody asked to go on with.
    """
    file, kept = folder / SETTING_FILE, folder / TRAJECTORIES_FILE
    if not resume and ((folder / RESULTS_FILE).exists() or kept.exists()):
        remedy = "already holds trajectories; give another folder, or --resume to go on with them"
        raise ConfigError("command line", "--out", str(folder), remedy)
    if not resume or not file.exists():
        if kept.exists():
            raise ConfigError("command line", "--resume", str(folder), f"holds no {SETTING_FILE}; give another folder")
        try:
            write_text(file, json.dumps(setting, indent=2, ensure_ascii=False) + "\n")
        except OSError as fault:
            raise ConfigError("command line", "--out", str(folder), f"cannot be made: {fault.strerror}") from None
        return []
    before = json.loads(file.read_text(encoding="utf-8"))
    for key, value in json.loads(json.dumps(setting)).items():
        if before.get(key) != value:
            remedy = "differs from this command's; --resume goes on with the same policy, questions and setting only"
            raise ConfigError(file, key, before.get(key), remedy)
    return read_records(kept)


def setting_of(plan: Plan, questions: Sequence[PromptedQuestion], n_samples: int) -> dict[str, Any]:
    """What the trajectories depend on. How many engines make them is no part of it."""
    digest = hashlib.sha256()
    for q in questions:
        asked = [q.data_source, q.index, q.question.text, q.question.golden_answers, list(map(dict, q.messages))]
        digest.update(json.dumps(asked).encode())
    config = {key: value for key, value in plan.as_config().items() if key not in ("base_urls", "replicas")}
    return {**config, "n_samples": n_samples, "num_questions": len(questions), "questions_sha256": digest.hexdigest()}


async def run_benchmark(
    plan: Plan, questions: Sequence[PromptedQuestion], folder: Path, *, n_samples: int = 1, done: Sequence[Record] = ()
) -> list[Record]:
    """Roll out all questions, `n_samples` times each, but for those that are `done`; all records.

    Raises:
        ConfigError: a prompt that does not fit, before an engine starts; or an endpoint that is not there.
        RuntimeError: the engine or the policy's endpoint failed; finished trajectories are in `folder`.
    """
    finished = {key_of(record) for record in done}
    left = [
        (question, sample)
        for question in questions
        for sample in range(n_samples)
        if (question.data_source, question.index, sample) not in finished
    ]
    if not left:
        return list(done)
    tokenizer = load_tokenizer(plan.model_path) if plan.model_path else None
    if tokenizer is not None:
        check_lengths(questions, tokenizer, plan.limits.max_prompt_length)
    async with open_session(plan, tokenizer=tokenizer) as session:
        if tokenizer is None:
            check_lengths(questions, session.tokenizer, plan.limits.max_prompt_length)
        with appending(folder / TRAJECTORIES_FILE) as sink, _Tally(len(questions) * n_samples) as tally:
            for record in done:
                tally.add(record)
            return [*done, *await roll_out_all(session, left, sink, tally.add)]


async def roll_out_all(
    router: Router, asked: Sequence[tuple[PromptedQuestion, int]], sink: IO[str], finished: Callable[[Record], None]
) -> list[Record]:
    """Every (question, sample) at once; the first error cancels the rest."""

    async def one(question: PromptedQuestion, sample: int) -> Record:
        # Seeds of sampled turns come from it: it names the trajectory, whatever engine makes it, and when.
        request_id = f"{quote(question.data_source)}-{question.index}-{sample}"
        started = time.monotonic()
        trajectory = await router.roll_out(question.messages, request_id=request_id)
        latency_s = time.monotonic() - started
        # No window of training costs here, and nothing reported depends on it.
        reward = score(trajectory, question.question.golden_answers, pool=router.pool, cost=NEUTRAL)
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


class _Tally(AbstractContextManager["_Tally"]):
    """A progress bar with EM and spend so far."""

    def __init__(self, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._task = self._progress.add_task("trajectories", total=total)
        self._count, self._em, self._spend = 0, 0.0, 0.0

    def __enter__(self) -> _Tally:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, record: Record) -> None:
        self._count += 1
        self._em += record["em"]
        self._spend += record["spend_usd"]
        told = f"EM {self._em / self._count:.3f}, spent {self._spend:.4g} USD"
        self._progress.update(self._task, advance=1, description=told)
