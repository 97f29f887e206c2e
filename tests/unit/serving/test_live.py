"""What is told while a trajectory grows: exactly its reasoning, however the tokens come, and never its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.protocol import Status, Turn, parse_turn
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.serving.connections import Unread
from router_r1.serving.limits import DailySpend, KeyBudgetSpent
from router_r1.serving.live import (
    GrowingText,
    LivePolicy,
    LiveRoutes,
    LiveTurns,
    RouteEnded,
    RouteStarted,
    TokensSpent,
    Writing,
    Wrote,
    reasoning_of,
    thoughts_of,
)
from tests.doubles.rollout_doubles import ScriptedPolicy, TableDispatcher

POOL = RoutingPool(
    name="p",
    candidates=(
        Candidate(
            name="Atlas-7B", model="m", base_url="http://127.0.0.1:1/v1", price=Price(input=1, output=1), descriptor="d"
        ),
    ),
)
ROUTES = "<think> Ask. </think> <search> Atlas-7B: Where? </search>"
ANSWERS = "<think> So: </think>\n<answer> Paris </answer>"


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("transformers")
    from tests.doubles.bpe_tokenizers import build_tokenizer

    return build_tokenizer()


class InPieces(ScriptedPolicy):
    """Tells its tokens in pieces of the given sizes, in turn."""

    def __init__(self, tokenizer, script, sizes):
        super().__init__(tokenizer, script)
        self._sizes = sizes

    async def stream(self, token_ids, *, max_tokens, stop, request_id, told):
        generation = await self.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)
        at, number = 0, 0
        while at < len(generation.token_ids):
            size = self._sizes[number % len(self._sizes)]
            told(generation.token_ids[at : at + size])
            at, number = at + size, number + 1
        return generation


async def roll_out(tokenizer, script, *, sizes=(1,), max_tokens=None, reserve=1, spend=None, put=None, **dispatcher):
    """The trajectory, and everything that was told; every text is taken at once, unless `put` is given the events."""
    told = []

    def tell(event):
        if put is not None:
            put(event)
        else:
            told.append(Wrote(event.take()) if isinstance(event, Writing) else event)

    policy = LivePolicy(InPieces(tokenizer, script, list(sizes)), max_tokens=max_tokens, reserve=reserve)
    routes = LiveRoutes(
        TableDispatcher(**dispatcher), policy=policy, spend=spend or DailySpend(None), key="k", tell=tell
    )
    turns = LiveTurns(policy, tokenizer, tell)
    try:
        trajectory = await run_trajectory(
            [1, 2, 3],
            policy=policy,
            dispatcher=routes,
            pool=POOL,
            tokenizer=tokenizer,
            limits=RolloutLimits(),
            request_id="r",
            watch=turns.watch,
        )
    except TokensSpent:
        trajectory = None
    return trajectory, told, policy, turns


def text_of(told) -> str:
    return "".join(event.text for event in told if isinstance(event, Wrote))


async def test_thoughts_routes_and_observations_are_told_in_order_and_the_answer_is_not(tokenizer):
    trajectory, told, policy, _ = await roll_out(tokenizer, [ROUTES, ANSWERS], default="It is Paris.")
    assert text_of(told) == reasoning_of(trajectory)
    assert text_of(told) == f"{ROUTES}\n<information> It is Paris. </information>\n<think> So: </think>\n"
    started, ended = (event for event in told if not isinstance(event, Wrote))
    assert started == RouteStarted(0, "Atlas-7B", "Where?")
    assert isinstance(ended, RouteEnded)
    assert ended.route == trajectory.routes[0]
    at = told.index(started)
    assert text_of(told[:at]) == ROUTES
    assert policy.tokens == sum(trajectory.response_mask)
    assert len(told) > 15


TEXTS = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", "<search>", "</search>", "<ans", "wer>", "<", "a: b"]
    )
    | st.text(max_size=6),
    max_size=12,
).map("".join)


@given(texts=st.lists(TEXTS, min_size=5, max_size=5), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_whatever_is_written_and_however_it_comes_what_is_told_is_the_reasoning(tokenizer, texts, sizes):
    import asyncio

    script = [*texts, "<answer> x </answer>"]
    trajectory, told, _, _ = asyncio.run(roll_out(tokenizer, script, sizes=sizes))
    assert text_of(told) == reasoning_of(trajectory)
    if trajectory.status is Status.ANSWERED:
        assert trajectory.text == text_of(told) + trajectory.turns[-1].text[len(thoughts_of(trajectory.turns[-1])) :]


@given(texts=st.lists(TEXTS, min_size=5, max_size=5), reads_meanwhile=st.booleans())
def test_a_reader_that_takes_later_is_given_the_same(tokenizer, texts, reads_meanwhile):
    import asyncio

    async def read(unread):
        return [event async for event in aiter_of(unread)]

    async def both():
        unread = Unread()
        reading = asyncio.create_task(read(unread)) if reads_meanwhile else None
        script = [*texts, "<answer> x </answer>"]
        trajectory, *_ = await roll_out(tokenizer, script, sizes=(1, 3), put=unread.put)
        unread.close()
        return trajectory, await (reading or read(unread))

    trajectory, events = asyncio.run(both())
    assert text_of(events) == reasoning_of(trajectory)
    routes = [event for event in events if not isinstance(event, Wrote)]
    assert [type(event) for event in routes] == [RouteStarted, RouteEnded] * len(trajectory.routes)
    for number, route in enumerate(trajectory.routes):
        before = text_of(events[: events.index(routes[2 * number])])
        assert before.endswith(next(t for t in reversed(trajectory.turns) if t.route is route).text)


class NoTokenizer:
    """Fails if anything is decoded."""

    def decode(self, *_, **__):
        raise AssertionError("decoded, and nobody has read")


async def test_what_nobody_reads_is_not_decoded(tokenizer):
    policy = LivePolicy(InPieces(tokenizer, [ANSWERS], [1]), max_tokens=None, reserve=1)
    told = []
    LiveTurns(policy, NoTokenizer(), told.append)
    generation = await policy.generate([1, 2, 3], max_tokens=200, stop=["</answer>"], request_id="r")
    assert len(told) == len(generation.token_ids)
    with pytest.raises(AssertionError, match="decoded"):
        told[-1].take()


async def aiter_of(unread):
    while (event := await unread.take()) is not None:
        yield event


@given(st.text(), st.lists(st.integers(1, 4), min_size=1))
def test_characters_of_several_tokens_are_told_whole(tokenizer, text, sizes):
    ids = tokenizer.encode(text, add_special_tokens=False)
    growing, pieces, at = GrowingText(tokenizer), [], 0
    while at < len(ids):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(growing.add(ids[at : at + size]))
        at += size
    whole = tokenizer.decode(ids)
    assert whole.startswith("".join(pieces).rstrip("\ufffd"))
    if not whole.endswith("\ufffd"):
        assert "".join(pieces) == whole


@pytest.mark.parametrize(
    ("text", "thoughts"),
    [
        ("<think> a </think> <answer> b </answer>", "<think> a </think> "),
        ("<think> <answer> is a tag </think> <answer> b </answer>", "<think> <answer> is a tag </think> "),
        ("<think> a </think>", "<think> a </think>"),
        ("b </answer>", "b </answer>"),
    ],
)
def test_the_thoughts_of_a_turn_end_where_its_answer_begins(text, thoughts):
    assert thoughts_of(Turn([], [], text, parse_turn(text))) == thoughts


# ---------------------------------------------------------------- bounds


async def test_no_more_tokens_are_sampled_than_asked_for(tokenizer):
    trajectory, told, policy, _ = await roll_out(tokenizer, [ROUTES, ANSWERS], max_tokens=4)
    assert (trajectory.status, policy.tokens) == (Status.LENGTH, 4)
    assert ROUTES.startswith(text_of(told))


async def test_a_route_is_not_dispatched_if_too_few_tokens_are_left_for_its_reply(tokenizer):
    first = len(tokenizer.encode(ROUTES, add_special_tokens=False))
    trajectory, told, _, turns = await roll_out(tokenizer, [ROUTES, ANSWERS], max_tokens=first + 9, reserve=10)
    assert trajectory is None
    assert text_of(told) == ROUTES == turns.turns[0].text
    assert not any(isinstance(event, RouteStarted) for event in told)
    enough, *_ = await roll_out(tokenizer, [ROUTES, ANSWERS], max_tokens=first + 10, reserve=10)
    assert len(enough.routes) == 1


async def test_routes_are_booked_to_the_key_until_it_may_spend_no_more(tokenizer):
    spend = DailySpend(1.5e-6)
    with pytest.raises(KeyBudgetSpent):
        await roll_out(tokenizer, [ROUTES, ROUTES, ROUTES, ANSWERS], spend=spend)
    assert float(spend.spent_usd("k")) == pytest.approx(2e-6)
