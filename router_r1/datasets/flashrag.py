"""FlashRAG's layout (github.com/RUC-NLPIR/FlashRAG): `ROOT/<dataset>/<split>.jsonl`, or the same data on the hub.

A row is a JSON object with `id`, `question` and `golden_answers`. Questions stay as they are written; the prompt
template adds a missing question mark. A bad row is logged with its place and left out, up to a share of all rows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from router_r1.datasets.source import MAX_BAD_SHARE, Question, Questions
from router_r1.errors import ConfigError
from router_r1.printable import printable

logger = logging.getLogger(__name__)

HUB = "RUC-NLPIR/FlashRAG_datasets"


class FlashragFolder:
    """A local folder in FlashRAG's layout."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __str__(self) -> str:
        return str(self.root)

    def datasets(self) -> list[str]:
        return list(list_splits(self.root))

    def splits(self, dataset: str) -> list[str]:
        return list_splits(self.root).get(dataset, [])

    def read(self, dataset: str, split: str, *, max_bad_share: float = MAX_BAD_SHARE) -> Questions:
        path = flashrag_file(self.root, dataset, split)
        return questions_of_rows(_lines(path), str(path), max_bad_share)


class FlashragHub:
    """A data set repository on the Hugging Face hub, one configuration per data set."""

    def __init__(self, repository: str = HUB) -> None:
        self.repository = repository

    def __str__(self) -> str:
        return self.repository

    def datasets(self) -> list[str]:
        import datasets

        names: list[str] = self._ask(datasets.get_dataset_config_names, self.repository)
        return names

    def splits(self, dataset: str) -> list[str]:
        import datasets

        if dataset not in self.datasets():
            return []
        splits: list[str] = self._ask(datasets.get_dataset_split_names, self.repository, dataset)
        return splits

    def read(self, dataset: str, split: str, *, max_bad_share: float = MAX_BAD_SHARE) -> Questions:
        import datasets

        source = f"{self.repository} {dataset}:{split}"
        rows = self._ask(datasets.load_dataset, self.repository, dataset, split=split)
        return questions_of_rows(
            ((f"{source}:{number}", row) for number, row in enumerate(rows)), source, max_bad_share
        )

    def _ask(self, call: Any, *args: Any, **options: Any) -> Any:
        from datasets.exceptions import DatasetsError

        try:
            return call(*args, **options)
        except (OSError, ValueError, DatasetsError) as fault:
            reason = next(iter(str(fault).splitlines()), type(fault).__name__)
            remedy = f"cannot be read from the hub: {reason}; give a local folder with --data-root DIR"
            raise ConfigError(self.repository, "", None, remedy) from fault


def list_splits(root: str | Path) -> dict[str, list[str]]:
    """Data set -> its splits, for all `ROOT/<dataset>/<split>.jsonl`, both in alphabetical order."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(root).glob("*/*.jsonl")):
        found.setdefault(path.parent.name, []).append(path.stem)
    return found


def flashrag_file(root: str | Path, dataset: str, split: str) -> Path:
    """The file of a data set's split.

    Raises:
        ConfigError: it does not exist; the text lists what does.
    """
    path = Path(root) / dataset / f"{split}.jsonl"
    if path.is_file():
        return path
    there = ", ".join(f"{name}:{split}" for name, splits in list_splits(root).items() for split in splits)
    if not there:
        raise ConfigError(root, "", None, "holds no <dataset>/<split>.jsonl; give the root of a FlashRAG-layout folder")
    raise ConfigError(root, "data set", f"{dataset}:{split}", f"does not exist; there are {there}")


def read_questions(path: str | Path, *, max_bad_share: float = MAX_BAD_SHARE) -> list[Question]:
    """All questions of one FlashRAG file, in its order.

    Raises:
        ConfigError: the file cannot be read or is empty, or more than `max_bad_share` of its rows are bad.
    """
    return questions_of_rows(_lines(Path(path)), str(path), max_bad_share).items


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(place, line) of the lines that are not blank.

    Bytes, so that one line of broken UTF-8 does not spoil the rest, and so that only a newline ends a row: JSON strings
    may hold U+2028 and other characters at which text is split.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as fault:
        raise ConfigError(path, "", None, f"cannot be read: {fault.strerror}; give a JSONL file") from fault


def questions_of_rows(
    rows: Iterable[tuple[str, object]], source: object, max_bad_share: float = MAX_BAD_SHARE
) -> Questions:
    """The good ones of the rows, in their order; bad ones are logged with their place, and left out.

    Args:
        rows: (place of the row for texts, a dict with `id`, `question` and `golden_answers`, or such a line of JSON).
        source: where they come from, for texts.

    Raises:
        ConfigError: there is no row, or more than `max_bad_share` of them are bad.
    """
    items: list[Question] = []
    faults: list[tuple[str, str]] = []
    for place, row in rows:
        try:
            items.append(_item(_decoded(row) if isinstance(row, bytes) else row))
        except ValueError as fault:
            faults.append((place, str(fault)))
    total = len(items) + len(faults)
    if total == 0:
        raise ConfigError(source, "", None, "holds no rows; each must have id, question and golden_answers")
    if len(faults) > max_bad_share * total:
        place, reason = faults[0]
        raise ConfigError(
            place,
            "",
            None,
            f"{reason}; {len(faults)} of {total} rows are bad, at most {max_bad_share:.3g} of all may be",
        )
    for place, reason in faults:
        logger.warning("%s: %s; the row is left out", place, printable(reason))
    return Questions(items, len(faults))


def _decoded(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as fault:
        raise ValueError(f"no valid UTF-8 (byte {fault.start} of the line)") from fault
    except (json.JSONDecodeError, RecursionError) as fault:
        raise ValueError(f"no valid JSON ({fault})") from fault


def _item(row: object) -> Question:
    """ValueError with the reason if the row is bad."""
    if not isinstance(row, dict):
        raise ValueError("must be a JSON object")
    for key in ("id", "question", "golden_answers"):
        if key not in row:
            raise ValueError(f"{key} is missing")
    identifier, question, answers = row["id"], row["question"], row["golden_answers"]
    if not isinstance(identifier, str | int):
        raise ValueError("id must be a string or a whole number")
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question must be a non-empty string")
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
        raise ValueError("golden_answers must be a list of at least one non-empty string")
    item = Question(str(identifier), question.strip(), tuple(answers))
    for text in (item.id, item.text, *item.golden_answers):
        # JSON can spell half of a surrogate pair, which no UTF-8 file can hold.
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("holds a lone surrogate, which is no text")
    return item
