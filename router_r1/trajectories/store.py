"""The store itself: trajectories are added, paged through, opened, judged, trimmed and exported.

Invariants:

- an id stands in it once; adding it again replaces the earlier one, and its feedback;
- without `keep_texts` no word that a user, a policy or a candidate wrote reaches the file, its log or its free pages;
- what is deleted is overwritten;
- any number of threads may use it at once.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from router_r1.errors import ConfigError
from router_r1.trajectories.kept import Feedback, KeptTrajectory, TrajectoryFacts
from router_r1.trajectories.selection import Selection, Sort
from router_r1.trajectories.tables import WRITES, asked, facts, open_engine, trajectories, turns

_FIELDS = tuple(one.name for one in fields(TrajectoryFacts) if one.name != "feedback")
_FEEDBACK_FIELDS = ("feedback_score", "feedback_comment", "feedback_time")
_ROWS_AT_ONCE = 500
_LEFT_AFTER_TRIMMING = 0.9  # of the limit, so that not every trajectory has to make room for the next
EVERYTHING, NEWEST_FIRST = Selection(), Sort()


@dataclass(frozen=True)
class Page:
    """Some of the trajectories that were selected."""

    total: int
    """How many were selected."""
    rows: list[TrajectoryFacts]


class TrajectoryStore:
    """A store in a file, or in memory.

    Args:
        file: None for memory. A file is made if it is not there, readable for its owner alone.
        keep_texts: whether what is added keeps its texts.
        must_exist: do not make the file.
        timeout_s: how long a transaction waits for another process's.

    Raises:
        ConfigError: the file is not there, cannot be used, or is of another version.
    """

    def __init__(
        self, file: Path | None = None, *, keep_texts: bool, must_exist: bool = False, timeout_s: float = 5.0
    ) -> None:
        if file is not None and must_exist and not file.is_file():
            raise ConfigError(file, "", None, "is no file; give a store of trajectories (router-r1 serve --store FILE)")
        self.file, self.keep_texts = file, keep_texts
        self._engine = open_engine(file, timeout_s=timeout_s)
        # All threads share the one connection of a store in memory.
        self._alone: AbstractContextManager[Any] = nullcontext() if file else threading.RLock()
        self._salt = self._fact("salt", os.urandom(16).hex())

    def __enter__(self) -> TrajectoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._engine.dispose()

    def pseudonym(self, user: str) -> str:
        """What stands for a user in this store: always the same, and of no use in another one. "" stands for none."""
        return hashlib.sha256(f"{self._salt}/{user}".encode()).hexdigest()[:16] if user else ""

    # ------------------------------------------------------------ reading

    def page(
        self, selection: Selection = EVERYTHING, sort: Sort = NEWEST_FIRST, *, offset: int = 0, limit: int = 50
    ) -> Page:
        """Those selected, in order, from `offset` on, at most `limit`."""
        chosen = selection.clause()
        rows = select(trajectories).where(chosen).order_by(*sort.columns()).offset(offset).limit(limit)
        with self._reading() as database:
            total = database.execute(select(func.count()).select_from(trajectories).where(chosen)).scalar_one()
            return Page(total, [TrajectoryFacts(**_facts_of(row)) for row in database.execute(rows)])

    def get(self, id: str) -> KeptTrajectory | None:
        """The whole trajectory; None if there is none of that id."""
        with self._reading() as database:
            row = database.execute(_WHOLE.where(trajectories.c.id == id)).one_or_none()
        return None if row is None else _whole(row)

    def neighbours(
        self, id: str, selection: Selection = EVERYTHING, sort: Sort = NEWEST_FIRST
    ) -> tuple[str | None, str | None]:
        """The ids of the selected trajectories before and after this one in that order; None where there is none."""
        with self._reading() as database:
            here = database.execute(select(*sort.place()).where(trajectories.c.id == id)).one_or_none()
            if here is None:
                return None, None
            before, after = (
                database.execute(
                    select(trajectories.c.id)
                    .where(selection.clause(), order.follows(here))
                    .order_by(*order.columns())
                    .limit(1)
                ).scalar_one_or_none()
                for order in (sort.reversed, sort)
            )
        return before, after

    def choices(self) -> Mapping[str, list[str]]:
        """Field of `Selection` -> the values that there are, in alphabetical order."""
        columns = {name: trajectories.c[name] for name in ("source", "data_source", "status", "model", "arm", "key")}
        columns["candidate"] = asked.c.candidate
        with self._reading() as database:
            found = {name: database.execute(select(column).distinct()).scalars() for name, column in columns.items()}
            return {name: sorted(value for value in values if value) for name, values in found.items()}

    def every(self, selection: Selection = EVERYTHING) -> Iterator[KeptTrajectory]:
        """Those selected, as they came. Others may come and go meanwhile."""
        last = 0
        while True:
            some = _WHOLE.where(selection.clause(), trajectories.c.number > last)
            with self._reading() as database:
                rows = database.execute(some.order_by(trajectories.c.number).limit(_ROWS_AT_ONCE)).all()
            if not rows:
                return
            yield from map(_whole, rows)
            last = rows[-1].number

    # ------------------------------------------------------------ writing

    def add(self, added: Iterable[KeptTrajectory]) -> None:
        """Keep trajectories, all or none.

        Raises:
            sqlalchemy.exc.DBAPIError: the file cannot be written.
        """
        kept = [one if self.keep_texts else one.without_texts() for one in added]
        kept = list({one.id: one for one in kept}.values())
        with self._writing() as database:
            for start in range(0, len(kept), _ROWS_AT_ONCE):
                _add(database, kept[start : start + _ROWS_AT_ONCE])

    def forget(self, ids: Iterable[str]) -> None:
        """Delete these trajectories, whichever of them are there.

        Raises:
            sqlalchemy.exc.DBAPIError: the file cannot be written.
        """
        gone = list(ids)
        for start in range(0, len(gone), _ROWS_AT_ONCE):
            self._delete(trajectories.c.id.in_(gone[start : start + _ROWS_AT_ONCE]))

    def give_feedback(self, id: str, feedback: Feedback, *, key: str | None = None) -> bool:
        """Put it beside the trajectory, instead of an earlier one.

        Args:
            key: who gives it; only trajectories of this API key are found. None: any.

        Returns:
            Whether there is such a trajectory.

        Raises:
            sqlalchemy.exc.DBAPIError: the file cannot be written.
        """
        values = (feedback.score, _storable(feedback.comment) if self.keep_texts else "", feedback.time)
        where = (trajectories.c.id == id) & (trajectories.c.key == key if key is not None else True)
        with self._writing() as database:
            changed = database.execute(
                update(trajectories).where(where).values(dict(zip(_FEEDBACK_FIELDS, values, strict=True)))
            )
            return changed.rowcount == 1

    def trim(self, *, before: float | None = None, most_bytes: int | None = None) -> int:
        """Delete trajectories of before a Unix time, then the oldest until the rest takes no more than `most_bytes`.

        Returns:
            How many were deleted.

        Raises:
            sqlalchemy.exc.DBAPIError: the file cannot be written.
        """
        deleted = 0
        if before is not None:
            deleted += self._delete(trajectories.c.time < before)
        while most_bytes is not None and (size := self.num_bytes()) > most_bytes:
            with self._reading() as database:
                count = database.execute(select(func.count()).select_from(trajectories)).scalar_one()
            too_many = math.ceil(count * (1 - _LEFT_AFTER_TRIMMING * most_bytes / size))
            oldest = select(trajectories.c.number).order_by(trajectories.c.number).limit(too_many)
            if not (gone := self._delete(trajectories.c.number.in_(oldest))):
                break  # empty tables take some pages, too
            deleted += gone
        if deleted:
            self._give_pages_back()
        return deleted

    def num_bytes(self) -> int:
        """What its pages take that hold something."""
        with self._reading() as database:
            pages, free, size = (
                database.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    # ------------------------------------------------------------ transactions

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._alone, self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._alone, self._engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            yield connection

    def _delete(self, where: Any) -> int:
        with self._writing() as database:
            return database.execute(delete(trajectories).where(where)).rowcount

    def _give_pages_back(self) -> None:
        """The file shrinks, and its log with it."""
        with self._alone, self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            # As a script: `execute` would take a single step of the first, which is a single page.
            raw.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

    def _fact(self, name: str, otherwise: str) -> str:
        """What the store says of itself under this name; said now, if nothing was."""
        with self._writing() as database:
            database.execute(sqlite_insert(facts).values(name=name, value=otherwise).on_conflict_do_nothing())
            return str(database.execute(select(facts.c.value).where(facts.c.name == name)).scalar_one())


_WHOLE = select(trajectories, turns.c.turns).join_from(trajectories, turns)


def _add(database: Connection, kept: Sequence[KeptTrajectory]) -> None:
    database.execute(delete(trajectories).where(trajectories.c.id.in_([one.id for one in kept])))
    last = database.execute(select(func.max(trajectories.c.number))).scalar_one() or 0
    numbered = list(enumerate(kept, start=last + 1))
    database.execute(insert(trajectories), [_row(number, one) for number, one in numbered])
    database.execute(insert(turns), [{"number": number, "turns": list(one.turns)} for number, one in numbered])
    routed = [{"number": number, "candidate": _storable(name)} for number, one in numbered for name in one.candidates]
    if routed:
        database.execute(insert(asked), routed)


def _row(number: int, one: KeptTrajectory) -> dict[str, Any]:
    row: dict[str, Any] = {"number": number, **{name: _storable(getattr(one, name)) for name in _FIELDS}}
    row |= {
        "golden_answers": list(one.golden_answers),
        "candidates": dict(one.candidates),
        "rewards": dict(one.rewards),
    }
    judged = one.feedback
    values = (None, "", None) if judged is None else (judged.score, _storable(judged.comment), judged.time)
    return row | dict(zip(_FEEDBACK_FIELDS, values, strict=True))


def _storable(value: Any) -> Any:
    """Half a surrogate pair, which a candidate may send, becomes the escape that JSON has for it."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _facts_of(row: Row[Any]) -> dict[str, Any]:
    values = row._mapping
    found = {name: values[name] for name in _FIELDS}
    if values["feedback_score"] is not None:
        found["feedback"] = Feedback(*(values[name] for name in _FEEDBACK_FIELDS))
    return found


def _whole(row: Row[Any]) -> KeptTrajectory:
    return KeptTrajectory(**_facts_of(row), turns=row.turns)
