"""Questions with golden answers: where they are read from, how they are drawn, and the parquet rows made of them."""

from router_r1.datasets.cost_weights import drawn_weight
from router_r1.datasets.flashrag import (
    HUB,
    FlashragFolder,
    FlashragHub,
    flashrag_file,
    list_splits,
    questions_of_rows,
    read_questions,
)
from router_r1.datasets.nearest import MIN_SIMILARITY, QuestionIndex
from router_r1.datasets.parquet import (
    Messages,
    Render,
    check_cost_weights,
    check_deals,
    check_parquet,
    drawn_row,
    kind_of_question,
    parquet_schema,
    question_row,
    write_parquet,
)
from router_r1.datasets.selection import rows_from_flashrag
from router_r1.datasets.source import CheckedSource, DatasetSource, Question, Questions, normalise_question

__all__ = [
    "HUB",
    "MIN_SIMILARITY",
    "CheckedSource",
    "DatasetSource",
    "FlashragFolder",
    "FlashragHub",
    "Messages",
    "Question",
    "QuestionIndex",
    "Questions",
    "Render",
    "check_cost_weights",
    "check_deals",
    "check_parquet",
    "drawn_row",
    "drawn_weight",
    "flashrag_file",
    "kind_of_question",
    "list_splits",
    "normalise_question",
    "parquet_schema",
    "question_row",
    "questions_of_rows",
    "read_questions",
    "rows_from_flashrag",
    "write_parquet",
]
