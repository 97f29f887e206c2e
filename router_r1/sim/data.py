"""Parquet files for training and validation, from the synthetic world or from real questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from router_r1.errors import ConfigError
from router_r1.qa_data import (
    Messages,
    QaItem,
    flashrag_file,
    list_splits,
    question_row,
    rows_from_flashrag,
    write_parquet,
)
from router_r1.sim.world import World

Rows = list[dict[str, Any]]
Render = Callable[[str], Messages]
"""Question -> prompt messages."""


def world_rows(world: World, split: str, n: int, seed: int, *, render: Render, two_hop_share: float = 0.4) -> Rows:
    """`n` questions of the world's split; their data source tells the hops apart, so that metrics do too."""
    return [
        question_row(
            QaItem(f"{split}_{index}", question.text, tuple(question.golden_answers)),
            data_source=f"world_{question.num_hops}hop",
            split=split,
            index=index,
            messages=render(question.text),
        )
        for index, question in enumerate(world.generate(split, n, seed, two_hop_share))
    ]


def resolve_sets(root: str | Path, written: Sequence[str], default_splits: Sequence[str]) -> list[tuple[str, str]]:
    """(data set, split) pairs of what a user wrote: `nq:train`, or `nq` for the first of `default_splits` it has.

    Raises:
        ConfigError: a data set or split that does not exist, or one that is named twice.
    """
    there = list_splits(root)
    sets = []
    for entry in written:
        dataset, _, split = (part.strip() for part in entry.partition(":"))
        split = split or next((s for s in default_splits if s in there.get(dataset, ())), default_splits[0])
        flashrag_file(root, dataset, split)
        sets.append((dataset, split))
    if len(set(sets)) < len(sets):
        raise ConfigError("data sets", "", ", ".join(written), "one of them is named twice")
    return sets


def qa_rows(
    root: str | Path, sets: Sequence[tuple[str, str]], n: int, seed: int, *, render: Render, serves_as: str
) -> Rows:
    """`n` real questions, the same number from each data set (the first ones give one more where it does not divide).

    Args:
        root: FlashRAG-layout folder.
        sets: (data set, split) pairs.
        serves_as: what the rows serve for: "train" or "val".
    """
    rows: Rows = []
    for position, (dataset, split) in enumerate(sets):
        share = n // len(sets) + (position < n % len(sets))
        rows += rows_from_flashrag(
            root, dataset, split, share, seed, render=render, serves_as=serves_as, first_index=len(rows)
        )
    return rows


def write_world(
    out: str | Path, world: World, *, train: int, val: int, seed: int, two_hop_share: float, render: Render
) -> list[Path]:
    """Write `out`/train.parquet and `out`/val.parquet with questions of the world; their paths."""
    return _write(
        out,
        train=world_rows(world, "train", train, seed, render=render, two_hop_share=two_hop_share),
        val=world_rows(world, "val", val, seed, render=render, two_hop_share=two_hop_share),
    )


TRAIN_SPLITS = ("train",)
VAL_SPLITS = ("val", "dev", "test")


def write_qa(
    out: str | Path,
    root: str | Path,
    *,
    train_sets: Sequence[str],
    val_sets: Sequence[str],
    train: int,
    val: int,
    seed: int,
    render: Render,
) -> list[Path]:
    """Write `out`/train.parquet and `out`/val.parquet with real questions; their paths.

    Args:
        train_sets, val_sets: `<dataset>` or `<dataset>:<split>`; a data set alone means its training split, and for
            validation the first it has of val, dev, test.
    """
    train_pairs = resolve_sets(root, train_sets, TRAIN_SPLITS)
    val_pairs = resolve_sets(root, val_sets, VAL_SPLITS)
    if shared := set(train_pairs) & set(val_pairs):
        raise ConfigError("data sets", "", sorted(shared), "cannot both train and validate")
    return _write(
        out,
        train=qa_rows(root, train_pairs, train, seed, render=render, serves_as="train"),
        val=qa_rows(root, val_pairs, val, seed, render=render, serves_as="val"),
    )


def _write(out: str | Path, **rows_of: Rows) -> list[Path]:
    paths = []
    for split, rows in rows_of.items():
        paths.append(Path(out) / f"{split}.parquet")
        write_parquet(rows, paths[-1])
    return paths
