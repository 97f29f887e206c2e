"""Files of scores: parquet, one row for each answer of a candidate to a question.

`SCHEMA_COLUMNS` are the columns, `samples.Sample` says what stands in each, and how the scores were come by is in the
file's metadata (`read_score_provenance`): format, pool, prices, temperature, what was assumed. A file is whole or not
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.atomic import replacing
from router_r1.errors import ConfigError
from router_r1.scores.samples import CheckedSamples, Place, Replies, Sample, checked_samples, replies_of, table_of
from router_r1.scores.table import ScoreTable

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_COLUMNS = tuple(field.name for field in fields(Sample))
_METADATA_KEY = b"router_r1_scores"
_MAY_BE_NULL = frozenset(("reply", "f1", "prompt_tokens", "completion_tokens", "latency_s"))


def scores_schema() -> pa.Schema:
    """Columns and types of a file of scores; those that are not in `_MAY_BE_NULL` are never null."""
    import pyarrow as pa

    types = {
        "golden_answers": pa.list_(pa.string()),
        **dict.fromkeys(("sample", "prompt_tokens", "completion_tokens"), pa.int64()),
        **dict.fromkeys(("score", "f1", "raw_cost", "spend_usd", "latency_s"), pa.float64()),
        **dict.fromkeys(("offered", "failed"), pa.bool_()),
    }
    return pa.schema(
        [pa.field(name, types.get(name, pa.string()), nullable=name in _MAY_BE_NULL) for name in SCHEMA_COLUMNS]
    )


def write_scores(samples: Iterable[Sample], file: Path, *, provenance: Mapping[str, Any]) -> None:
    """Write checked samples.

    Args:
        provenance: how they were come by, as JSON types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(samples)
    columns = {name: [_writable(getattr(row, name)) for row in rows] for name in SCHEMA_COLUMNS}
    metadata = {_METADATA_KEY: json.dumps(provenance, ensure_ascii=False).encode()}
    table = pa.table(columns, schema=scores_schema().with_metadata(metadata))
    with replacing(file) as sink:
        pq.write_table(table, sink, compression="zstd")


def _writable(value: object) -> object:
    """Half a surrogate pair, which a candidate may send, is no UTF-8: it becomes a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def read_samples(file: str | Path) -> CheckedSamples:
    """All answers of a file, checked.

    Raises:
        ConfigError: it is no file of scores, or its rows break an invariant of `scores.samples`.
    """
    return checked_samples(_rows(Path(file)), file)


def read_scores(file: str | Path) -> ScoreTable:
    """Scores and costs of every candidate on every question, as means over the samples that were answered.

    Raises:
        ConfigError: it is no file of scores, its rows break an invariant, or too many answers failed.
    """
    return table_of(read_samples(file), file)


def read_replies(file: str | Path) -> Replies:
    """What every candidate said to every question.

    Raises:
        ConfigError: it is no file of scores, its rows break an invariant, or it was made without replies.
    """
    samples = read_samples(file).samples
    for sample in samples:
        if sample.reply is None and not sample.failed:
            place = f"reply of {sample.candidate} to question {sample.id}"
            raise ConfigError(file, place, None, "was not recorded; give scores with replies, as collect writes them")
    return replies_of(samples)


def read_score_provenance(file: str | Path) -> dict[str, Any]:
    """How the scores were come by; {} for a file that does not say.

    Raises:
        ConfigError: it cannot be read.
    """
    with _open(Path(file)) as opened:
        found: dict[str, Any] = json.loads((opened.schema_arrow.metadata or {}).get(_METADATA_KEY, b"{}"))
    return found


def _rows(file: Path) -> Iterator[tuple[Place, Sample]]:
    """(file and row, sample), rows counted from 0."""
    import pyarrow as pa

    # What is null is told below, with its row.
    schema = pa.schema([field.with_nullable(True) for field in scores_schema()])
    with _open(file) as opened:
        _check_columns(file, opened.schema_arrow.names)
        number = 0
        for batch in opened.iter_batches():
            try:
                rows = pa.Table.from_batches([batch]).select(SCHEMA_COLUMNS).cast(schema).to_pylist()
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as fault:
                raise ConfigError(file, "", None, f"a column has another type: {_first_line(fault)}") from None
            for row in rows:
                place = f"{file}: row {number}"
                yield place, _sample(place, row)
                number += 1


def _check_columns(file: Path, there: Sequence[str]) -> None:
    for name in SCHEMA_COLUMNS:
        if name not in there:
            remedy = "is missing: this is no file of scores; router-r1 scores collect or import makes one"
            raise ConfigError(file, f"column {name}", None, remedy)
    for name in there:
        if name not in SCHEMA_COLUMNS:
            raise ConfigError(file, f"column {name}", None, f"is unknown; known are {', '.join(SCHEMA_COLUMNS)}")


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as fault:
        remedy = f"cannot be read as parquet: {_first_line(fault)}; give a file that router-r1 scores wrote"
        raise ConfigError(file, "", None, remedy) from None


def _sample(place: Place, row: dict[str, Any]) -> Sample:
    for name, value in row.items():
        if value is None and name not in _MAY_BE_NULL:
            raise ConfigError(place, name, None, "is empty; every row needs it")
    return Sample(**{**row, "golden_answers": tuple(row["golden_answers"])})


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).splitlines()), type(fault).__name__)
