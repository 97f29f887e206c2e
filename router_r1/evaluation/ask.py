"""`python infer_vllm.py --question ...`: one question to a trained router, shown as it went."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

from rich.console import Console
from rich.text import Text

from router_r1.errors import ConfigError
from router_r1.evaluation.plan import Plan, add_arguments, make_plan, options_of
from router_r1.evaluation.records import trajectory_record
from router_r1.evaluation.rendering import printable, render_trajectory
from router_r1.evaluation.session import open_session
from router_r1.protocol import Trajectory

EXIT_REFUSED, EXIT_FAILED, EXIT_INTERRUPTED = 2, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the trajectory came to its end, with an answer or without."""
    parser = argparse.ArgumentParser(prog="infer_vllm.py", description="Ask a trained router one question.")
    parser.add_argument("--question", required=True)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for machines")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        question = _checked_question(arguments.question)
        plan = make_plan(options_of(arguments))
        with results_only() as out:
            started = time.monotonic()
            trajectory = asyncio.run(_ask(plan, question))
            seconds = time.monotonic() - started
            if arguments.json:
                json.dump(_as_json(plan, question, trajectory, seconds), out, ensure_ascii=False)
                out.write("\n")
            else:
                show(Console(file=out, highlight=False, soft_wrap=True), question, trajectory)
    except ConfigError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_REFUSED
    except RuntimeError as fault:  # engine, policy endpoint or pool server: each says in its text what happened
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _checked_question(question: str) -> str:
    if not question.strip():
        raise ConfigError("command line", "--question", question, "is empty; ask something")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError("command line", "--question", None, "is not valid text in this terminal's encoding") from None
    return question


async def _ask(plan: Plan, question: str) -> Trajectory:
    async with open_session(plan, quick_start=True) as session:
        return await session.ask(question, request_id=uuid4().hex)


def show(console: Console, question: str, trajectory: Trajectory) -> None:
    """Print question, trajectory, totals and answer."""
    console.print(Text(f"Question: {printable(question)}\n", style="bold"))
    console.print(render_trajectory(trajectory))
    routes, failed = len(trajectory.routes), trajectory.failed_routes
    total = f"{routes} route{'' if routes == 1 else 's'}{f' ({failed} failed)' if failed else ''}"
    cost = f"raw cost {trajectory.raw_cost:.4g}, spent {trajectory.spend_usd:.3g} USD"
    console.print(Text(f"\n{total}, {cost}, status {trajectory.status.value}", style="dim"))
    if trajectory.answer is None:
        console.print(Text("No answer.", style="bold red"))
    else:
        console.print(Text(f"Answer: {printable(trajectory.answer)}", style="bold green"))


def _as_json(plan: Plan, question: str, trajectory: Trajectory, seconds: float) -> dict[str, Any]:
    policy = {"model_path": plan.model_path, "base_url": plan.base_url}
    setting = {"pool": plan.pool.name, "template": plan.template.name, "seconds": seconds}
    return {"question": question, **trajectory_record(trajectory), **policy, **setting}


@contextmanager
def results_only() -> Iterator[IO[str]]:
    """The real standard output, while everything else that writes to it, child processes included, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(os.dup(kept), "w", encoding="utf-8", errors="replace") as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
