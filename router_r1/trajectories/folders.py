"""Folders of benchmarks and training runs as kept trajectories: so that one store pages through all of them.

<benchmark>/**/trajectories.jsonl            what `bench` recorded of each trajectory
<run>/validation/N.jsonl, rollouts/N.jsonl   what veRL writes down at step N: texts and, of a validation, the components
                                             of the reward

A text of veRL's is parted by the loop's own rule: the policy's turn ends at its first `</search>` or `</answer>`, and
right behind a search stands the environment's observation, in which no tag can be written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_r1.benchmark.records import Record, TurnRecord, action_name
from router_r1.errors import ConfigError
from router_r1.protocol import INFORMATION, STOP_STRINGS, Answer, Search, Status, parse_turn
from router_r1.rewards.outcome import exact_match, f1_score
from router_r1.trajectories.kept import KeptTrajectory, routes_to
from router_r1.trajectories.store import TrajectoryStore

logger = logging.getLogger(__name__)

_PATTERNS = ("**/trajectories.jsonl", "**/validation/[0-9]*.jsonl", "**/rollouts/[0-9]*.jsonl")
_ASSISTANT = re.compile(r"\s*assistant\s*\Z")  # what is left of a chat template's markers
_OBSERVATION = re.compile(rf"\s*<{INFORMATION}>(?P<body>.*?)</{INFORMATION}>\n?", re.DOTALL)
_END_BYTES = 256
_COUNTS, _TERMS, _STATUS = "candidate/", "term/", "status/"  # how veRL's lines name them (`Reward.as_metrics`)


@dataclass(frozen=True)
class _Read:
    """What of a file is in the store."""

    num_bytes: int = 0
    num_lines: int = 0
    end: bytes = b""
    """Its last bytes: where others stand in their place, the file was written anew."""


class FolderIndex:
    """The trajectories below folders, in a store.

    Args:
        folders: of runs or benchmarks, or any that hold such; what lies behind a link in them is not looked at.
        store: where they go.

    Raises:
        ConfigError: a folder is not there.
    """

    def __init__(self, folders: Sequence[Path], store: TrajectoryStore) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError("command line", "DIR", str(folder), "is no folder; give one of runs or benchmarks")
        self._folders, self._store = [folder.resolve() for folder in folders], store
        self._read: dict[Path, _Read] = {}

    def refresh(self) -> int:
        """Read what has been written since, whole lines only; how many trajectories that were.

        What stood in a file that is gone, or was written anew, leaves the store.
        """
        count = 0
        files: dict[Path, Path] = {}
        for folder in self._folders:  # one may lie in another: a file is of the first
            for file in _files_below(folder):
                files.setdefault(file, folder)
        for file in self._read.keys() - files.keys():
            self._forget(file)
        for file, folder in files.items():
            found = self._new_lines(file, str(file.relative_to(folder.parent)))
            self._store.add(found)
            count += len(found)
        return count

    def _forget(self, file: Path) -> None:
        self._store.forget(_id_of(file, place + 1) for place in range(self._read.pop(file, _Read()).num_lines))

    def _new_lines(self, file: Path, source: str) -> list[KeptTrajectory]:
        try:
            facts = file.stat()
            with file.open("rb") as content:
                before = self._read.get(file, _Read())
                content.seek(before.num_bytes - len(before.end))
                if content.read(len(before.end)) != before.end:
                    self._forget(file)
                    before = _Read()
                    content.seek(0)
                whole, newline, _ = content.read().rpartition(b"\n")
        except OSError as fault:
            logger.warning("%s cannot be read: %s", file, fault.strerror)
            return []
        text = whole + newline
        lines = text.split(b"\n")[:-1]
        end = (before.end + text)[-_END_BYTES:]
        self._read[file] = _Read(before.num_bytes + len(text), before.num_lines + len(lines), end)
        found = []
        for place, line in enumerate(lines, start=before.num_lines + 1):
            try:
                found.append(_of_line(json.loads(line), _id_of(file, place), source, facts.st_mtime))
            except (ValueError, KeyError, TypeError, AttributeError) as fault:
                logger.warning("%s:%d holds no trajectory: %r", file, place, fault)
        return found


def _files_below(folder: Path) -> list[Path]:
    """Those that hold trajectories, by name, steps in their order."""
    found = {file for pattern in _PATTERNS for file in folder.glob(pattern)}
    own = [file for file in found if file.resolve() == file and file.is_file()]  # no part of the way is a link
    return sorted(own, key=lambda file: (file.parent, len(file.name), file.name))


def _of_line(row: dict[str, Any], id: str, source: str, time: float) -> KeptTrajectory:
    return _of_dump(row, id, source, time) if "output" in row else of_record(row, id, source, time)  # type: ignore[arg-type]


def of_record(record: Record, id: str, source: str, time: float) -> KeptTrajectory:
    """A benchmark's record, or one that a store exported."""
    return KeptTrajectory(
        id=id,
        time=record.get("time", time),  # type: ignore[arg-type]
        source=source,
        data_source=record["data_source"],
        question=record["question"],
        answer=record["answer"],
        golden_answers=record["golden_answers"],
        em=record["em"],
        f1=record["f1"],
        status=record["status"],
        format_error=record["format_error"],
        model=record.get("model", ""),  # type: ignore[arg-type]
        cost_weight=record.get("cost_weight"),
        raw_cost=record["raw_cost"],
        spend_usd=record["spend_usd"],
        seconds=record["latency_s"],
        policy_tokens=record["policy_tokens"],
        candidates=routes_to(record["turns"]),
        turns=record["turns"],
    )


