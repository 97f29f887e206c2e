"""Questions with golden answers: FlashRAG's layout on disk, and the parquet rows that training and evaluation read.

FlashRAG (github.com/RUC-NLPIR/FlashRAG) keeps `ROOT/<dataset>/<split>.jsonl`, one JSON object a line with `id`,
`question` and `golden_answers`. What is made of it:

- questions stay as they are written; the prompt template adds a missing question mark;
- `extra_info.index` is unique over a whole parquet file, not per data set: GRPO groups trajectories by it;
- `extra_info.split` is what the row serves for, whatever file it came from: only "train" rows enter the cost window.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1 import atomic
from router_r1.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Messages = list[dict[str, str]]  # [{"role": ..., "content": ...}]

_MAX_BAD_SHARE = 0.01


@dataclass(frozen=True)
class QaItem:
    """One question of a data set."""

    id: str
    question: str
    golden_answers: tuple[str, ...]


# ---------------------------------------------------------------- FlashRAG files


def normalise_question(text: str) -> str:
    """Case-folded words separated by single spaces: what two spellings of one question have in common."""
    return " ".join(re.findall(r"\w+", text.casefold()))


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


def read_questions(path: str | Path) -> list[QaItem]:
    """All questions of one FlashRAG file, in its order.

    A bad row is logged with its line number and left out.

    Raises:
        ConfigError: the file cannot be read or is empty, or more than 1 % of its rows are bad.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(path, "", None, f"cannot be read: {fault}; give a UTF-8 JSONL file") from fault
    items: list[QaItem] = []
    faults: list[tuple[int, str]] = []
    # Only \n ends a row: JSON strings may hold U+2028 and other characters at which splitlines() breaks.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(_parse_row(line))
        except ValueError as fault:
            faults.append((number, str(fault)))
    total = len(items) + len(faults)
    if total == 0:
        raise ConfigError(path, "", None, "holds no rows; each line must be a JSON object")
    if len(faults) > _MAX_BAD_SHARE * total:
        number, reason = faults[0]
        raise ConfigError(
            f"{path}:{number}", "", None, f"{reason}; {len(faults)} of {total} rows are bad, at most 1 % may be"
        )
    for number, reason in faults:
        logger.warning("%s:%d: %s; the row is left out", path, number, reason)
    return items


def _parse_row(line: str) -> QaItem:
    """ValueError with the reason if the row is bad."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as fault:
        raise ValueError(f"no valid JSON ({fault})") from fault
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
    return QaItem(str(identifier), question.strip(), tuple(answers))


# ---------------------------------------------------------------- parquet rows


def question_row(item: QaItem, *, data_source: str, split: str, index: int, messages: Messages) -> dict[str, Any]:
    """One row in veRL's data format.

    Args:
        data_source: the group that metrics are reported by.
        index: unique over the whole file that the row goes into.
        messages: the rendered prompt.
    """
    return {
        "data_source": data_source,
        "prompt": messages,
        "ability": "qa",
        "reward_model": {"style": "rule", "ground_truth": {"target": list(item.golden_answers)}},
        "extra_info": {"split": split, "index": index, "id": item.id, "question": item.question},
    }


def rows_from_flashrag(
    root: str | Path,
    dataset: str,
    split: str,
    n: int | None,
    seed: int,
    *,
    render: Callable[[str], Messages],
    serves_as: str | None = None,
    skip: int = 0,
    first_index: int = 0,
) -> list[dict[str, Any]]:
    """`n` questions of a data set's split as parquet rows, in random order, each question once.

    Args:
        n: how many; None for all.
        seed: of the order.
        render: question -> prompt messages.
        serves_as: `extra_info.split`; None for the split itself.
        skip: leave out the first `skip` questions of that order: those that another file took with the same seed.
        first_index: `extra_info.index` of the first row.

    Raises:
        ConfigError: unknown data set, bad file, or too few questions in it.
    """
    path = flashrag_file(root, dataset, split)
    distinct = {normalise_question(item.question): item for item in reversed(read_questions(path))}
    order = sorted(distinct, key=lambda text: hashlib.sha256(f"{seed}:{dataset}:{split}:{text}".encode()).digest())
    left = order[skip:]
    if n is not None and n > len(left):
        raise ConfigError(
            path, "number of questions", n, f"only {len(left)} distinct ones are left in it; ask for fewer"
        )
    return [
        question_row(item, data_source=dataset, split=serves_as or split, index=index, messages=render(item.question))
        for index, item in enumerate((distinct[text] for text in left[:n]), start=first_index)
    ]


def parquet_schema() -> pa.Schema:
    """Columns and types of a question file."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    ground_truth = pa.struct([("target", pa.list_(pa.string()))])
    extra_info = [("split", pa.string()), ("index", pa.int64()), ("id", pa.string()), ("question", pa.string())]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", ground_truth)])),
            ("extra_info", pa.struct(extra_info)),
        ]
    )


def write_parquet(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write rows of `question_row`; the file is whole or not there.

    Raises:
        ValueError: no rows, or two rows with one index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        raise ValueError(f"{path}: no rows to write")
    indices = [row["extra_info"]["index"] for row in rows]
    if len(set(indices)) < len(indices):
        raise ValueError(f"{path}: extra_info.index is not unique; GRPO would mix the groups of two questions")
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=parquet_schema()), buffer)
    atomic.write_bytes(Path(path), buffer.getvalue())


def check_parquet(path: str | Path) -> set[str]:
    """See that a question file can be used; the values of its `extra_info.split`.

    Raises:
        ConfigError: no parquet file, no rows, or a column (or a field within one) missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = set(_field_paths(file.schema_arrow))
            missing = [name for name in _field_paths(parquet_schema()) if name not in there]
            splits = (
                set()
                if missing
                else {row["split"] for row in file.read(["extra_info.split"])["extra_info"].to_pylist()}
            )
    except (OSError, pa.ArrowInvalid) as fault:
        reason = str(fault).splitlines()[0]
        raise ConfigError(path, "", None, f"cannot be read as parquet: {reason}") from fault
    if missing:
        raise ConfigError(
            path, missing[0], None, f"is missing; a question file needs {', '.join(_field_paths(parquet_schema()))}"
        )
    if not splits:
        raise ConfigError(path, "", None, "holds no rows")
    return splits


def _field_paths(fields: Iterable[pa.Field], prefix: str = "") -> list[str]:
    """Dotted names of all columns and the fields within them; list elements add no part."""
    import pyarrow as pa

    paths: list[str] = []
    for field in fields:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        paths.append(prefix + field.name)
        if pa.types.is_struct(kind):
            paths += _field_paths([kind.field(i) for i in range(kind.num_fields)], f"{prefix}{field.name}.")
    return paths
