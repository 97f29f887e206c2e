"""The parquet rows that training and evaluation read, in veRL's format.

- `extra_info.index` is unique over a whole parquet file, not per data set: GRPO groups trajectories by it;
- `extra_info.split` is what the row serves for, whatever file it came from: only "train" rows enter the cost window;
- `ability`, veRL's column for the task's category, is the kind of question, or "qa" where nothing finer is known;
- `extra_info.candidates` is the question's deal (`pool.dealing`); null: the whole pool;
- `extra_info.cost_weight` is how much cost counts for the question, as its prompt tells it; null if none was drawn;
- what `_OPTIONAL` names may be missing, which is like null: files of an earlier version lack it;
- how the rows were drawn is in the file's metadata (`read_provenance`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from router_r1 import atomic
from router_r1.datasets.cost_weights import drawn_weight
from router_r1.datasets.source import Question
from router_r1.errors import ConfigError
from router_r1.pool import Deal, Dealer, RoutingPool

if TYPE_CHECKING:
    import pyarrow as pa

Messages = list[dict[str, str]]  # [{"role": ..., "content": ...}]


class Render(Protocol):
    """Question -> prompt: `prompts.render_messages` of a template and a pool."""

    def __call__(self, question: str, /, *, deal: Deal | None = None, cost_weight: float | None = None) -> Messages: ...


_ANY_KIND = "qa"
_METADATA_KEY = b"router_r1"
_CANDIDATES, _COST_WEIGHT = "extra_info.candidates", "extra_info.cost_weight"
_OPTIONAL = (_CANDIDATES, f"{_CANDIDATES}.descriptor", _COST_WEIGHT)
_ROWS_AT_ONCE = 4096  # a row holds its whole prompt, several kilobytes


def question_row(
    item: Question,
    *,
    data_source: str,
    split: str,
    index: int,
    messages: Messages,
    kind: str | None = None,
    deal: Deal | None = None,
    cost_weight: float | None = None,
) -> dict[str, Any]:
    """One row in veRL's data format.

    Args:
        data_source: the group that metrics are reported by.
        index: unique over the whole file that the row goes into.
        messages: the rendered prompt.
        kind: what the choice of a candidate may depend on; None if nothing finer than the data source is known.
        deal: the candidates that the prompt offers; None for the whole pool.
        cost_weight: alpha of the reward for this question, in [0, 1], as the prompt tells it; None if none was drawn.
    """
    return {
        "data_source": data_source,
        "prompt": messages,
        "ability": kind or _ANY_KIND,
        "reward_model": {"style": "rule", "ground_truth": {"target": list(item.golden_answers)}},
        "extra_info": {
            "split": split,
            "index": index,
            "id": item.id,
            "question": item.text,
            "candidates": None if deal is None else deal.as_rows(),
            "cost_weight": cost_weight,
        },
    }


def drawn_row(
    item: Question,
    *,
    data_source: str,
    split: str,
    index: int,
    render: Render,
    kind: str | None = None,
    deal: Dealer | None = None,
    cost_weights: Sequence[float] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The row of a question for which deal and cost weight are drawn, with the prompt that tells them.

    Args:
        deal: deals the candidates it may ask; None: the whole pool.
        cost_weights: it gets one of them; none for a row without.
        seed: of which.
    """
    dealt = deal(split, index) if deal else None
    weight = drawn_weight(cost_weights, seed, index)
    return question_row(
        item,
        data_source=data_source,
        split=split,
        index=index,
        messages=render(item.text, deal=dealt, cost_weight=weight),
        kind=kind,
        deal=dealt,
        cost_weight=weight,
    )


def kind_of_question(ability: str | None, data_source: str) -> str:
    """The kind that a row's `ability` names, or else its data source."""
    return data_source if ability in (None, "", _ANY_KIND) else ability


