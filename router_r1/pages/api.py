"""What the front end asks for: its own files, and JSON under `/pages/`.

Files of the front end are open to whoever reaches the server; everything else is let in by a gate: where keys are asked
for, by a key, and else by this machine's own pages and programs only (`serving.admission`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import RedirectResponse, Response

from router_r1.pages.candidates import candidates_of
from router_r1.pages.comparison import comparison
from router_r1.pages.configurations import difference
from router_r1.pages.curves import last_logged_s, new_steps
from router_r1.pages.folders import Folder, Folders
from router_r1.pages.static_files import HEADERS, StaticFiles
from router_r1.pages.trajectories import Chosen, Shelf, Trajectories
from router_r1.runs import read_run_json
from router_r1.serving.admission import admit
from router_r1.serving.keys import Keys
from router_r1.serving.models import ServedModels
from router_r1.trajectories import TrajectoryStore

PAGES = ("/trajectories", "/runs", "/compare")
"""Addresses that a page can be opened at, and linked to; `/` is Ask, or without a policy the first of these."""

_INDEX = "index.html"
_FACTS = ("experiment", "seed", "cost_coe", "pool", "model_path", "commit")


class Pages:
    """The pages of one server.

    Args:
        folders: of runs and benchmarks.
        keys: that are asked for; none, and the server is this machine's own.
        models: tells what may be asked now; None where there is no policy.
        store: of the server's trajectories; a server that has one takes feedback, too (`/v1/feedback`).
    """

    def __init__(
        self,
        folders: Folders,
        keys: Keys,
        *,
        models: Callable[[], ServedModels] | None = None,
        store: TrajectoryStore | None = None,
    ) -> None:
        self._folders, self._keys, self._models = folders, keys, models
        self._trajectories, self._takes_feedback = Trajectories(folders, store), store is not None
        self._static = StaticFiles()

    def add_to(self, api: FastAPI) -> None:
        """Add all addresses."""
        api.add_api_route("/", self._home, methods=["GET"], response_model=None, include_in_schema=False)
        for page in PAGES:
            api.add_api_route(page, self._page, methods=["GET"], response_model=None, include_in_schema=False)
        api.add_api_route(
            "/pages/static/{name:path}", self._file, methods=["GET"], response_model=None, include_in_schema=False
        )
        endpoints: Mapping[str, Callable[..., Response]] = {
            "about": self._about,
            "runs": self._runs,
            "curves": self._curves,
            "config-difference": self._difference,
            "benchmarks": self._benchmarks,
            "comparison": self._comparison,
            "trajectories": self._some_trajectories,
            "trajectory": self._trajectory,
        }
        for name, endpoint in endpoints.items():
            api.add_api_route(
                f"/pages/{name}",
                endpoint,
                methods=["GET"],
                response_model=None,
                include_in_schema=False,
                dependencies=[Depends(self._gate)],
            )

    # ------------------------------------------------------------ files

    def _home(self, request: Request) -> Response:
        if self._models is None:
            return RedirectResponse(PAGES[0], headers=HEADERS)
        return self._page(request)

    def _page(self, request: Request) -> Response:
        return self._file(request, _INDEX)

    def _file(self, request: Request, name: str) -> Response:
        return self._static.response(name, request)

    # ------------------------------------------------------------ JSON

    def _gate(self, request: Request) -> None:
        """Raises ApiError, 401 or 403, if whoever asks may not."""
        admit(request.headers, self._keys)

    def _about(self) -> Response:
        """What this server has, so that the front end shows no more."""
        asking = None
        if self._models is not None:
            models = self._models()
            asking = {
                "models": [{"name": name, "follows_cost": models.follows_cost(name)} for name in models.names],
                "cost_weight": models.cost_weight,
                "takes_feedback": self._takes_feedback,
            }
        shelves = self._trajectories.shelves
        return _reply({"asking": asking, "candidates": self._candidates(), "shelves": shelves})

    def _candidates(self) -> list[str]:
        """All that are known, in one order for all pages: the place of each is its colour."""
        served = sorted(self._models().candidates) if self._models is not None else []
        return [*served, *sorted(candidates_of(self._folders.all()) - set(served))]

    def _runs(self) -> Response:
        return _reply({"runs": [_run(folder) for folder in self._folders.all("run")]})

    def _curves(self, run: str, cursor: str = "") -> Response:
        return _reply(asdict(new_steps(self._folders.find(run, "run").path, cursor)))

    def _difference(self, first: str, second: str) -> Response:
        one, other = (self._folders.find(name, "run").path for name in (first, second))
        return _reply({"keys": difference(one, other)})

    def _benchmarks(self) -> Response:
        return _reply({"benchmarks": [folder.name for folder in self._folders.all("benchmark")]})

    def _comparison(self, of: Annotated[list[str] | None, Query()] = None) -> Response:
        """Of the benchmarks named, or of all."""
        chosen = [self._folders.find(name, "benchmark") for name in dict.fromkeys(of)] if of else None
        return _reply(comparison(self._folders.all("benchmark") if chosen is None else chosen))

    def _some_trajectories(
        self, shelf: Shelf, chosen: Annotated[Chosen, Depends()], offset: Annotated[int, Query(ge=0, lt=2**31)] = 0
    ) -> Response:
        return _reply(self._trajectories.page(shelf, chosen, offset))

    def _trajectory(self, shelf: Shelf, id: str, chosen: Annotated[Chosen, Depends()]) -> Response:
        return _reply(self._trajectories.one(shelf, id, chosen))


def _run(folder: Folder) -> dict[str, Any]:
    """A line of the listing."""
    try:
        facts = read_run_json(folder.path)
    except (OSError, ValueError):  # it is being made, or was made by something else
        facts = {}
    known = {name: facts.get(name) for name in _FACTS} if isinstance(facts, dict) else {}
    return {"name": folder.name, "last_logged_s": last_logged_s(folder.path), **known}


def _reply(data: object) -> Response:
    """JSON, with null for what is no number: JSON has none for it."""
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return Response(json.dumps(_finite(data), allow_nan=False), media_type="application/json", headers=headers)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(name): _finite(value) for name, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_finite(value) for value in data]
    return data
