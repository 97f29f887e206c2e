"""The thread that writes: nobody waits for it, and what it cannot write is counted."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy.exc import OperationalError

from router_r1.trajectories import Feedback, TrajectoryStore
from router_r1.trajectories.writer import Retention, StoreWriter
from tests.doubles.kept_trajectories import kept


@pytest.fixture
def counted():
    return Counter()


@pytest.fixture
def count(counted):
    return lambda outcome, number: counted.update({outcome: number})


def test_what_was_handed_over_is_written_when_it_is_closed(tmp_path, counted, count):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        writer = StoreWriter(store, count=count)
        for number in range(250):
            writer.keep(kept(number))
        writer.close()
        assert store.page().total == 250
    assert counted == {"kept": 250}


def test_feedback_finds_the_trajectory_that_was_handed_over_before_it():
    with TrajectoryStore(keep_texts=True) as store:
        writer = StoreWriter(store)
        writer.keep(kept(1, key="one"))
        found = writer.give_feedback("t1", Feedback(1.0), key="one")
        other = writer.give_feedback("t1", Feedback(0.0), key="two")
        assert (found.result(20), other.result(20)) == (True, False)
        writer.close()
        assert store.get("t1").feedback == Feedback(1.0)


def test_beyond_the_queue_trajectories_are_dropped_and_counted_and_nobody_waits(tmp_path, counted, count):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        with sqlite3.connect(tmp_path / "store", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            writer = StoreWriter(store, count=count, longest_queue=2)
            for number in range(10):
                writer.keep(kept(number))
            late = writer.give_feedback("t1", Feedback(1.0), key="")
            assert isinstance(late.exception(20), queue.Full)
            other.execute("COMMIT")
        writer.close()
        assert store.page().total == counted["kept"]
    assert counted["dropped"] >= 5
    assert counted.total() == 10


def test_a_file_that_is_locked_is_told_once_and_then_that_it_works_again(tmp_path, counted, count, caplog):
    with TrajectoryStore(tmp_path / "store", keep_texts=True, timeout_s=0.01) as store:
        writer = StoreWriter(store, count=count)
        with sqlite3.connect(tmp_path / "store", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(3):
                writer.keep(kept(number))
                fault = writer.give_feedback("t1", Feedback(1.0), key="").exception(20)
                assert isinstance(fault, OperationalError)
            other.execute("COMMIT")
        writer.keep(kept(3))
        assert writer.give_feedback("t3", Feedback(1.0), key="").result(20)
        writer.close()
    assert counted == {"failed": 3, "kept": 1}
    told = [record.message for record in caplog.records if "trajectories" in record.message]
    assert told == [
        f"trajectories cannot be written to {tmp_path / 'store'}: database is locked",
        f"trajectories are written to {tmp_path / 'store'} again",
    ]


def test_a_full_disk_costs_trajectories_and_its_log_line_holds_no_text(tmp_path, counted, count, caplog):
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        with store._engine.connect() as database:  # the only connection, as long as one thread writes
            pages = database.exec_driver_sql("PRAGMA page_count").scalar_one()
            database.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        writer = StoreWriter(store, count=count)
        writer.keep(kept(1, question="Zanzibar " * 2000))
        writer.close()
        assert store.page().total == 0
    assert counted == {"failed": 1}
    assert "database or disk is full" in caplog.text
    assert "Zanzibar" not in caplog.text


def test_what_is_too_old_or_too_much_is_trimmed(tmp_path):
    now = time.time()
    with TrajectoryStore(tmp_path / "store", keep_texts=True) as store:
        store.add([kept(0, time=now - 3 * 86_400), kept(1, time=now - 86_400)])
        StoreWriter(store, retention=Retention(days=2)).close()
        assert [row.id for row in store.page().rows] == ["t1"]
        store.add(kept(number, time=now, question="q" * 3000) for number in range(2, 300))
        StoreWriter(store, retention=Retention(num_bytes=500_000)).close()
        assert store.num_bytes() <= 500_000
        assert store.page().rows[0].id == "t299"


def test_its_thread_ends_with_it():
    before = threading.active_count()
    with TrajectoryStore(keep_texts=True) as store:
        writer = StoreWriter(store)
        assert threading.active_count() == before + 1
        writer.close()
    assert threading.active_count() == before
