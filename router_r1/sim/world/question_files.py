"""Parquet files for training and validation, from the synthetic world or from real questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from router_r1.datasets import (
    Question,
    Render,
    drawn_row,
    rows_from_flashrag,
    write_parquet,
)
from router_r1.errors import ConfigError
from router_r1.pool import Dealer
from router_r1.sim.world.facts import Shares, World

Rows = list[dict[str, Any]]
QaSet = tuple[str, str]
"""Data set and split."""


def world_rows(
    world: World,
    split: str,
    n: int,
    seed: int,
    *,
    render: Render,
    shares: Shares | None = None,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
) -> Rows:
    """`n` questions of the world's split; their data source tells the hops apart, and facts that everybody knows from
    others, so that metrics do too.

    Their kind is the domain of the hop to be resolved first.

    Args:
        shares: of each kind of question.
        deal, cost_weights: what is drawn for each question (`drawn_row`).
    """
    return [
        drawn_row(
            Question(f"{split}_{index}", question.text, tuple(question.golden_answers)),
            data_source="world_known" if question.is_known else f"world_{question.num_hops}hop",
            split=split,
            index=index,
            render=render,
            kind=question.hops[0].domain,
            deal=deal,
            cost_weights=cost_weights,
            seed=seed,
        )
        for index, question in enumerate(world.generate(split, n, seed, shares))
    ]


def parse_sets(written: str) -> list[QaSet]:
    """`nq:train,hotpotqa:train` -> [("nq", "train"), ("hotpotqa", "train")].

    Raises:
        ConfigError: it is written otherwise, or names a split twice.
    """
    sets: list[QaSet] = []
    for entry in written.split(","):
        dataset, _, split = (part.strip() for part in entry.partition(":"))
        if not dataset or not split:
            raise ConfigError("data sets", "", written, "must be written <dataset>:<split>,<dataset>:<split>,...")
        sets.append((dataset, split))
    if len(set(sets)) < len(sets):
        raise ConfigError("data sets", "", written, "names one of them twice")
    return sets


def split_evenly(n: int, parts: int) -> list[int]:
    """`n` divided into `parts` whole numbers that differ by at most one, the larger first."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def qa_rows(
    root: str | Path,
    sets: Sequence[QaSet],
    n: int,
    seed: int,
    *,
    render: Render,
    serves_as: str,
    skip: int = 0,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
) -> Rows:
    """`n` real questions, the same number from each set (the first ones give one more where it does not divide).

    Args:
        root: FlashRAG-layout folder.
        serves_as: what the rows serve for: "train" or "val".
        skip: leave out what a call for `skip` rows with the same seed takes.
        deal, cost_weights: what is drawn for each question (`drawn_row`).
    """
    rows: Rows = []
    for (dataset, split), share, taken in zip(
        sets, split_evenly(n, len(sets)), split_evenly(skip, len(sets)), strict=True
    ):
        rows += rows_from_flashrag(
            root,
            dataset,
            split,
            share,
            seed,
            render=render,
            serves_as=serves_as,
            skip=taken,
            first_index=len(rows),
            deal=deal,
            cost_weights=cost_weights,
        )
    return rows


def write_world(
    out: str | Path,
    world: World,
    *,
    train: int,
    val: int,
    seed: int,
    shares: Shares,
    render: Render,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
) -> list[Path]:
    """Write `out`/train.parquet and `out`/val.parquet with questions of the world; their paths."""
    drawn = partial(world_rows, world, render=render, shares=shares, deal=deal, cost_weights=cost_weights)
    return _write(out, train=drawn("train", train, seed), val=drawn("val", val, seed))


def write_qa(
    out: str | Path,
    root: str | Path,
    *,
    sets: Sequence[QaSet],
    val_sets: Sequence[QaSet] | None,
    train: int,
    val: int,
    seed: int,
    render: Render,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
) -> list[Path]:
    """Write `out`/train.parquet and `out`/val.parquet with real questions; their paths.

    Args:
        root: FlashRAG-layout folder.
        sets: where training questions come from.
        val_sets: where validation questions come from; None for what training leaves of `sets`.

    Raises:
        ConfigError: a set that does not exist, holds too few questions, or is to serve for both.
    """
    if shared := set(sets) & set(val_sets or ()):
        raise ConfigError("data sets", "", ":".join(min(shared)), "cannot both train and validate")
    drawn = partial(qa_rows, root, render=render, deal=deal, cost_weights=cost_weights)
    return _write(
        out,
        train=drawn(sets, train, seed, serves_as="train"),
        val=drawn(val_sets or sets, val, seed, serves_as="val", skip=0 if val_sets else train),
    )


def _write(out: str | Path, **rows_of: Rows) -> list[Path]:
    paths = []
    for split, rows in rows_of.items():
        paths.append(Path(out) / f"{split}.parquet")
        write_parquet(rows, paths[-1])
    return paths
