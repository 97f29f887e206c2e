"""Which questions go into a file: seeded draws without repetition, and training questions that no test asks.

The order of a draw depends on the seed and on the questions, not on their order in the file: more questions with the
same seed are the same ones and some more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.datasets.flashrag import FlashragFolder, flashrag_file
from router_r1.datasets.parquet import Render, drawn_row
from router_r1.datasets.source import MAX_BAD_SHARE, DatasetSource, Question, held_out_split, normalise_question
from router_r1.errors import ConfigError

if TYPE_CHECKING:
    from router_r1.pool import Dealer

logger = logging.getLogger(__name__)

GENERAL = ("nq", "triviaqa", "popqa")
MULTI_HOP = ("hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
BENCHMARKS = (*GENERAL, *MULTI_HOP)
"""The seven data sets of the Router-R1 paper (arXiv:2506.09033), in the order of its table 1."""


@dataclass(frozen=True)
class Draw:
    """Questions drawn from one split, and what was left out."""

    dataset: str
    split: str
    items: list[Question]
    available: int  # distinct questions that could be drawn
    bad_rows: int
    repeated: int  # occur twice in the split, or in a data set drawn before
    held_out: int  # also asked by a test set

    def as_json(self) -> dict[str, Any]:
        facts = asdict(self)
        facts["taken"] = len(facts.pop("items"))
        return facts


def held_out_questions(
    source: DatasetSource, datasets: Iterable[str], *, not_from: Iterable[tuple[str, str]] = ()
) -> set[str]:
    """The normalised questions that the data sets' test sets are drawn from; data sets that are not there have none.

    Args:
        not_from: (data set, split) to leave out: what is trained on.
    """
    found: set[str] = set()
    trained_on = set(not_from)
    for dataset in datasets:
        if not source.splits(dataset):
            continue
        split = held_out_split(source, dataset)
        if (dataset, split) in trained_on:
            logger.warning("%s has neither test nor dev: training and test questions come from one split", dataset)
            continue
        found |= {normalise_question(item.text) for item in source.read(dataset, split, max_bad_share=1).items}
    return found


def draw(
    source: DatasetSource,
    dataset: str,
    split: str,
    n: int | None,
    seed: int,
    *,
    held_out: frozenset[str] | set[str] = frozenset(),
    taken: set[str] | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Draw:
    """Up to `n` questions of a split in random order, each once.

    Args:
        n: how many; None for all.
        seed: of the order.
        held_out: normalised questions that must not be drawn.
        taken: normalised questions drawn before from other data sets; those drawn now are added.

    Raises:
        ConfigError: the split does not exist or cannot be used, or nothing is left of it.
    """
    taken = set() if taken is None else taken
    read = source.read(dataset, split, max_bad_share=max_bad_share)
    distinct = _distinct(read.items)
    fresh = {text: item for text, item in distinct.items() if text not in held_out}
    new = {text: item for text, item in fresh.items() if text not in taken}
    if not new:
        raise ConfigError(source, "data set", f"{dataset}:{split}", "holds no question that no other set asks as well")
    chosen = _order(new, f"{seed}:{dataset}:{split}")[:n]
    taken.update(chosen)
    return Draw(
        dataset=dataset,
        split=split,
        items=[new[text] for text in chosen],
        available=len(new),
        bad_rows=read.num_bad,
        repeated=len(read.items) - len(distinct) + len(fresh) - len(new),
        held_out=len(distinct) - len(fresh),
    )


def rows_of(
    draws: Sequence[Draw],
    *,
    serves_as: str,
    render: Render,
    first_index: int = 0,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Parquet rows of several draws, one after another, with one running index.

    Args:
        deal, cost_weights, seed: what is drawn for each question (`drawn_row`).
    """
    items = ((one.dataset, item) for one in draws for item in one.items)
    for index, (dataset, item) in enumerate(items, start=first_index):
        yield drawn_row(
            item,
            data_source=dataset,
            split=serves_as,
            index=index,
            render=render,
            deal=deal,
            cost_weights=cost_weights,
            seed=seed,
        )


def rows_from_flashrag(
    root: str | Path,
    dataset: str,
    split: str,
    n: int | None,
    seed: int,
    *,
    render: Render,
    serves_as: str | None = None,
    skip: int = 0,
    first_index: int = 0,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """Exactly `n` questions of a local data set's split as parquet rows, in random order, each question once.

    Args:
        n: how many; None for all.
        seed: of the order, and of the cost weights.
        serves_as: `extra_info.split`; None for the split itself.
        skip: leave out the first `skip` questions of that order: those that another file took with the same seed.
        first_index: `extra_info.index` of the first row.
        deal, cost_weights: what is drawn for each question (`drawn_row`).

    Raises:
        ConfigError: unknown data set, bad file, or too few questions in it.
    """
    path = flashrag_file(root, dataset, split)
    distinct = _distinct(FlashragFolder(root).read(dataset, split).items)
    left = _order(distinct, f"{seed}:{dataset}:{split}")[skip:]
    if n is not None and n > len(left):
        raise ConfigError(
            path, "number of questions", n, f"only {len(left)} distinct ones are left in it; ask for fewer"
        )
    return [
        drawn_row(
            distinct[text],
            data_source=dataset,
            split=serves_as or split,
            index=index,
            render=render,
            deal=deal,
            cost_weights=cost_weights,
            seed=seed,
        )
        for index, text in enumerate(left[:n], start=first_index)
    ]


def _distinct(items: Sequence[Question]) -> dict[str, Question]:
    """Normalised question -> the first item that asks it."""
    return {normalise_question(item.text): item for item in reversed(items)}


def _order(texts: Iterable[str], key: str) -> list[str]:
    return sorted(texts, key=lambda text: hashlib.sha256(f"{key}:{text}".encode()).digest())
