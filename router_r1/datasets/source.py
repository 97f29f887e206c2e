"""Questions with golden answers, and what every source of them can do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from router_r1.errors import ConfigError
from router_r1.plugins import check_call

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


SOURCE_ARGUMENTS = ("data_root",)
"""What a source of the user's may ask for: the folder of `--data-root`."""


@runtime_checkable
class KnowsItsDatasets(Protocol):
    """A source that can say, for an error, which data sets there are."""

    def datasets(self) -> list[str]:
        """Their names."""
        ...


class CheckedSource:
    """A user's source: what it returns is seen to.

    Args:
        source: what the class or function that was named made.
        written: how the user named it.

    Raises:
        ConfigError: it lacks `splits` or `read`.
    """

    def __init__(self, source: DatasetSource, written: str) -> None:
        for name, arguments in (("splits", ["dataset"]), ("read", ["dataset", "split", "max_bad_share="])):
            check_call("command line", "--source", source, name, arguments=arguments, waits=False)
        self._source, self._written = source, written

    def __str__(self) -> str:
        return str(self._source)

    def splits(self, dataset: str) -> list[str]:
        """As `DatasetSource.splits`."""
        found: object = self._source.splits(dataset)
        if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
            raise self._refusal("splits", found, "a list of names, [] for a data set that is not there")
        return list(found)

    def read(self, dataset: str, split: str, *, max_bad_share: float = MAX_BAD_SHARE) -> Questions:
        """As `DatasetSource.read`."""
        found: object = self._source.read(dataset, split, max_bad_share=max_bad_share)
        if not isinstance(found, Questions):
            raise self._refusal("read", found, "Questions, as questions_of_rows makes them")
        for item in found.items:
            answers: object = item.golden_answers if isinstance(item, Question) else None
            if not isinstance(answers, tuple) or not answers or not all(isinstance(one, str) for one in answers):
                raise self._refusal("read", item, "Questions with a tuple of golden answers each")
        return found

    def _refusal(self, name: str, found: object, wanted: str) -> ConfigError:
        remedy = f"{name} returned {found!r:.80}; must return {wanted}"
        return ConfigError("command line", "--source", self._written, remedy)


def held_out_split(source: DatasetSource, dataset: str) -> str:
    """The split that a data set is tested on: test, else dev, else train.

    Raises:
        ConfigError: it has none of them.
    """
    there = source.splits(dataset)
    for split in _HELD_OUT_SPLITS:
        if split in there:
            return split
    remedy = f"is not there, or has none of the splits {', '.join(_HELD_OUT_SPLITS)}"
    if isinstance(source, KnowsItsDatasets):
        remedy += f"; there are {', '.join(source.datasets()) or 'none'}"
    raise ConfigError(source, "data set", dataset, remedy)


def normalise_question(text: str) -> str:
    """Case-folded words separated by single spaces: what two spellings of one question have in common."""
    return " ".join(re.findall(r"\w+", text.casefold()))
