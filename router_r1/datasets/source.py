"""Questions with golden answers, and what every source of them can do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from router_r1.errors import ConfigError

MAX_BAD_SHARE = 0.01
"""Of the rows of a split: so many unusable ones are left out with a warning before it is an error."""

_HELD_OUT_SPLITS = ("test", "dev", "train")


@dataclass(frozen=True)
class Question:
    """One question of a data set."""

    id: str
    text: str
    golden_answers: tuple[str, ...]  # any of which is right


@dataclass(frozen=True)
class Questions:
    """The good rows of one split, and how many bad ones were left out."""

    items: list[Question]
    num_bad: int


class DatasetSource(Protocol):
    """Where data sets with splits are read from: a folder, the hub, or a class of the user's.

    Its `str` names it in error texts.
    """

    def splits(self, dataset: str) -> list[str]:
        """The splits of a data set; none if it is not there.

        Raises:
            ConfigError: the source itself cannot be read.
        """
        ...

    def read(self, dataset: str, split: str, *, max_bad_share: float = MAX_BAD_SHARE) -> Questions:
        """All questions of a split, in order.

        Raises:
            ConfigError: it does not exist, cannot be read, is empty, or has too many bad rows.
        """
        ...


def held_out_split(source: DatasetSource, dataset: str) -> str:
    """The split that a data set is tested on: test, else dev, else train.

    Raises:
        ConfigError: it has none of them.
    """
    there = source.splits(dataset)
    for split in _HELD_OUT_SPLITS:
        if split in there:
            return split
    raise ConfigError(source, "data set", dataset, f"is not there; it needs one of the splits {_HELD_OUT_SPLITS}")


def normalise_question(text: str) -> str:
    """Case-folded words separated by single spaces: what two spellings of one question have in common."""
    return " ".join(re.findall(r"\w+", text.casefold()))
