"""Rows of text files: JSON, one object a line or all in one list, and CSV; compressed by gzip or not.

A row's place is `file:line` in a file of lines, and `file: row N`, counted from 0, elsewhere.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from router_r1.errors import ConfigError
from router_r1.scores.samples import Place

_GZIP = b"\x1f\x8b"


@contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """The text of a file, UTF-8, with or without a byte-order mark.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with file.open("rb") as raw:
            is_compressed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            if not is_compressed:
                yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
                return
            with gzip.open(raw, "rt", encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as fault:
        raise ConfigError(file, "", None, f"is not UTF-8 text: byte {fault.start} cannot be decoded") from None
    except (OSError, EOFError, zlib.error) as fault:  # the last two: a compressed file that was cut off or spoilt
        remedy = f"cannot be read: {getattr(fault, 'strerror', None) or fault}; give a file of scores"
        raise ConfigError(file, "", None, remedy) from None


def json_rows(file: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """(place, object) of all rows.

    Raises:
        ConfigError: the file cannot be read, or a row is no JSON object.
    """
    with opened(file) as text:
        first = text.readline()
        if first.startswith("["):
            for number, row in enumerate(_decoded(file, first + text.read())):
                place = f"{file}: row {number}"
                yield place, _object(place, row)
            return
        for number, line in enumerate(itertools.chain([first], text), start=1):
            if line.strip():
                place = f"{file}:{number}"
                yield place, _object(place, _decoded(place, line))


def csv_rows(file: Path) -> Iterator[tuple[Place, dict[str, str]]]:
    """(place, column -> cell) of all rows; a cell is "" where nothing stands in it.

    Raises:
        ConfigError: the file cannot be read, or a row has more or fewer cells than the first line.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default is less than a long prompt
    with opened(file) as text:
        try:
            for number, row in enumerate(csv.DictReader(text, strict=True)):
                place = f"{file}: row {number}"
                if None in row or None in row.values():
                    raise ConfigError(
                        place, "", None, "has not as many cells as the first line; quote cells with commas"
                    )
                yield place, row
        except csv.Error as fault:
            raise ConfigError(file, "", None, f"is no CSV: {fault}") from None


def _decoded(place: object, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as fault:
        raise ConfigError(place, "", None, f"is no JSON: {fault}") from None


def _object(place: Place, row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ConfigError(place, "", None, "must be a JSON object")
    return row


# ---------------------------------------------------------------- cells


def text_of(place: Place, row: Mapping[str, Any], key: str) -> str:
    """A cell that must hold words, or the number of something.

    Raises:
        ConfigError: it does not.
    """
    if key not in row:
        raise ConfigError(place, key, None, f"is missing; there are {', '.join(row)}")
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ConfigError(place, key, None, "must be text")
    return str(value)


def optional_text(place: Place, row: Mapping[str, Any], key: str) -> str | None:
    """A cell that may hold words; None where there is none.

    Raises:
        ConfigError: it holds something else.
    """
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(place, key, None, "must be text, or null")
    return value


def number_of(place: Place, key: str, value: object) -> float | None:
    """The number in a cell, True being 1; None where nothing stands in it. It may be any, NaN too.

    Raises:
        ConfigError: it is no number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        written = {"true": "1", "false": "0"}.get(value.strip().lower(), value)
        try:
            return float(written)
        except ValueError:
            pass
    elif isinstance(value, int | float):
        return float(value)
    raise ConfigError(place, key, value, "must be a number, or True or False")


def count_of(place: Place, key: str, value: object) -> int | None:
    """The whole number in a cell; None where nothing stands in it.

    Raises:
        ConfigError: it is none.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ConfigError(place, key, value, "must be a whole number, or null")


def answers_of(value: object) -> tuple[str, ...]:
    """Golden answers as they are written elsewhere, one or a list; () for anything else."""
    written = value if isinstance(value, list) else [value]
    return tuple(one for one in written if isinstance(one, str) and one.strip())


def identifier(data_source: str, *texts: str) -> str:
    """An id for a question that has none: the same words get the same one."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()
    return f"{data_source}-{digest[:12]}"
