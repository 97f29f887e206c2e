"""Trajectories, a page at a time: of the server's own store, and of folders, which are read into a store in memory.

A page names a shelf (`server` or `folders`), conditions and an order; the store does the rest, so that it does not
matter how many there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from router_r1.pages.folders import Folders
from router_r1.serving.api_errors import ApiError, refused
from router_r1.trajectories import SORTS, FolderIndex, Selection, Sort, TrajectoryStore

Shelf = Literal["server", "folders"]

_PAGE = 50
_REFRESH_S = 2.0  # folders are not looked through more often


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a page asks for, as it stands in its address."""

    source: str | None = None
    data_source: str | None = None
    status: str | None = None
    candidate: str | None = None
    model: str | None = None
    right: Literal["yes", "no"] | None = None
    format_error: Literal["yes", "no"] | None = None
    feedback: Literal["any", "up", "down", "none"] | None = None
    least_raw_cost: float | None = None
    most_raw_cost: float | None = None
    text: str | None = None
    sort: str = "time"
    descending: bool = True

    @property
    def selection(self) -> Selection:
        return Selection(
            source=self.source,
            data_source=self.data_source,
            status=self.status,
            candidate=self.candidate,
            model=self.model,
            is_right=_truth(self.right),
            has_format_error=_truth(self.format_error),
            feedback=self.feedback,
            least_raw_cost=self.least_raw_cost,
            most_raw_cost=self.most_raw_cost,
            text=self.text,
        )

    @property
    def order(self) -> Sort:
        """Raises ApiError, 400, if they cannot be sorted by that."""
        if self.sort not in SORTS:
            raise refused("sort", f"trajectories cannot be sorted by that; by {', '.join(SORTS)}")
        return Sort(self.sort, self.descending)


class Trajectories:
    """All shelves.

    Args:
        folders: of runs and benchmarks.
        store: the server's own; None where there is no server.
    """

    def __init__(self, folders: Folders, store: TrajectoryStore | None = None) -> None:
        self._folders, self._server = folders, store
        self._read = TrajectoryStore(keep_texts=True)
        self._index: FolderIndex | None = None
        self._indexed: Sequence[Path] = ()
        self._looked_at: float | None = None
        self._lock = threading.Lock()

    @property
    def shelves(self) -> list[str]:
        """Those that there are; what the server keeps comes first."""
        return [*(["server"] if self._server is not None else []), "folders"]

    def page(self, shelf: Shelf, chosen: Chosen, offset: int) -> dict[str, Any]:
        """Some rows, how many there are in all, and what can be chosen from."""
        store = self._store(shelf)
        found = store.page(chosen.selection, chosen.order, offset=offset, limit=_PAGE)
        rows = [asdict(row) for row in found.rows]
        return {"total": found.total, "rows": rows, "offset": offset, "limit": _PAGE, "choices": store.choices()}

    def one(self, shelf: Shelf, id: str, chosen: Chosen) -> dict[str, Any]:
        """A whole trajectory, and the ids of those before and after it in the order of the page.

        Raises:
            ApiError: 404; there is none of that id.
        """
        store = self._store(shelf)
        found = store.get(id)
        if found is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "there is no such trajectory", code="not_found")
        before, after = store.neighbours(id, chosen.selection, chosen.order)
        return {"trajectory": asdict(found), "before": before, "after": after}

    def _store(self, shelf: Shelf) -> TrajectoryStore:
        if shelf == "server":
            if self._server is None:
                raise ApiError(HTTPStatus.NOT_FOUND, "this server keeps no trajectories", code="not_found")
            return self._server
        self._refresh()
        return self._read

    def _refresh(self) -> None:
        """Read what was written to the folders since."""
        with self._lock:
            now = time.monotonic()
            if self._looked_at is not None and now - self._looked_at < _REFRESH_S:
                return
            there = tuple(root for root in self._folders.roots if root.is_dir())
            if self._index is None or there != self._indexed:
                self._index, self._indexed = FolderIndex(there, self._read), there
            self._index.refresh()
            self._looked_at = time.monotonic()


def _truth(written: Literal["yes", "no"] | None) -> bool | None:
    return None if written is None else written == "yes"
