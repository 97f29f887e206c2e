"""What the server answered is kept, and what people say of it; and no request waits for the store, or fails with it."""

from __future__ import annotations

import hashlib
import json
import sqlite3

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router_r1.serving.api_errors import ApiError
from router_r1.serving.recording import read_feedback
from router_r1.trajectories import Selection, TrajectoryStore
from tests.integration.serving.conftest import FIRST_TURN, QUESTION, Served, asked, reply_to, until

KEY, OTHER_KEY = "k-one-0123456789abcdef", "k-two-0123456789abcdef"
KEYS = {"one": hashlib.sha256(KEY.encode()).digest(), "two": hashlib.sha256(OTHER_KEY.encode()).digest()}


async def judge(served: Served, body: object, key: str = KEY, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as http:
        given = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await http.post(f"{served.url}/v1/feedback", content=content, headers=given)


async def kept(served: Served, id: str):
    """The trajectory, as soon as it is written."""
    await until(lambda: served.store.get(id))
    return served.store.get(id)


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


def counted(text: str, name: str) -> dict[str, float]:
    """Outcome -> value of a counter that has no other label."""
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name == name}


# ---------------------------------------------------------------- trajectories


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answered_request_is_kept_with_its_texts_if_they_are_asked_for(serve, stream):
    async with serve(keys=KEYS, keep_texts=True) as served:
        reply = await served.client(api_key=KEY).chat.completions.create(**asked(stream=stream, user="alice"))
        id = {chunk.id async for chunk in reply}.pop() if stream else reply.id
        found = await kept(served, id)
        assert found.user == served.store.pseudonym("alice") != "alice"
    assert (found.question, found.answer, found.status, found.format_error) == (
        QUESTION,
        reply_to(QUESTION),
        "answered",
        "",
    )
    assert (found.source, found.model, found.key, found.cost_weight, found.arm) == (
        "server",
        "router-r1",
        "one",
        0.0,
        "",
    )
    assert found.candidates == {"Newton-8B": 1}
    assert (found.routes[0]["query"], found.routes[0]["reply"]) == (QUESTION, reply_to(QUESTION))
    assert found.raw_cost == found.routes[0]["raw_cost"] > 0
    assert found.segments[0].text == FIRST_TURN.format(question=QUESTION)
    assert found.policy_tokens > 10
    assert found.seconds > 0


async def test_without_keep_texts_the_file_holds_facts_and_not_a_word(serve, tmp_path):
    async with serve(store=tmp_path / "store") as served:
        reply = await served.client().chat.completions.create(**asked(user="alice"))
        found = await kept(served, reply.id)
        assert (found.question, found.answer, found.candidates) == (None, None, {"Newton-8B": 1})
        written = b"".join(file.read_bytes() for file in tmp_path.glob("store*"))
    written += (tmp_path / "store").read_bytes()
    assert b"Newton-8B" in written
    said = [QUESTION, "Bosen", reply_to(QUESTION), "Ask specialist science expert", "alice"]
    assert [text for text in said if text.encode() in written] == []


async def test_after_the_end_everything_is_in_the_file(serve, tmp_path):
    async with serve(store=tmp_path / "store") as served:
        ids = [(await served.client().chat.completions.create(**asked())).id for _ in range(3)]
    with TrajectoryStore(tmp_path / "store", keep_texts=False, must_exist=True) as store:
        assert [one.id for one in store.every()] == ids


async def test_what_had_no_answer_is_kept_and_what_a_fault_ended_is_not(serve):
    async with serve(lambda context: "I would rather not.", keep_texts=True) as served:
        reply = await served.client().chat.completions.create(**asked())
        found = await kept(served, reply.id)
        served.policy.fault = RuntimeError("engine is dead")
        with pytest.raises(openai.InternalServerError):
            await served.client().chat.completions.create(**asked())
        assert served.store.page().total == 1
    assert (found.status, found.answer) == ("no_action", None)
    assert found.format_error == "the trajectory does not start with a thought"


