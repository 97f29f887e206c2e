"""A JSON line per route, in a file that is rotated by size."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from router_r1.protocol import Route

_KEPT_FILES = 5


class _PrivateFile(RotatingFileHandler):
    """A log file that nobody else can read."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).touch(mode=0o600)
        return super()._open()


class TraceWriter:
    """Appends routes to a trace file; one process and one service per file.

    A line has `time` (UTC, ISO 8601, when the route ended), `trajectory`, `candidate`, `endpoint`, `status` (finished,
    cached, shared, failed, cancelled), `error`, `latency_s`, `attempts`, `prompt_tokens`, `completion_tokens`,
    `usage_estimated`, `raw_cost` (micro-USD), `spend_usd`, and if texts are asked for `query` and `reply`.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, *, max_mb: float, texts: bool) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._handler = _PrivateFile(
            path, maxBytes=int(max_mb * 1e6), backupCount=_KEPT_FILES, encoding="utf-8", errors="replace"
        )
        self._texts = texts

    def write(self, route: Route, *, status: str, trajectory_id: str, endpoint: str) -> None:
        """Append one line. A disk that is full costs lines, not the run: logging reports the fault on stderr."""
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "trajectory": trajectory_id,
            "candidate": route.candidate,
            "endpoint": endpoint,
            "status": status,
            "error": route.error,
            "latency_s": round(route.latency_s, 4),
            "attempts": route.attempts,
            "prompt_tokens": route.prompt_tokens,
            "completion_tokens": route.completion_tokens,
            "usage_estimated": route.usage_estimated,
            "raw_cost": route.raw_cost,
            "spend_usd": route.spend_usd,
        }
        if self._texts:
            line |= {"query": route.query, "reply": route.reply}
        self._handler.handle(logging.makeLogRecord({"msg": json.dumps(line, ensure_ascii=False)}))

    def close(self) -> None:
        self._handler.close()
