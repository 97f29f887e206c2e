"""Questions with golden answers: where they are read from, how they are drawn, and the parquet rows made of them."""

from router_r1.qa_data.flashrag import (
    HUB,
    FlashragFolder,
    FlashragHub,
    QaItem,
    flashrag_file,
    list_splits,
    normalise_question,
    read_questions,
)
from router_r1.qa_data.parquet import Messages, check_parquet, parquet_schema, question_row, write_parquet
from router_r1.qa_data.selection import rows_from_flashrag

__all__ = [
    "HUB",
    "FlashragFolder",
    "FlashragHub",
    "Messages",
    "QaItem",
    "check_parquet",
    "flashrag_file",
    "list_splits",
    "normalise_question",
    "parquet_schema",
    "question_row",
    "read_questions",
    "rows_from_flashrag",
    "write_parquet",
]