async def test_a_candidate_alone_is_kept_under_its_name(serve):
    async with serve(keep_texts=True) as served:
        reply = await served.client().chat.completions.create(**asked(model="candidate:Newton-8B"))
        found = await kept(served, reply.id)
    assert (found.model, found.policy_tokens, found.format_error) == ("candidate:Newton-8B", 0, "")
    assert found.answer == reply_to(QUESTION)


async def test_a_store_that_cannot_be_written_costs_trajectories_and_no_request(serve, tmp_path, caplog):
    async with serve(store=tmp_path / "store") as served, httpx.AsyncClient() as http:
        with sqlite3.connect(tmp_path / "store") as database:
            database.execute("DROP TABLE asked")  # what a damaged file does to every write
        for _ in range(2):
            assert (await served.client().chat.completions.create(**asked())).choices[0].message.content

        async def failed() -> float:
            return counted((await http.get(f"{served.url}/metrics")).text, "router_r1_serve_kept_total")["failed"]

        while await failed() < 2:  # the test's own time limit ends this
            pass
    told = [record.message for record in caplog.records if "cannot be written" in record.message]
    assert len(told) == 1
    assert str(tmp_path / "store") in told[0]
    assert QUESTION not in caplog.text


# ---------------------------------------------------------------- feedback


async def test_feedback_is_kept_beside_its_trajectory_and_the_last_one_counts(serve):
    async with serve(keys=KEYS, keep_texts=True) as served:
        id = (await served.client(api_key=KEY).chat.completions.create(**asked())).id
        first = await judge(served, {"trajectory_id": id, "thumbs": "down", "comment": "wrong"})
        second = await judge(served, {"trajectory_id": id, "score": 0.75, "comment": "better than I thought"})
        assert (first.json(), second.json()) == (
            {"trajectory_id": id, "score": 0.0},
            {"trajectory_id": id, "score": 0.75},
        )
        found = served.store.get(id).feedback
        assert (found.score, found.comment) == (0.75, "better than I thought")
        assert served.store.page(Selection(feedback="up", key="one")).total == 1
    assert [line["score"] for line in served.log_lines if line["path"] == "/v1/feedback"] == [0.0, 0.75]
    assert "wrong" not in served.log.getvalue()


