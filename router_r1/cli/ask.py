"""`python infer_vllm.py`: questions to a trained router, shown as they are worked on. The engine is loaded once."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from router_r1.benchmark.records import trajectory_record
from router_r1.benchmark.rendering import printable, render_answered, render_turn
from router_r1.benchmark.runner import first_error
from router_r1.cli.running import exit_code_of, results_only
from router_r1.errors import ConfigError
from router_r1.protocol import Trajectory, Turn
from router_r1.router import Session, open_session
from router_r1.settings import Plan, add_arguments, make_plan, options_of


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when every trajectory came to its end, with an answer or without."""
    arguments = _parser().parse_args(argv)
    return exit_code_of(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infer_vllm.py",
        description="Ask a trained router. Without --question and --questions, questions are read as you type them.",
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--question")
    asked.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="one question a line; .jsonl: strings, or objects with a question",
    )
    parser.add_argument(
        "--json", action="store_true", help="a JSON object per question on standard output, for machines"
    )
    add_arguments(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    questions: list[str] | None = None
    if arguments.question is not None:
        questions = [checked_question(arguments.question, "command line", "--question")]
    elif arguments.questions is not None:
        questions = read_questions(arguments.questions)
    plan = make_plan(options_of(arguments))
    with results_only() as out:
        asyncio.run(_ask(plan, questions, _Answers(plan, out, as_json=arguments.json)))


def checked_question(question: str, source: object, key: str) -> str:
    """The question itself.

    Raises:
        ConfigError: it is empty, or no text at all.
    """
    if not question.strip():
        raise ConfigError(source, key, question, "is empty; ask something")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(source, key, None, "is no valid UTF-8 text") from None
    return question


def read_questions(file: Path) -> list[str]:
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


async def _ask(plan: Plan, questions: list[str] | None, answers: _Answers) -> None:
    async with open_session(plan, quick_start=True) as session:
        if questions is None:
            await _converse(session, answers)
        elif len(questions) == 1:
            await answers.live(session, 0, questions[0])
        else:
            await _ask_all(session, questions, answers)


async def _ask_all(session: Session, questions: Sequence[str], answers: _Answers) -> None:
    """All at once, shown in order; the first error cancels the rest."""

    async def one(number: int) -> tuple[Trajectory, float]:
        started = time.monotonic()
        trajectory = await session.ask(questions[number], request_id=_request_id(number))
        return trajectory, time.monotonic() - started

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(len(questions))]
            for question, task in zip(questions, tasks, strict=True):
                answers.whole(question, *await task)
    except BaseExceptionGroup as faults:
        raise first_error(faults) from None


async def _converse(session: Session, answers: _Answers) -> None:
    number = 0
    async for line in _typed_lines():
        try:
            question = checked_question(line, "standard input", "question")
        except ConfigError as fault:
            print(f"error: {fault}", file=sys.stderr)
            continue
        await answers.live(session, number, question)
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

    def __init__(self, plan: Plan, out: IO[str], *, as_json: bool) -> None:
        self._plan, self._out, self._as_json = plan, out, as_json
        self._console = Console(file=out, highlight=False, soft_wrap=True)

    async def live(self, session: Session, number: int, question: str) -> None:
        """Ask one question and show its trajectory turn by turn."""
        started = time.monotonic()
        if not self._as_json:
            self._show_question(question)
        watch = None if self._as_json else self._show_turn
        trajectory = await session.ask(question, request_id=_request_id(number), watch=watch)
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
        plan = self._plan
        policy = {"model_path": plan.model_path, "base_urls": list(plan.base_urls)}
        setting = {"pool": plan.pool.name, "template": plan.template.name, "seconds": seconds}
        record: dict[str, Any] = {"question": question, **trajectory_record(trajectory), **policy, **setting}
        json.dump(record, self._out, ensure_ascii=False)
        self._out.write("\n")
        self._out.flush()
