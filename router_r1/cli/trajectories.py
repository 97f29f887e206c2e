"""`router-r1 trajectories export`: what a server kept, as records of a benchmark."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError

app = App(name="trajectories", help="The trajectories that a server kept (serve --store).")


@app.command
def export(
    store: Annotated[Path, Parameter(name="STORE")],
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    arm: str | None = None,
    feedback: Literal["any", "up", "down", "none"] | None = None,
    golden: bool = False,
    liked_as_golden: float | None = None,
) -> int:
    """Write one JSON line per trajectory, the oldest first.

    Parameters
    ----------
    store
        The file of `serve --store`; the server may be running.
    out
        File for them (default: standard output).
    model
        Those of this model.
    arm
        Those of this arm of a split.
    feedback
        Those with feedback: any, up (a score of at least 0.5), down; or with none.
    golden
        Those that can be trained on: with a golden answer.
    liked_as_golden
        With --golden: an answer whose feedback is at least this score, such as 1 for thumbs up, serves as a golden one
        where none is known.
    """

    def run() -> None:
        from router_r1.trajectories import Selection, TrajectoryStore
        from router_r1.trajectories.export import exported, with_golden_answers

        if liked_as_golden is not None and not (golden and 0 <= liked_as_golden <= 1):
            raise ConfigError("command line", "--liked-as-golden", liked_as_golden, "goes with --golden, from 0 to 1")
        with ExitStack() as stack:
            opened = stack.enter_context(TrajectoryStore(store, keep_texts=True, must_exist=True))
            try:
                if out:
                    out.parent.mkdir(parents=True, exist_ok=True)
                sink = stack.enter_context(out.open("w", encoding="utf-8")) if out else sys.stdout
            except OSError as fault:
                raise ConfigError("command line", "--out", str(out), f"cannot be written: {fault.strerror}") from None
            records = exported(opened.every(Selection(model=model, arm=arm, feedback=feedback)))
            for record in with_golden_answers(records, least_score=liked_as_golden) if golden else records:
                sink.write(json.dumps(record) + "\n")

    return exit_code_of(run)