async def test_of_another_keys_trajectory_nobody_learns_that_it_is_there(serve):
    async with serve(keys=KEYS) as served:
        id = (await served.client(api_key=KEY).chat.completions.create(**asked())).id
        other = await judge(served, {"trajectory_id": id, "thumbs": "up"}, OTHER_KEY)
        nobodys = await judge(served, {"trajectory_id": "chatcmpl-0", "thumbs": "up"}, OTHER_KEY)
        assert served.store.get(id).feedback is None
    assert (other.status_code, other.json()) == (404, nobodys.json())
    assert other.json()["error"]["code"] == "trajectory_not_found"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"thumbs": "up"}, 400, "trajectory_id"),
        ({"trajectory_id": "t"}, 400, "score"),
        ({"trajectory_id": "t", "thumbs": "up", "score": 1.0}, 400, "score"),
        ({"trajectory_id": "t", "thumbs": "sideways"}, 400, "thumbs"),
        ({"trajectory_id": "t", "score": 1.5}, 400, "score"),
        ({"trajectory_id": "t", "score": "1"}, 400, "score"),
        ({"trajectory_id": 7, "score": 1}, 400, "trajectory_id"),
        ({"trajectory_id": "t", "score": 1, "comment": "x" * 2001}, 400, "comment"),
        ({"trajectory_id": "t", "score": 1, "comment": "no texts are kept here"}, 400, "comment"),
        ({"trajectory_id": "\ud800", "score": 1}, 400, "trajectory_id"),
        ({"trajectory_id": "t", "score": 1, "comment": "\ud800"}, 400, "comment"),
        ({"trajectory_id": "t", "score": 1, "stars": 5}, 400, "stars"),
        (b'{"trajectory_id": "t", "score": NaN}', 400, None),
        (b"[]", 400, None),
        (b"\xff", 400, None),
        (b" " * 20_000, 413, None),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_feedback_that_is_none_is_refused_by_what_is_wrong(serve, body, status, param):
    async with serve() as served:
        reply = await judge(served, body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


async def test_feedback_needs_what_every_request_needs(serve):
    given = {"trajectory_id": "t", "thumbs": "up"}
    async with serve(keys=KEYS) as served:
        assert (await judge(served, given, "no")).status_code == 401
        assert (await judge(served, given, **{"Content-Type": "text/plain"})).status_code == 415
    async with serve() as served:
        assert (await judge(served, given, Origin="https://evil.example")).status_code == 403


async def test_feedback_that_cannot_be_written_is_not_said_to_be(serve, tmp_path):
    async with serve(store=tmp_path / "store") as served:
        id = (await served.client().chat.completions.create(**asked())).id
        await kept(served, id)
        with sqlite3.connect(tmp_path / "store") as database:
            database.execute("DROP TABLE trajectories")
        reply = await judge(served, {"trajectory_id": id, "thumbs": "up"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_failed")
    assert reply.headers["retry-after"] == "5"


@given(
    st.binary(max_size=60) | st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.text()).map(to_json)
)
def test_whatever_is_sent_as_feedback_is_refused_with_a_reason(body):
    with pytest.raises(ApiError) as caught:
        read_feedback(body)
    assert caught.value.status == 400
    assert caught.value.message


# ---------------------------------------------------------------- a split


async def test_a_split_divides_users_and_tells_the_arm_everywhere(serve):
    async with serve(keys=KEYS, split="router-r1=0.5,direct=0.5") as served, httpx.AsyncClient() as http:
        client = served.client(api_key=KEY)
        arms = {}
        for user in ("alice", "bob", "carol", "dave", "erin", "frank", "alice", "bob"):
            reply = await client.chat.completions.create(**asked(model="auto", user=user))
            arm = reply.router_r1["arm"]
            assert arms.setdefault(user, arm) == arm == reply.model
            assert (await kept(served, reply.id)).arm == arm
        headers = {"Authorization": f"Bearer {KEY}"}
        text = (await http.get(f"{served.url}/metrics", headers=headers)).text
        own = await client.chat.completions.create(**asked())
        listed = [model.id async for model in await client.models.list()]
    assert set(arms.values()) == {"router-r1", "direct"}
    assert "arm" not in own.router_r1
    assert listed[0] == "auto"
    assert [line.get("arm") for line in served.log_lines if line.get("id")][-1] is None
    counts = [
        s for f in text_string_to_metric_families(text) for s in f.samples if s.name == "router_r1_serve_arms_total"
    ]
    assert {s.labels["arm"] for s in counts} == {"router-r1", "direct"}
    assert sum(s.value for s in counts) == 8


async def test_a_key_whose_users_are_not_named_stays_with_one_arm_and_without_keys_each_request_is_divided(serve):
    split = "router-r1=0.5,direct=0.5"

    async def arms_of(client: openai.AsyncOpenAI) -> set[str]:
        replies = [await client.chat.completions.create(**asked(model="auto")) for _ in range(12)]
        return {reply.router_r1["arm"] for reply in replies}

    async with serve(keys=KEYS, split=split) as served:
        assert len(await arms_of(served.client(api_key=KEY))) == 1
    async with serve(split=split) as served:
        assert len(await arms_of(served.client())) == 2


async def test_without_a_split_there_is_no_such_model(serve):
    async with serve() as served:
        with pytest.raises(openai.NotFoundError):
            await served.client().chat.completions.create(**asked(model="auto"))
