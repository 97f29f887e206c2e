"""Replies kept on disk: SQLite, shared by any number of processes of this machine.

Invariants:

- what is read is exactly what was written, or nothing; a damaged file is set aside with a warning, never an exception;
- a cache that cannot be used costs requests, not the run;
- only plain columns are stored, so that a file from elsewhere can carry wrong replies, but no code.

WAL mode needs shared memory between the processes: the file must not lie on a network file system.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from router_r1.routing.replies import Reply

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FORMAT = 1
_BUSY_TIMEOUT_S = 60.0
_GATHER_S = 0.02
"""Replies of so many seconds are written in one transaction, which costs as much as that of one reply."""
_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, created REAL NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, query TEXT NOT NULL,
    text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    usage_estimated INTEGER NOT NULL
) WITHOUT ROWID"""


def default_cache_file() -> Path:
    """The cache that all runs of this user share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "router_r1", "replies.sqlite")


def cache_key(identity: Mapping[str, Any]) -> str:
    """A digest of everything a reply depends on."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A reply and what it was a reply to."""

    key: str
    endpoint: str
    model: str
    query: str
    reply: Reply


class CacheFile:
    """The file itself, for one thread. Faults of SQLite are mended or raised; `ReplyCache` is what a service uses."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._database: sqlite3.Connection | None = None

    def get(self, key: str) -> Reply | None:
        """The reply under this key.

        Raises:
            sqlite3.Error: the file cannot be used.
        """
        columns = "text, prompt_tokens, completion_tokens, usage_estimated"
        rows = self._run(lambda db: db.execute(f"SELECT {columns} FROM replies WHERE key = ?", (key,)).fetchall())
        return Reply(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def put(self, *entries: Entry) -> None:
        """Keep replies, all or none; each replaces an earlier one. A lone surrogate cannot be stored; without it, it
        would be another text: such an entry is left out.
        """
        rows = [row for entry in entries if (row := _row(entry)) is not None]

        def insert(database: sqlite3.Connection) -> None:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany(f"INSERT OR REPLACE INTO replies VALUES ({', '.join('?' * 9)})", rows)
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

        if rows:
            self._run(insert)

    def stats(self) -> list[tuple[str, str, int, int, int, float, float]]:
        """Per endpoint and model: replies, prompt and completion tokens, oldest and newest (Unix time)."""
        sums = "COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), MIN(created), MAX(created)"
        return self._run(
            lambda db: db.execute(
                f"SELECT endpoint, model, {sums} FROM replies GROUP BY endpoint, model ORDER BY endpoint, model"
            ).fetchall()
        )

    def prune(self, *, before: float | None = None, model: str | None = None) -> int:
        """Delete replies made before a Unix time, or by a model, or (with neither) all; returns how many."""
        where = "(? IS NULL OR created < ?) AND (? IS NULL OR model = ?)"
        values = (before, before, model, model)
        count = self._run(lambda db: db.execute(f"DELETE FROM replies WHERE {where}", values).rowcount)
        self._run(lambda db: db.execute("VACUUM"))
        return count

    def export(self) -> Iterator[dict[str, Any]]:
        """Every reply with what it was a reply to, by age."""
        names = "created, endpoint, model, query, text, prompt_tokens, completion_tokens, usage_estimated".split(", ")
        rows = self._run(lambda db: db.execute(f"SELECT {', '.join(names)} FROM replies ORDER BY created").fetchall())
        return (dict(zip(names, row, strict=True)) for row in rows)

    def close(self) -> None:
        if self._database:
            self._database.close()
            self._database = None

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Act on the database; if it turns out damaged, set it aside and act on a new one."""
        try:
            return action(self._open())
        except sqlite3.OperationalError:
            raise  # locked, full, read-only: the file itself is sound
        except sqlite3.DatabaseError as fault:
            self._set_aside(fault)
            return action(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            with self._alone():  # two processes that switch a new file to WAL at once would get in each other's way
                self._database = _connect(self.path)
        return self._database

    def _set_aside(self, fault: sqlite3.DatabaseError) -> None:
        with suppress(sqlite3.Error):
            self.close()
        self._database = None
        with self._alone():
            if _is_sound(self.path):
                return  # another process was faster
            aside = self.path.with_name(f"{self.path.name}.corrupt-{time.time_ns()}")
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        logger.warning("the reply cache %s is damaged (%s); it was set aside as %s", self.path, fault, aside.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening or replacing the file."""
        with open(f"{self.path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _row(entry: Entry) -> tuple[Any, ...] | None:
    """The columns of an entry; None if it cannot be stored."""
    reply = entry.reply
    texts = (entry.endpoint, entry.model, entry.query, reply.text)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return None
    return (entry.key, time.time(), *texts, reply.prompt_tokens, reply.completion_tokens, reply.usage_estimated)


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # nobody else's to read; SQLite's own files beside it take its mode
    database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"format {version}, but this version reads {_FORMAT}")
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last replies, never the file
        if version == 0:  # else nothing is written, so that a file which another process has locked can be read
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(_TABLE)
            database.execute(f"PRAGMA user_version = {_FORMAT}")
    except BaseException:
        database.close()
        raise
    return database


def _is_sound(path: Path) -> bool:
    try:
        database = _connect(path)
    except sqlite3.Error:
        return False
    try:
        return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False
    finally:
        database.close()


class ReplyCache:
    """The cache of one service. Neither a slow disk nor another process that locks the file holds up a route:

    reading and writing have a thread each; what is not written yet is found in memory, and written together.
    """

    def __init__(self, path: str | Path | None, *, reads: bool, writes: bool) -> None:
        self._path = path or default_cache_file()
        self._reader, self._writer = _Worker(self._path, self._tell), _Worker(self._path, self._tell)
        self._told = False
        self._reads, self._writes = reads, writes
        self._unwritten: dict[str, Entry] = {}
        self._writing: asyncio.Task[None] | None = None

    async def get(self, key: str) -> Reply | None:
        """The reply under this key; None if there is none, or none can be read."""
        if not self._reads:
            return None
        if (entry := self._unwritten.get(key)) is not None:
            return entry.reply
        return await self._reader.run(lambda file: file.get(key))

    def put(self, entry: Entry) -> None:
        """Keep a reply, if it can be kept; it is written later."""
        if self._writes:
            self._unwritten[entry.key] = entry
            if self._writing is None:
                self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._unwritten:
            await asyncio.sleep(_GATHER_S)
            entries = list(self._unwritten.values())
            await self._writer.run(lambda file, entries=entries: file.put(*entries))  # type: ignore[misc]
            for entry in entries:
                if self._unwritten[entry.key] is entry:  # else it has been replaced meanwhile
                    del self._unwritten[entry.key]
        self._writing = None

    def _tell(self, fault: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning("the reply cache %s cannot be used: %s", self._path, fault)

    async def aclose(self) -> None:
        """Write what is left."""
        if self._writing:
            await self._writing
        await self._reader.aclose()
        await self._writer.aclose()


class _Worker:
    """A cache file in a thread of its own."""

    def __init__(self, path: str | Path, on_fault: Callable[[Exception], None]) -> None:
        self._file, self._on_fault = CacheFile(path), on_fault
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="router_r1_cache")
        self._closed = False

    async def run(self, action: Callable[[CacheFile], T]) -> T | None:
        """What the action returns; None if the file cannot be used."""
        if self._closed:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, action, self._file)
        except (sqlite3.Error, OSError) as fault:
            self._on_fault(fault)
            return None

    async def aclose(self) -> None:
        await self.run(CacheFile.close)
        self._closed = True
        self._thread.shutdown(wait=False)