def parquet_schema() -> pa.Schema:
    """Columns and types of a question file."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    ground_truth = pa.struct([("target", pa.list_(pa.string()))])
    shown = pa.struct([("name", pa.string()), ("candidate", pa.string()), ("descriptor", pa.string())])
    extra_info = [("split", pa.string()), ("index", pa.int64()), ("id", pa.string()), ("question", pa.string())]
    extra_info += [("candidates", pa.list_(shown)), ("cost_weight", pa.float64())]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", ground_truth)])),
            ("extra_info", pa.struct(extra_info)),
        ]
    )


def write_parquet(
    rows: Iterable[Mapping[str, Any]], path: str | Path, *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write rows of `question_row`; the file is whole or not there. Rows are taken a few thousand at a time.

    Args:
        provenance: how the rows were drawn, as JSON types; kept in the file's metadata.

    Raises:
        ValueError: no rows, or two rows with one index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema()
    if provenance is not None:
        schema = schema.with_metadata({_METADATA_KEY: json.dumps(provenance, ensure_ascii=False).encode()})
    rows = iter(rows)
    batch = list(itertools.islice(rows, _ROWS_AT_ONCE))
    if not batch:
        raise ValueError(f"{path}: no rows to write")
    indices: set[int] = set()
    # Prompts differ in little but the question: compressed, they are a hundredth of their size.
    with atomic.replacing(Path(path)) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch:
            before = len(indices)
            indices.update(row["extra_info"]["index"] for row in batch)
            if len(indices) < before + len(batch):
                raise ValueError(f"{path}: extra_info.index is not unique; GRPO would mix the groups of two questions")
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            batch = list(itertools.islice(rows, _ROWS_AT_ONCE))


def read_provenance(path: str | Path) -> dict[str, Any]:
    """How a question file was drawn; {} for a file that does not say."""
    import pyarrow.parquet as pq

    provenance: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(_METADATA_KEY, b"{}"))
    return provenance


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
            missing = [name for name in _needed_paths(there) if name not in there]
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
            path, missing[0], None, f"is missing; a question file needs {', '.join(_needed_paths(there))}"
        )
    if not splits:
        raise ConfigError(path, "", None, "holds no rows")
    return splits


def check_cost_weights(path: str | Path) -> None:
    """See that every row of a question file, which `check_parquet` has passed, carries a cost weight.

    Raises:
        ConfigError: a row has none, or one that is no number in [0, 1].
    """
    import pyarrow.parquet as pq

    for number, row in enumerate(pq.read_table(path, columns=["extra_info"])["extra_info"].to_pylist()):
        weight = row.get("cost_weight")
        if weight is None:
            remedy = "has no cost weight, which cost_coe=sampled needs; write the file with --cost-weights"
            raise ConfigError(f"{path}: row {number}", _COST_WEIGHT, None, remedy)
        if not _is_cost_weight(weight):
            raise ConfigError(f"{path}: row {number}", _COST_WEIGHT, weight, "must be a number in [0, 1]")


def _is_cost_weight(value: object) -> bool:
    """A number in [0, 1]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def check_deals(path: str | Path, pool: RoutingPool) -> None:
    """See that every deal of a question file, which `check_parquet` has passed, is one of this pool.

    Raises:
        ConfigError: a row that holds no deal, or deals a candidate that the pool lacks.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if _CANDIDATES not in _field_paths(file.schema_arrow):
            return
        rows = file.read([_CANDIDATES])["extra_info"].to_pylist()
    for number, row in enumerate(rows):
        if deal := Deal.from_rows(row["candidates"], f"{path}: row {number}"):
            deal.check(pool)


def _needed_paths(there: set[str]) -> list[str]:
    """Columns and fields that a file must have: all but optional ones that it lacks, and what would stand in them."""
    left_out = tuple(f"{name}." for name in _OPTIONAL if name not in there)
    return [name for name in _field_paths(parquet_schema()) if not f"{name}.".startswith(left_out)]


def _field_paths(fields: Iterable[pa.Field], prefix: str = "") -> list[str]:
    """Dotted names of all columns that can hold something, and the fields within; list elements add no part."""
    import pyarrow as pa

    paths: list[str] = []
    for field in fields:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_null(kind):
            continue
        paths.append(prefix + field.name)
        if pa.types.is_struct(kind):
            paths += _field_paths([kind.field(i) for i in range(kind.num_fields)], f"{prefix}{field.name}.")
    return paths
