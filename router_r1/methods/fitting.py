"""Routers fitted on scores before anything is asked of them: for a contest, and for a server."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from router_r1.atomic import write_text
from router_r1.datasets import normalise_question
from router_r1.errors import ConfigError
from router_r1.methods.catalogue import Contender
from router_r1.methods.encoders import Encoder
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import SingleRoundRouter
from router_r1.pool import RoutingPool
from router_r1.scores import ScoreTable

FITTED_ON_FILE = "fitted_on.json"


def that_can_run(
    named: Iterable[Contender], written: str, *, has_scores: bool
) -> tuple[list[Contender], dict[str, str]]:
    """Without those that need a package or scores that are not there; and the titles of these, with what they need.

    Args:
        written: as `--methods` has them; one that is named there, rather than being among `all`, needs its scores.

    Raises:
        ConfigError: scores are needed, or nothing is left.
    """
    found: list[Contender] = []
    missing: dict[str, str] = {}
    for contender in named:
        if contender.missing:
            missing[contender.title] = contender.missing
        elif contender.fits and not has_scores:
            if contender.name in re.split(r"\s*,\s*", written.strip()):
                raise ConfigError("command line", "--scores", None, f"is needed: {contender.name} is fitted on scores")
            missing[contender.title] = "needs --scores FILE"
        else:
            found.append(contender)
    if not found:
        why = "; ".join(f"{title} {need}" for title, need in missing.items())
        raise ConfigError("command line", "--methods", written, f"leaves nothing to run: {why}")
    return found, missing


def training_table(table: ScoreTable, pool: RoutingPool, *, asked: Iterable[str] = ()) -> ScoreTable:
    """The scores, without those of the questions that will be asked.

    Raises:
        ConfigError: a candidate of the pool has no scores, or no question is left.
    """
    check_candidates(table.candidates, pool, table.source)
    held_out = {normalise_question(text) for text in asked}
    kept = [row for row, text in enumerate(table.texts) if normalise_question(text) not in held_out]
    if not kept:
        raise ConfigError(table.source, "question", None, "are all asked here; fit on scores of other questions")
    return table.rows(kept)


def check_candidates(scored: Sequence[str], pool: RoutingPool, source: str) -> None:
    """See that whatever the pool has can be chosen.

    Args:
        source: of the scores.

    Raises:
        ConfigError: a candidate of the pool has no scores.
    """
    if missing := [name for name in pool.names if name not in scored]:
        remedy = f"is in the pool and has no scores here; there are those of {', '.join(scored)}"
        raise ConfigError(source, "candidate", missing[0], remedy)


def fit_routers(
    names: Collection[str], train: ScoreTable, encoder: Encoder, *, seed: int, folder: Path | None = None
) -> dict[str, SingleRoundRouter]:
    """Routers of `ROUTERS`, fitted; what takes time is told on standard error.

    Args:
        folder: those that are there are loaded, the others are saved there; None: all are fitted.

    Raises:
        ConfigError: the folder holds routers that were fitted on something else.
    """
    if folder is not None:
        _take_up(folder, train, encoder, seed)
    fitted = {}
    for name in names:
        router, own = ROUTERS[name].make(), None if folder is None else folder / name
        if own is not None and own.is_dir():
            fitted[name] = type(router).load(own, encoder)
            continue
        print(f"fitting {ROUTERS[name].title}", file=sys.stderr)
        router.fit(train, encoder, seed=seed)
        if own is not None:
            router.save(own)
        fitted[name] = router
    return fitted


def digest(table: ScoreTable) -> str:
    """The same for the same scores."""
    found = hashlib.sha256(repr([table.candidates, table.texts]).encode())
    for values in (table.score, table.raw_cost, table.offered):
        found.update(values.tobytes())
    return found.hexdigest()


def _take_up(folder: Path, train: ScoreTable, encoder: Encoder, seed: int) -> None:
    """Make the folder, or see that it is of the same scores, encoder and seed."""
    file, setting = folder / FITTED_ON_FILE, {"scores_sha256": digest(train), "encoder": encoder.name, "seed": seed}
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        if before is None:
            write_text(file, json.dumps(setting, indent=2) + "\n")
    except (OSError, ValueError) as fault:
        raise ConfigError(file, "", None, f"cannot be used: {fault}; give another folder") from None
    if before not in (None, setting):
        raise ConfigError(file, "", None, "is of other scores, another encoder or seed; give another folder")
