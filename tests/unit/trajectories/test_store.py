"""What is added can be paged through, found, judged and trimmed; and what is not kept is nowhere."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.trajectories import Feedback, Segment, Selection, Sort, TrajectoryStore
from tests.doubles.kept_trajectories import kept


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    file = tmp_path / "store.sqlite" if request.param == "file" else None
    with TrajectoryStore(file, keep_texts=True) as opened:
        yield opened


def ids(page):
    return [row.id for row in page.rows]


# ---------------------------------------------------------------- reading


def test_what_was_added_is_opened_as_it_was(store):
    one = kept(
        1, "A", "B", "A", golden_answers=["Paris"], em=1.0, rewards={"outcome": 0.5}, feedback=Feedback(1.0, "ok", 2.0)
    )
    store.add([one])
    assert store.get("t1") == one
    assert store.get("t1").candidates == {"A": 2, "B": 1}
    assert store.get("t2") is None


def test_segments_say_who_wrote_what(store):
    store.add([kept(1, "A")])
    assert store.get("t1").segments == [
        Segment("policy", "<think> a thought </think> <search> A: sub-query </search>"),
        Segment("environment", "\n<information> reply </information>\n"),
        Segment("policy", "<think> I was told. </think> <answer> Paris </answer>"),
    ]


def test_pages_are_newest_first_and_tell_how_many_there_are(store):
    store.add(kept(number) for number in range(7))
    assert ids(store.page(limit=3)) == ["t6", "t5", "t4"]
    last = store.page(offset=6, limit=3)
    assert (last.total, ids(last)) == (7, ["t0"])
    assert store.page(offset=7).rows == []


def test_an_order_puts_what_is_not_known_below_everything_and_what_is_equal_as_it_came(store):
    costs = [3.0, None, 1.0, 3.0]
    store.add(kept(number, raw_cost=cost) for number, cost in enumerate(costs))
    assert ids(store.page(sort=Sort("raw_cost", descending=False))) == ["t1", "t2", "t0", "t3"]
    assert ids(store.page(sort=Sort("raw_cost"))) == ["t3", "t0", "t2", "t1"]
    with pytest.raises(ValueError, match="cannot be sorted by 'question'"):
        Sort("question")


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), ["t3", "t2", "t1", "t0"]),
        (Selection(candidate="B"), ["t2", "t1"]),
        (Selection(candidate="B", is_right=True), ["t1"]),
        (Selection(is_right=False), ["t2"]),
        (Selection(status="length"), ["t3"]),
        (Selection(has_format_error=True), ["t3"]),
        (Selection(has_format_error=False), ["t2", "t1", "t0"]),
        (Selection(least_raw_cost=2, most_raw_cost=2), ["t2", "t0"]),
        (Selection(since=1, until=2), ["t2", "t1"]),
        (Selection(feedback="up"), ["t0"]),
        (Selection(feedback="down"), ["t1"]),
        (Selection(feedback="any"), ["t1", "t0"]),
        (Selection(feedback="none"), ["t3", "t2"]),
        (Selection(text="COUNTRY 2"), ["t2"]),
        (Selection(text="%"), []),
        (Selection(text="\x00"), []),
        (Selection(text="country\x00"), []),
        (Selection(text="t3"), ["t3"]),
        (Selection(model="knn", key="one", arm="knn", source="server", data_source=""), ["t3"]),
        (Selection(model="'; DROP TABLE trajectories; --"), []),
    ],
    ids=str,
)
def test_conditions_must_all_hold(store, selection, found):
    store.add(
        [
            kept(0, "A", feedback=Feedback(1.0)),
            kept(1, "A", "B", em=1.0, feedback=Feedback(0.0)),
            kept(2, "B", em=0.0),
            kept(3, status="length", format_error="answer is never closed", model="knn", key="one", arm="knn"),
        ]
    )
    page = store.page(selection)
    assert (ids(page), page.total) == (found, len(found))


def test_neighbours_are_those_of_the_same_selection_and_order(store):
    store.add(kept(number, "A" if number % 2 else "B", raw_cost=-float(number)) for number in range(6))
    assert store.neighbours("t3") == ("t4", "t2")
    assert store.neighbours("t3", Selection(candidate="A")) == ("t5", "t1")
    assert store.neighbours("t3", Selection(candidate="A"), Sort("raw_cost")) == ("t1", "t5")
    assert store.neighbours("t0") == ("t1", None)
    assert store.neighbours("t4", Selection(candidate="A")) == ("t5", "t3")  # it need not be selected itself
    assert store.neighbours("nobody") == (None, None)


@settings(max_examples=15, deadline=None)
@given(costs=st.lists(st.none() | st.sampled_from([0.0, 1.0, 2.5]), min_size=1, max_size=8), descending=st.booleans())
def test_whoever_goes_from_neighbour_to_neighbour_sees_the_pages_order(costs, descending):
    order = Sort("raw_cost", descending)
    with TrajectoryStore(keep_texts=True) as store:
        store.add(kept(number, raw_cost=cost) for number, cost in enumerate(costs))
        expected = ids(store.page(sort=order, limit=len(costs)))
        walked, here = [], expected[0]
        while here is not None:
            walked.append(here)
            before, here = store.neighbours(here, sort=order)
            assert before == (walked[-2] if len(walked) > 1 else None)
    assert walked == expected


def test_choices_are_the_values_that_there_are(store):
    store.add([kept(0, "B", "A"), kept(1, model="knn", status=None)])
    choices = store.choices()
    assert (choices["candidate"], choices["model"]) == (["A", "B"], ["knn", "router-r1"])
    assert (choices["status"], choices["arm"]) == (["answered"], [])


def test_every_trajectory_is_given_once_and_as_it_came(store):
    store.add(kept(number) for number in range(1200))
    assert [one.id for one in store.every()] == [f"t{number}" for number in range(1200)]
    assert [one.id for one in store.every(Selection(until=1))] == ["t0", "t1"]


# ---------------------------------------------------------------- writing


def test_an_id_stands_in_it_once(store):
    store.add([kept(1, "A"), kept(2), kept(1, "B")])
    store.add([kept(2, "C")])
    assert store.page().total == 2
    assert store.choices()["candidate"] == ["B", "C"]


def test_feedback_replaces_the_earlier_one_and_is_for_the_key_that_asked(store):
    store.add([kept(1, key="one")])
    assert store.give_feedback("t1", Feedback(0.0, "wrong", 5.0), key="one")
    assert store.give_feedback("t1", Feedback(0.8, "right after all", 6.0), key="one")
    assert not store.give_feedback("t1", Feedback(0.0), key="two")
    assert not store.give_feedback("t2", Feedback(0.0), key="one")
    assert store.get("t1").feedback == Feedback(0.8, "right after all", 6.0)


def test_halves_of_surrogate_pairs_and_zeros_are_kept_in_a_form_that_can_be_read(store):
    store.add([kept(1, answer="a\ud800b\x00c")])
    assert store.get("t1").answer == "a\\ud800b\x00c"


def test_threads_may_use_it_at_once(store):
    def add(part: int) -> None:
        for number in range(part, part + 20):
            store.add([kept(number)])
            assert store.get(f"t{number}") is not None

    threads = [threading.Thread(target=add, args=(part,)) for part in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.page().total == 60


_ADDS_MANY = """
import sys
from pathlib import Path
from router_r1.trajectories import TrajectoryStore
from tests.doubles.kept_trajectories import kept

file, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
with TrajectoryStore(file, keep_texts=True, timeout_s=60) as store:
    for number in range(first, first + 100):
        store.add([kept(number)])
        store.trim(before=0.0, most_bytes=None)
"""


def test_processes_may_write_into_one_file_at_once(tmp_path, project_root):
    """Two servers with the same --store, which neither has made yet."""
    file = tmp_path / "store.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _ADDS_MANY, file, str(first)],
            cwd=project_root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in (0, 100)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=60)[1] == ""
        assert writer.returncode == 0
    with TrajectoryStore(file, keep_texts=True, must_exist=True) as opened:
        assert sorted(entry.id for entry in opened.every()) == sorted(f"t{number}" for number in range(200))


def test_a_pseudonym_is_the_same_in_one_store_and_another_in_another(tmp_path):
    names = []
    for file in ("one", "one", "two"):
        with TrajectoryStore(tmp_path / file, keep_texts=False) as opened:
            names.append(opened.pseudonym("alice@example.org"))
            assert opened.pseudonym("") == ""
    assert names[0] == names[1] != names[2]


# ---------------------------------------------------------------- what is not kept


SECRETS = (
    "Zanzibar",
    "secret sub-query",
    "secret reply",
    "wrote a thought",
    "secret golden",
    "said the endpoint",
    "a remark",
)


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def secretive(number: int):
    one = kept(
        number,
        question="Where is Zanzibar?",
        answer="Zanzibar",
        golden_answers=["secret golden"],
        format_error="invalid search: there is no candidate named 'Zanzibar'",
        feedback=Feedback(1.0, "a remark"),
    )
    route = {"candidate": "A", "query": "secret sub-query", "reply": "secret reply", "error": "no, said the endpoint"}
    turn = {
        "text": "wrote a thought",
        "action": "search",
        "invalid_reason": "Zanzibar",
        "route": route,
        "observation": "secret reply",
    }
    return type(one)(**{**vars(one), "turns": [turn], "candidates": {"A": 1}})


def test_without_keep_texts_no_word_of_user_policy_or_candidate_reaches_the_disk(tmp_path):
    with TrajectoryStore(tmp_path / "store", keep_texts=False) as store:
        store.add([secretive(1), secretive(2)])
        store.give_feedback("t1", Feedback(0.5, "a remark"))
        found = store.get("t2")
        written = bytes_of(tmp_path)  # the log, too, which is not yet written back
    written += bytes_of(tmp_path)
    assert b"router-r1" in written
    assert [word for word in SECRETS if word.encode() in written] == []
    assert (found.question, found.answer, found.format_error) == (None, None, "invalid search")
    assert (found.routes[0]["candidate"], found.segments) == ("A", [])


def test_with_keep_texts_they_are_there_until_they_are_deleted_and_then_nowhere(tmp_path):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        store.add([secretive(1)])
        assert [word for word in SECRETS if word.encode() not in bytes_of(tmp_path)] == []
        assert store.trim(before=2.0) == 1
        assert [word for word in SECRETS if word.encode() in bytes_of(tmp_path)] == []


# ---------------------------------------------------------------- trimming


def test_what_is_older_goes_with_all_that_belongs_to_it(store):
    store.add(kept(number, f"C{number}") for number in range(4))
    assert store.trim(before=2.0) == 2
    assert ids(store.page()) == ["t3", "t2"]
    assert store.choices()["candidate"] == ["C2", "C3"]


def test_the_oldest_go_until_the_rest_fits_and_the_file_shrinks(tmp_path):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        store.add(kept(number, "A", question="q" * 2000) for number in range(500))
        before, size = store.num_bytes(), (tmp_path / "store").stat().st_size
        deleted = store.trim(most_bytes=before // 2)
        assert 200 < deleted < 400
        assert store.num_bytes() <= before // 2
        assert ids(store.page(limit=1)) == ["t499"]
        assert store.page().total == 500 - deleted
        assert (tmp_path / "store").stat().st_size < 0.6 * max(before, size)
        assert store.trim(most_bytes=before) == 0
        store.trim(most_bytes=0)  # empty tables take some pages, too
        assert store.page().total == 0


# ---------------------------------------------------------------- files


def test_a_file_is_for_its_owner_alone_and_so_is_its_log(tmp_path):
    before = os.umask(0)
    try:
        with TrajectoryStore(tmp_path / "new/store", keep_texts=True) as store:
            store.add([kept(1)])
            modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store": 0o600, "store-wal": 0o600, "store-shm": 0o600}


def test_what_was_added_is_there_after_a_restart_and_says_its_version(tmp_path):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        store.add([kept(1)])
    with TrajectoryStore(tmp_path / "store", keep_texts=False, must_exist=True) as store:
        assert ids(store.page()) == ["t1"]
    with sqlite3.connect(tmp_path / "store") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


def _text(file: Path) -> None:
    file.write_text("these are notes of mine, and no database\n" * 100)


def _foreign(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE mine (a)")


def _newer(file: Path) -> None:
    TrajectoryStore(file, keep_texts=True).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 2")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or whoever opens it next moves the change into the file


def _damaged(file: Path) -> None:
    with TrajectoryStore(file, keep_texts=True) as store:
        store.add(kept(number) for number in range(100))
    content = bytearray(file.read_bytes())
    content[8192:20480] = b"\xff" * 12288
    file.write_bytes(content)


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_text, "cannot be used: file is not a database; move it away, and a new one will be made"),
        (_foreign, "is a database of something else; move it away"),
        (_newer, "version = 2: is not the version 1 that this release reads; move it away"),
        (_damaged, "move it away, and a new one will be made"),
        (_folder, "cannot be opened: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_and_left_as_it_is(tmp_path, spoil, told):
    file = tmp_path / "store"
    spoil(file)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(ConfigError) as caught:
        TrajectoryStore(file, keep_texts=True)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (file.read_bytes() if file.is_file() else b"") == before


def test_looking_at_a_store_that_is_not_there_makes_none(tmp_path):
    with pytest.raises(ConfigError, match="is no file"):
        TrajectoryStore(tmp_path / "store", keep_texts=True, must_exist=True)
    assert list(tmp_path.iterdir()) == []
