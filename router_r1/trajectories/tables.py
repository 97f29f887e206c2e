"""The tables of a store, and how its file is opened.

The file is SQLite in WAL mode: one process writes at a time, any number read meanwhile. It must not lie on a network
file system. `PRAGMA application_id` says that it is ours, `PRAGMA user_version` which version of these tables it has.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from router_r1.errors import ConfigError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x52523154  # "RR1T"
WRITES = "router_r1_writes"
"""Execution option of a connection whose transaction writes, and takes the lock at its beginning."""

metadata = MetaData()

# Strings are never NULL: "" says that there is none. What a number's or an answer's absence means, `kept` says.
trajectories = Table(
    "trajectories",
    metadata,
    Column("number", Integer, primary_key=True),  # in the order of their coming
    Column("id", String, nullable=False, unique=True),
    Column("time", Float, nullable=False, index=True),
    Column("source", String, nullable=False, index=True),
    Column("data_source", String, nullable=False, index=True),
    Column("question", String),
    Column("answer", String),
    Column("golden_answers", JSON, nullable=False),
    Column("em", Float),
    Column("f1", Float),
    Column("status", String, index=True),
    Column("format_error", String),
    Column("model", String, nullable=False, index=True),
    Column("cost_weight", Float),
    Column("arm", String, nullable=False),
    Column("key", String, nullable=False),
    Column("user", String, nullable=False),
    Column("raw_cost", Float, index=True),
    Column("spend_usd", Float),
    Column("seconds", Float),
    Column("policy_tokens", Integer),
    Column("candidates", JSON, nullable=False),
    Column("reward", Float),
    Column("rewards", JSON, nullable=False),
    Column("feedback_score", Float),
    Column("feedback_comment", String, nullable=False, default=""),
    Column("feedback_time", Float),
)

# Apart, so that a search through the rows of a list does not read past them.
turns = Table(
    "turns",
    metadata,
    Column("number", ForeignKey(trajectories.c.number, ondelete="CASCADE"), primary_key=True),
    Column("turns", JSON, nullable=False),
)

asked = Table(
    "asked",
    metadata,
    Column("number", ForeignKey(trajectories.c.number, ondelete="CASCADE"), primary_key=True),
    Column("candidate", String, primary_key=True),
    Index("asked_candidate", "candidate", "number"),
)

facts = Table("facts", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))
"""Of the store itself."""


def open_engine(file: Path | None, *, timeout_s: float) -> Engine:
    """The database, with its tables.

    Args:
        file: made if it is not there, for its owner alone; None for memory.
        timeout_s: how long a transaction waits for another process's.

    Raises:
        ConfigError: the file cannot be used.
    """
    if file is None:
        return _with_tables(_engine("sqlite://", timeout_s, poolclass=StaticPool))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its -wal and -shm the same mode
    except OSError as fault:
        raise ConfigError(file, "", None, f"cannot be opened: {fault.strerror}") from None
    engine = _engine(f"sqlite:///{file}", timeout_s)
    try:
        with engine.connect() as connection:
            _check(connection, file)
        return _with_tables(engine)
    except DatabaseError as fault:
        engine.dispose()
        raise ConfigError(file, "", None, f"cannot be used: {fault.orig}; {_REMEDY}") from None
    except ConfigError:
        engine.dispose()
        raise


_REMEDY = "move it away, and a new one will be made"


def _engine(url: str, timeout_s: float, **options: Any) -> Engine:
    engine = create_engine(url, connect_args={"timeout": timeout_s, "check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin as `on_begin` says, reading ones too
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _check(connection: Connection, file: Path) -> None:
    """See that the file is new, or a store of this version, and sound.

    Raises:
        ConfigError: it is not.
    """
    is_new = not connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    if is_new:
        return
    if connection.exec_driver_sql("PRAGMA application_id").scalar_one() != APPLICATION_ID:
        raise ConfigError(file, "", None, f"is a database of something else; {_REMEDY}")
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version != SCHEMA_VERSION:
        remedy = f"is not the version {SCHEMA_VERSION} that this release reads; {_REMEDY}"
        raise ConfigError(file, "version", version, remedy)
    faults = connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all()
    if faults != ["ok"]:
        raise ConfigError(file, "", None, f"is damaged: {' '.join(faults[0].split())}; {_REMEDY}")


def _with_tables(engine: Engine) -> Engine:
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.rollback()  # these two are no part of a transaction
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before there are tables
        raw.execute("PRAGMA journal_mode = WAL")
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return engine