def _of_dump(row: dict[str, Any], id: str, source: str, time: float) -> KeptTrajectory:
    """A line of veRL's. Without the components of the reward, as in training, EM and F1 are of the text's answer."""
    turns = turns_of(row["output"])
    golden = [str(answer) for answer in (row["gts"] or {}).get("target", ())]
    action = parse_turn(turns[-1]["text"]) if turns else None
    answer = action.text if isinstance(action, Answer) else None
    counts = {name.removeprefix(_COUNTS): int(n) for name, n in row.items() if name.startswith(_COUNTS) and n}
    known = [status for status in Status if row.get(f"{_STATUS}{status.value}")]
    return KeptTrajectory(
        id=id,
        time=time,
        source=source,
        question=_question_of(row["input"]),
        answer=answer,
        golden_answers=golden,
        em=row.get("em", exact_match(answer, golden)),
        f1=row.get("f1", f1_score(answer, golden)),
        status=known[0].value if known else Status.ANSWERED.value if answer is not None else None,
        format_error=None if "format" not in row else "broken" if row["format"] else "",
        raw_cost=row.get("raw_cost"),
        spend_usd=row.get("spend_usd"),
        candidates=counts or routes_to(turns),
        reward=row.get("reward", row["score"]),
        rewards={name.removeprefix(_TERMS): value for name, value in row.items() if name.startswith(_TERMS)},
        turns=turns,
    )


def turns_of(text: str) -> list[TurnRecord]:
    """The turns of a trajectory that is known as text alone."""
    turns: list[TurnRecord] = []
    while text.strip():
        end = min((text.index(stop) + len(stop) for stop in STOP_STRINGS if stop in text), default=len(text))
        written, text = text[:end], text[end:]
        found = _OBSERVATION.match(text)
        observation, text = text[: found.end() if found else 0], text[found.end() if found else 0 :]
        action = parse_turn(written)
        route = None
        if isinstance(action, Search) and found:
            route = {"candidate": action.candidate, "query": action.query, "reply": found["body"].strip()}
        turns.append(
            {
                "text": written,
                "action": action_name(action),
                "invalid_reason": "",
                "route": route,
                "observation": observation,
            }
        )
    return turns


def _question_of(prompt: str) -> str:
    """What stands behind the last `Question:` of a prompt, up to the end of the user's message; else the prompt."""
    _, marker, question = prompt.rpartition("Question:")
    return _ASSISTANT.sub("", question if marker else prompt).strip()


def _id_of(file: Path, number: int) -> str:
    """The same whenever the file is read again, and fit for an address."""
    return hashlib.sha256(f"{file}:{number}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
