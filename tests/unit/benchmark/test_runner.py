"""All trajectories at once: none is lost, none waits, and the first error ends them."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.benchmark.questions import PromptedQuestion
from router_r1.benchmark.runner import roll_out_all
from router_r1.datasets import Question
from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.protocol import Answer, Status, Trajectory, Turn

FREE = Price(input=0, output=0)
POOL = RoutingPool(
    name="one", candidates=(Candidate(name="A", model="a", price=FREE, descriptor="x", base_url="http://h/v1"),)
)


class Router:
    """Answers every question with its own text; refuses the one that is `bad`."""

    def __init__(self, bad: str = "") -> None:
        self.bad, self.in_flight, self.most_in_flight, self.ids = bad, 0, 0, []

    async def answer(self, asked, request_id):
        self.ids.append(request_id)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        text = asked.question.text
        for _ in range(3 + int(text.rpartition("-")[2])):  # one after the other, as they are numbered
            await asyncio.sleep(0)
        self.in_flight -= 1
        if text == self.bad:
            raise RuntimeError("the engine is dead")
        return Trajectory([1], [Turn([1], [], f"<answer>{text}</answer>", Answer(text))], Status.ANSWERED)


def questions_of(sizes: list[int]) -> list[PromptedQuestion]:
    return [
        PromptedQuestion(
            Question(str(i), f"q{number}-{i}", (f"q{number}-{i}",)),
            f"set {number}/é",
            "any kind",
            i,
            [{"content": f"q{number}-{i}"}],
            "",
        )
        for number, size in enumerate(sizes)
        for i in range(size)
    ]


@settings(max_examples=20)  # each rolls out hundreds of trajectories
@given(st.lists(st.integers(1, 70), min_size=1, max_size=4), st.integers(1, 3))
def test_no_row_is_lost_whatever_the_sizes_are(sizes, n_samples):
    """There are no batches, and so no short last one that could be dropped."""
    asked = [(question, sample) for question in questions_of(sizes) for sample in range(n_samples)]
    router, sink, told = Router(), io.StringIO(), []
    records = asyncio.run(roll_out_all(router.answer, POOL, asked, sink, told.append))
    assert [(r["question"], r["sample"]) for r in records] == [(q.question.text, sample) for q, sample in asked]
    assert all(r["em"] == 1.0 for r in records)
    assert len(told) == len(sink.getvalue().splitlines()) == len(asked)
    assert router.most_in_flight == len(asked)
    assert len(set(router.ids)) == len(asked)
    assert all(i.isascii() for i in router.ids), "they go into an HTTP header"


def test_the_first_error_ends_all_and_what_was_finished_is_written():
    sink, asked = io.StringIO(), [(q, 0) for q in questions_of([9])]
    with pytest.raises(RuntimeError, match="the engine is dead"):
        asyncio.run(roll_out_all(Router(bad="q0-4").answer, POOL, asked, sink, lambda _: None))
    finished = [json.loads(line)["question"] for line in sink.getvalue().splitlines()]
    assert finished == [f"q0-{i}" for i in range(4)]
