"""`router-r1 ask`, which `python infer_vllm.py` calls: questions, shown as they are worked on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from router_r1.benchmark.display import render_answered, render_turn
from router_r1.benchmark.records import trajectory_record
from router_r1.benchmark.runner import first_error
from router_r1.cli.options import Candidates, Policy, Routing, SkipPreflight, router_options
from router_r1.cli.running import exit_code_of, results_only
from router_r1.errors import ConfigError
from router_r1.pool import Deal
from router_r1.printable import printable
from router_r1.prompts import checked_question
from router_r1.protocol import Trajectory, Turn
from router_r1.router import open_method, open_router
from router_r1.routing.config import RoutingConfig
from router_r1.settings import CandidateOptions, PolicyOptions, RouterSettings, make_settings


def ask(
    question: Annotated[str | None, Parameter(name=["--question"])] = None,
    *,
    questions: Path | None = None,
    deal: int | None = None,
    json: bool = False,
    skip_preflight: SkipPreflight = False,
    policy: Policy = PolicyOptions(),
    candidates: Candidates = CandidateOptions(),
    routing: Routing = RoutingConfig(),
) -> int:
    """Ask a trained router, or another method. Without a question, questions are read as you type them.

    The exit code is 0 when every trajectory came to its end, with an answer or without.

    Parameters
    ----------
    question
        The question.
    questions
        File with one question a line; .jsonl: strings, or objects with a question.
    deal
        Of a dealt pool: which of the run's validation deals to ask of (default: 0).
    json
        A JSON object per question on standard output, for machines.
    skip_preflight
        Start without asking every candidate of the pool a word first.
    """

    def run() -> None:
        asked = _asked(question, questions)
        settings = make_settings(router_options(policy, candidates, routing))
        dealt = _deal_of(settings, deal)
        with results_only() as out:
            answers = _Answers(settings, dealt, out, as_json=json)
            asyncio.run(_ask(settings, asked, answers, dealt, check_candidates=not skip_preflight))

    return exit_code_of(run)


def _asked(question: str | None, file: Path | None) -> list[str] | None:
    if question is not None and file is not None:
        raise ConfigError("command line", "--questions", str(file), "does not go with --question; give one of them")
    if question is not None:
        return [checked_question(question, "command line", "--question")]
    return None if file is None else read_question_list(file)


def _deal_of(settings: RouterSettings, number: int | None) -> Deal | None:
    """The candidates that may be asked; None: the whole pool, which is what a method is always given."""
    dealt = None if settings.method else settings.deal(number or 0)
    if number is not None and (dealt is None or number < 0):
        remedy = "must be 0 or more" if dealt else "is for a trained router and a pool with deals; leave it out"
        raise ConfigError("command line", "--deal", number, remedy)
    return dealt


def read_question_list(file: Path) -> list[str]:
    """The questions of a text or JSONL file; blank lines are passed over.

    Raises:
        ConfigError: it cannot be read, holds no question, or a line is none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError("command line", "--questions", str(file), f"cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError as fault:
        raise ConfigError(file, "", None, f"is not UTF-8 text: byte {fault.start} cannot be decoded") from None
    lines = [(f"{file}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ConfigError(file, "", None, "holds no question")
    in_json = file.suffix == ".jsonl"
    return [checked_question(_in_json(line, place) if in_json else line.strip(), place, "") for place, line in lines]


def _in_json(line: str, place: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as fault:
        raise ConfigError(place, "", None, f"is not valid JSON: {fault}") from None
    question = found.get("question") if isinstance(found, dict) else found
    if not isinstance(question, str):
        raise ConfigError(place, "question", question, 'must be a string, or an object like {"question": "Who?"}')
    return question


Answer = Callable[[str, str, Callable[[Turn], None] | None], Awaitable[Trajectory]]
"""(question, request id, watch) -> trajectory."""


@asynccontextmanager
async def _answering(settings: RouterSettings, deal: Deal | None, check_candidates: bool) -> AsyncIterator[Answer]:
    """The router, or the method, as a function."""
    candidates: dict[str, Any] = {"check_candidates": check_candidates, "stop_when_refused": True}
    if settings.method:
        async with open_method(settings, **candidates) as (method, *_):
            yield lambda question, name, watch: method.answer(question, request_id=name)
    else:
        async with open_router(settings, quick_start=True, **candidates) as router:
            yield lambda question, name, watch: router.answer(question, deal=deal, request_id=name, watch=watch)


async def _ask(
    settings: RouterSettings,
    questions: list[str] | None,
    answers: _Answers,
    deal: Deal | None,
    *,
    check_candidates: bool,
) -> None:
    async with _answering(settings, deal, check_candidates) as answer:
        if questions is None:
            await _converse(answer, answers)
        elif len(questions) == 1:
            await answers.live(answer, 0, questions[0])
        else:
            await _ask_all(answer, questions, answers)


async def _ask_all(answer: Answer, questions: Sequence[str], answers: _Answers) -> None:
    """All at once, shown in order; the first error cancels the rest."""

    async def one(number: int) -> tuple[Trajectory, float]:
        started = time.monotonic()
        trajectory = await answer(questions[number], _request_id(number), None)
        return trajectory, time.monotonic() - started

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(len(questions))]
            for question, task in zip(questions, tasks, strict=True):
                answers.whole(question, *await task)
    except BaseExceptionGroup as faults:
        raise first_error(faults) from None


async def _converse(answer: Answer, answers: _Answers) -> None:
    number = 0
    async for line in _typed_lines():
        try:
            question = checked_question(line, "standard input", "question")
        except ConfigError as fault:
            print(f"error: {fault}", file=sys.stderr)
            continue
        await answers.live(answer, number, question)
        number += 1


async def _typed_lines() -> AsyncIterator[str]:
    """Lines of standard input, as they come.

    A thread in `input()` could not be ended by Ctrl-C, so the event loop waits for them itself.
    """
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    kept = b""
    while True:
        print("question> ", end="", file=sys.stderr, flush=True)
        while b"\n" not in kept:
            typed = asyncio.Event()
            try:
                loop.add_reader(descriptor, typed.set)
                await typed.wait()
            except PermissionError:
                pass  # a regular file: reading it never waits
            finally:
                loop.remove_reader(descriptor)
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                if kept.strip():
                    yield kept.decode("utf-8", "surrogateescape")
                return
            kept += chunk
        line, _, kept = kept.partition(b"\n")
        yield line.decode("utf-8", "surrogateescape")


def _request_id(number: int) -> str:
    """Seeds of sampled turns come from it: the same command gives the same trajectories."""
    return f"question-{number}"


class _Answers:
    """Shows questions, trajectories and totals, for people or for machines."""

    def __init__(self, settings: RouterSettings, deal: Deal | None, out: IO[str], *, as_json: bool) -> None:
        self._settings, self._deal, self._out, self._as_json = settings, deal, out, as_json
        self._console = Console(file=out, highlight=False, soft_wrap=True)

    async def live(self, answer: Answer, number: int, question: str) -> None:
        """Ask one question and show its trajectory turn by turn."""
        started = time.monotonic()
        if self._settings.method:  # it tells of no turn before its end
            trajectory = await answer(question, _request_id(number), None)
            self.whole(question, trajectory, time.monotonic() - started)
            return
        if not self._as_json:
            self._show_question(question)
        watch = None if self._as_json else self._show_turn
        trajectory = await answer(question, _request_id(number), watch)
        if self._as_json:
            self._write_json(question, trajectory, time.monotonic() - started)
        else:
            self._show_end(trajectory)

    def whole(self, question: str, trajectory: Trajectory, seconds: float) -> None:
        """Show a finished trajectory."""
        if self._as_json:
            self._write_json(question, trajectory, seconds)
            return
        self._show_question(question)
        for turn in trajectory.turns:
            self._console.print(render_turn(turn))
            self._show_if_any(render_answered(turn) if turn is not trajectory.turns[-1] else Text())
        self._show_end(trajectory)

    def _show_question(self, question: str) -> None:
        if self._deal:
            names = ", ".join(f"{shown.name} ({shown.candidate})" for shown in self._deal.shown)
            self._console.print(Text(f"Dealt: {printable(names)}", style="dim"))
        self._console.print(Text(f"Question: {printable(question)}\n", style="bold"))

    def _show_turn(self, turn: Turn) -> None:
        """The loop tells of a turn when it is generated, and again when it is answered."""
        self._show_if_any(render_answered(turn) if turn.observation else render_turn(turn))
        self._out.flush()

    def _show_if_any(self, text: Text) -> None:
        if text:
            self._console.print(text)

    def _show_end(self, trajectory: Trajectory) -> None:
        if trajectory.turns:
            self._show_if_any(render_answered(trajectory.turns[-1]))
        routes, failed = len(trajectory.routes), trajectory.failed_routes
        total = f"{routes} route{'' if routes == 1 else 's'}{f' ({failed} failed)' if failed else ''}"
        cost = f"raw cost {trajectory.raw_cost:.4g}, spent {trajectory.spend_usd:.3g} USD"
        self._console.print(Text(f"\n{total}, {cost}, status {trajectory.status.value}", style="dim"))
        if trajectory.answer is None:
            self._console.print(Text("No answer.", style="bold red"))
        else:
            self._console.print(Text(f"Answer: {printable(trajectory.answer)}", style="bold green"))
        self._out.flush()

    def _write_json(self, question: str, trajectory: Trajectory, seconds: float) -> None:
        settings, options = self._settings, self._settings.options
        policy = {"model_path": options.model_path, "base_urls": list(options.base_url), "method": options.method}
        setting = {"pool": settings.pool.name, "template": settings.template.name, "seconds": seconds}
        if settings.template.tells_cost_weight:
            setting["cost_weight"] = settings.cost_weight
        dealt = {"candidates": self._deal.as_rows() if self._deal else None}
        record: dict[str, Any] = {"question": question, **dealt, **trajectory_record(trajectory), **policy, **setting}
        json.dump(record, self._out, ensure_ascii=False)
        self._out.write("\n")
        self._out.flush()
