"""Every candidate, asked every question that is meant for it: what the constant routers and scores are made of.

Questions are asked whole, also those of several hops, once each or several times. A reply is a sentence: it is right if
it holds a golden answer (`rewards.outcome.holds_answer`), so that a candidate gets the EM of a router that asks it and
always takes the right words out of what it says.

What is answered is a line of a file at once: whatever ends the asking, it goes on from there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from router_r1.atomic import appending
from router_r1.constant_routers import Asked, CandidateTable, Key
from router_r1.rewards.outcome import f1_score, holds_answer

if TYPE_CHECKING:
    from router_r1.pool import RoutingPool
    from router_r1.protocol import Route
    from router_r1.rollout.policy import Dispatcher

MAX_FAILED_SHARE = 0.1
"""Of all routes. A question of which one failed is left out; with more of them, what is left is no fair sample."""

MAX_IN_FLIGHT = 128
"""Routes to all candidates together: forty simulated ones, each at its own limit, would swamp what serves them."""


class TooManyFailed(RuntimeError):
    """So many routes failed that nothing can be said of the candidates."""


@dataclass(frozen=True)
class OfferedQuestion:
    """A question, and whom it is asked of."""

    key: Key
    kind: str
    text: str
    golden_answers: tuple[str, ...]
    candidates: tuple[str, ...]
    """The pool's own names."""


@dataclass(frozen=True, kw_only=True)
class CandidateAnswer:
    """One candidate's answer to one question: a line of the file."""

    data_source: str
    index: int
    kind: str
    offered: int  # candidates that the question is asked of
    candidate: str
    sample: int = 0
    reply: str | None = None  # None in a file of an earlier version, as are the three below
    em: float  # 1.0 if the reply holds a golden answer
    f1: float  # token F1 of the whole reply
    raw_cost: float  # micro-USD of output
    spend_usd: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    failed: bool

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What was asked: data source and index of the question, candidate, sample."""
        return self.data_source, self.index, self.candidate, self.sample


Asking = tuple[OfferedQuestion, str, int]
"""(question, candidate, sample)"""


def left_to_ask(questions: Sequence[OfferedQuestion], file: Path, n_samples: int = 1) -> list[Asking]:
    """All that the file does not have yet; failed routes are asked again."""
    answered = {a.key for a in read_answers(file) if not a.failed}
    every = ((q, name, sample) for q in questions for name in q.candidates for sample in range(n_samples))
    return [(q, name, sample) for q, name, sample in every if (*q.key, name, sample) not in answered]


async def ask_every_candidate(
    questions: Sequence[OfferedQuestion],
    *,
    pool: RoutingPool,
    routes: Dispatcher,
    file: Path,
    n_samples: int = 1,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Ask what is left to ask; each candidate at most as many at once as its `max_concurrency`.

    Args:
        file: where the answers go, and earlier ones are.
        n_samples: how often each candidate is asked each question.
        told: after each answer, how many of how many there are.

    Raises:
        TooManyFailed: more than `MAX_FAILED_SHARE` of all; the rest is not asked any more.
        BudgetSpent: nothing more may be spent; or what else `routes` raises.
    """
    left = left_to_ask(questions, file, n_samples)
    total = n_samples * sum(len(question.candidates) for question in questions)
    in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
    failures: list[str] = []
    done = total - len(left)

    with appending(file) as sink:

        async def ask(question: OfferedQuestion, name: str, sample: int) -> None:
            nonlocal done
            async with in_flight:
                route = await routes.route(name, question.text)
            answer = _answer(question, name, sample, route)
            sink.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")
            sink.flush()
            done += 1
            told(done, total)
            if route.failed:
                failures.append(route.error)
            if len(failures) > MAX_FAILED_SHARE * total:
                raise TooManyFailed(f"{len(failures)} of {total} routes failed; the last: {failures[-1]}")

        async def ask_in_turn(asked: Iterator[Asking]) -> None:
            for question, name, sample in asked:
                await ask(question, name, sample)

        try:
            async with asyncio.TaskGroup() as group:
                for candidate in pool.candidates:
                    # A route's time counts from when it is asked for: those that wait here are not late.
                    own = [asking for asking in left if asking[1] == candidate.name]
                    shared = iter(own)
                    for _ in range(min(candidate.max_concurrency, len(own))):
                        group.create_task(ask_in_turn(shared))
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None


def _answer(question: OfferedQuestion, name: str, sample: int, route: Route) -> CandidateAnswer:
    source, index = question.key
    return CandidateAnswer(
        data_source=source,
        index=index,
        kind=question.kind,
        offered=len(question.candidates),
        candidate=name,  # a shared route names the one of two alike that was asked first
        sample=sample,
        reply=None if route.failed else route.reply,
        em=0.0 if route.failed else holds_answer(route.reply, question.golden_answers),
        f1=0.0 if route.failed else f1_score(route.reply, question.golden_answers),
        raw_cost=route.raw_cost,
        spend_usd=route.spend_usd,
        prompt_tokens=route.prompt_tokens,
        completion_tokens=route.completion_tokens,
        latency_s=route.latency_s,
        failed=route.failed,
    )


def read_answers(file: Path) -> list[CandidateAnswer]:
    """All whole lines of the file; none if there is no file."""
    found = []
    with suppress(FileNotFoundError):
        for line in file.read_bytes().split(b"\n")[:-1]:  # behind the last newline stands what a crash left
            found.append(CandidateAnswer(**json.loads(line)))
    return found


def read_table(file: Path) -> CandidateTable | None:
    """The questions that all their candidates have answered, by the first sample of each; None if there are none, or if
    too many routes failed."""
    latest = {a.key: a for a in read_answers(file) if a.sample == 0}
    answers: dict[Key, list[CandidateAnswer]] = {}
    for answer in latest.values():
        answers.setdefault((answer.data_source, answer.index), []).append(answer)
    whole = [a for row in answers.values() if _is_whole(row) for a in row]
    if not whole or sum(a.failed for a in latest.values()) > MAX_FAILED_SHARE * len(latest):
        return None
    return CandidateTable.of(Asked((a.data_source, a.index), a.kind, a.candidate, a.em, a.raw_cost) for a in whole)


def _is_whole(answers: Sequence[CandidateAnswer]) -> bool:
    return len(answers) == answers[0].offered and not any(a.failed for a in answers)
