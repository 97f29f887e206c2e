"""Gates, paces and the adaptive limit by themselves."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.routing.limits import AdaptiveGate, Clock, Gate, Pace, Quota

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.booleans()),
        st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 30)),
        st.tuples(st.just("limit"), st.integers(1, 4)),
        st.tuples(st.just("turn"), st.just(0)),  # let the event loop run
    ),
    max_size=60,
)


@given(STEPS)
def test_a_gate_keeps_its_limit_and_loses_no_permit_whatever_comes(steps):
    asyncio.run(_drive(steps))


async def _drive(steps):
    gate, limit, inside, waiting = Gate(2), 2, [], []
    highest = limit  # since the last turn: a permit is out as soon as there is one, its task comes in with the turn

    async def enter(first):
        await gate.acquire(first=first)
        inside.append(asyncio.current_task())

    for action, value in steps:
        match action:
            case "enter":
                waiting.append(asyncio.create_task(enter(value)))
            case "leave" if inside:
                inside.pop(value % len(inside))
                gate.release()
            case "cancel" if waiting:
                task = waiting.pop(value % len(waiting))
                if task not in inside:
                    task.cancel()
            case "limit":
                gate.limit = limit = value
                highest = max(highest, limit)
            case "turn":
                before = len(inside)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert len(inside) <= max(highest, before), "somebody came in over the limit"
                highest = limit
    for _ in range(3 * len(steps) + 3):  # everybody leaves: everybody who still waits must get in
        await asyncio.sleep(0)
        while inside:
            inside.pop()
            gate.release()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in done)
    while inside:
        inside.pop()
        gate.release()
    assert (gate.held, gate.waiting) == (0, 0)


async def test_a_gate_lets_in_by_arrival_and_retries_first():
    gate, order = Gate(1), []
    await gate.acquire()

    async def enter(name, first):
        await gate.acquire(first=first)
        order.append(name)
        gate.release()

    async with asyncio.TaskGroup() as group:
        for name, first in (("a", False), ("b", False), ("retry", True), ("c", False)):
            group.create_task(enter(name, first))
            await asyncio.sleep(0)
        gate.release()
    assert order == ["retry", "a", "b", "c"]


def test_an_adaptive_gate_halves_when_refusals_persist_and_recovers_to_its_limit():
    gate = AdaptiveGate(64)
    for _ in range(10):
        gate.record(refused=True)
    assert gate.limit == 32
    while gate.limit > 1:
        gate.record(refused=True)
    answers = 0
    while gate.limit < 64:
        gate.record(refused=False)
        answers += 1
    assert answers < 1000


def test_a_few_refusals_are_no_overload():
    gate = AdaptiveGate(200)
    for answer in range(5000):
        gate.record(refused=answer % 20 == 0)
        assert gate.limit == 200


def test_only_where_most_answers_are_refusals_should_nobody_ask():
    """Every fifth answer a 429 is too much in flight; but the other four were served, and need not have waited."""
    gate = AdaptiveGate(64)
    assert not any(gate.record(refused=answer % 5 == 0) for answer in range(5000))
    assert gate.limit == 1
    busy = AdaptiveGate(64)
    assert any(busy.record(refused=answer % 5 != 0) for answer in range(20))


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 100))
def test_an_adaptive_limit_stays_between_one_and_the_configured(answers, most):
    gate = AdaptiveGate(most)
    for refused in answers:
        gate.record(refused=refused)
        assert 1 <= gate.limit <= most


class StandingTime:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.clock = Clock(now=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds):
        self.now += max(0.0, seconds)


@pytest.mark.parametrize(("per_minute", "amounts"), [(600, [1] * 40), (6000, [10, 300, 50, 1, 999, 20] * 4)])
async def test_no_minute_sees_more_than_the_limit_and_one_amount(per_minute, amounts):
    standing, passed = StandingTime(), []
    pace = Pace(per_minute, standing.clock)
    for amount in amounts:
        await pace.wait(amount)
        passed.append((standing.now, amount))
    for start, _ in passed:
        within = [amount for time, amount in passed if start <= time < start + 60]
        assert sum(within) <= per_minute + max(within)


async def test_tokens_that_turn_out_more_or_fewer_move_the_next_request():
    standing = StandingTime()
    pace = Pace(600, standing.clock)  # ten tokens a second
    await pace.wait(100)
    pace.settle(-80)
    await pace.wait(10)
    assert standing.now == pytest.approx(102)
    pace.settle(+20)
    await pace.wait(10)
    assert standing.now == pytest.approx(105)


async def test_an_admission_that_is_not_used_takes_nothing_of_the_minute():
    quota = Quota(1, rpm=0.001, tpm=0.001)
    for is_used in (False, False, True):
        async with asyncio.timeout(10):
            admission = await quota.admit(1, first=False)
        admission.is_used = is_used
        admission.release()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await quota.admit(1, first=False)


async def test_a_cancelled_wait_gives_the_permit_back():
    quota = Quota(1, rpm=0.001, tpm=None)
    admission = await quota.admit(1, first=False)
    admission.is_used = True
    admission.release()
    waiting = asyncio.create_task(quota.admit(1, first=False))  # the next one may pass in a day
    await asyncio.sleep(0)  # it runs until it has to wait
    assert quota.gate.held == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert quota.gate.held == 0
