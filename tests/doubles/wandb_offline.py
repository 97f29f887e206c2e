"""What W&B wrote offline, read back: its transaction log, without its server.

The file is a header of 7 bytes and a log of LevelDB's format (google/leveldb, doc/log_format.md): blocks of 32 KiB of
records, each with checksum (4 bytes), length (2), and kind (1): 1 whole, 2 first, 3 middle, 4 last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7


@dataclass(frozen=True)
class OfflineRun:
    """One start of a run."""

    run_id: str
    config: dict[str, Any]
    history: dict[int, dict[str, Any]]  # step -> what was logged


def read_offline(folder: Path) -> list[OfflineRun]:
    """All starts below a folder, oldest first."""
    logs = sorted(folder.glob("**/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [_read(log) for log in logs]


def _read(log: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    run_id, config, history = "", {}, {}
    for data in _records(log.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run_id = record.run.run_id
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update if item.key}
        elif kind == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                first, *more = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                if more:  # one part of something that is no number
                    row.setdefault(first, {})[".".join(more)] = value
                else:
                    row[first] = value
            history.setdefault(int(row.get("_step", record.history.step.num)), {}).update(row)
    return OfflineRun(run_id, config, history)


def _records(data: bytes) -> Iterator[bytes]:
    place, parts = FILE_HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # too little is left of a block for a header
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""
