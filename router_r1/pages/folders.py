"""Which folders of runs and benchmarks there are to see.

A page names one of the listing. The name is looked up, and never made into a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.errors import ConfigError
from router_r1.runs import METHODS_FOLDER
from router_r1.serving.api_errors import ApiError

_DEPTH = 5  # below a folder that was given
_MOST = 20_000  # folders that are looked into: somebody may have given a whole disk
_TRAJECTORIES = "trajectories.jsonl"

Kind = Literal["run", "benchmark"]


@dataclass(frozen=True)
class Folder:
    """A run or a benchmark."""

    name: str
    """How pages call it: its path below the folder that was given, as far as that tells it from others."""
    path: Path
    kind: Kind


class Folders:
    """What is found at and below some folders. It is looked for anew each time: runs come while a page is open.

    Args:
        roots: folders; one that is not there is passed over until it is.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(dict.fromkeys(roots))

    def all(self, kind: Kind | None = None) -> list[Folder]:
        """Those of a kind, by name."""
        return sorted((f for f in self._named().values() if kind in (None, f.kind)), key=lambda folder: folder.name)

    def find(self, name: str, kind: Kind) -> Folder:
        """The folder of that name.

        Raises:
            ApiError: 404; there is none in the listing.
        """
        folder = self._named().get(name)
        if folder is None or folder.kind != kind:
            raise ApiError(HTTPStatus.NOT_FOUND, f"there is no such {kind}", code="not_found")
        return folder

    def _named(self) -> dict[str, Folder]:
        named: dict[str, Folder] = {}
        seen: set[Path] = set()
        for root in self.roots:
            top = root.resolve()
            for path, kind in _below(top):
                if path in seen:
                    continue
                seen.add(path)
                name = top.name if path == top else path.relative_to(top).as_posix()
                if name in named:
                    name = f"{top.name}/{name}"
                number = 2
                while name in named:
                    name, number = f"{name} ({number})", number + 1
                named[name] = Folder(_printable(name), path, kind)
        return {folder.name: folder for folder in named.values()}


def check_roots(roots: Sequence[Path]) -> None:
    """See that folders that somebody named are there.

    Raises:
        ConfigError: one is not.
    """
    for root in roots:
        if not root.is_dir():
            raise ConfigError("command line", "DIR", str(root), "is no folder")


def _below(top: Path) -> Iterator[tuple[Path, Kind]]:
    """Runs and benchmarks at and below a folder. Links are not followed: they lead elsewhere, or name one twice."""
    waiting, looked_into = [(top, 0)], 0
    while waiting and looked_into < _MOST:
        path, depth = waiting.pop()
        looked_into += 1
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if kind := _kind(names):
            yield path, kind
        elif depth < _DEPTH:
            waiting += [
                (Path(entry.path), depth + 1)
                for entry in sorted(entries, key=lambda entry: entry.name, reverse=True)
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            ]


def _kind(names: set[str]) -> Kind | None:
    if {"run.json", "metrics"} & names and not {_TRAJECTORIES, RESULTS_FILE} & names:
        return "run"
    if _TRAJECTORIES in names or (RESULTS_FILE in names and METHODS_FOLDER not in names):
        return "benchmark"
    return None


def _printable(name: str) -> str:
    """A name that JSON can carry; a file system may hold bytes that are no text."""
    return name.encode("utf-8", "replace").decode("utf-8")
