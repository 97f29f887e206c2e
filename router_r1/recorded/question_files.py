"""Question files of a pool of recorded replies: what it knows is what can be trained on and asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from router_r1.datasets import Question, Render, drawn_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, dealer_of
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.recorded.replies import RecordedReplies


def recorded_rows(
    questions: RecordedReplies,
    pool: RoutingPool,
    n: int,
    seed: int,
    *,
    split: str,
    render: Render,
    cost_weights: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """At most `n` questions in an order of the seed's; the data source is the task.

    Args:
        split: what the rows serve for.

    Raises:
        ConfigError: a question without golden answers.
    """
    order = random.Random(seed).sample(questions.questions, k=min(n, len(questions.questions)))
    rows = []
    for index, question in enumerate(order):
        if not question.golden_answers:
            remedy = "has no golden answers, so that nothing can be learned from it; add them to the file"
            raise ConfigError(questions.source, "golden_answers", question.id, remedy)
        rows.append(
            drawn_row(
                Question(question.id, question.text, question.golden_answers),
                data_source=question.data_source,
                split=split,
                index=index,
                render=render,
                deal=dealer_of(pool, seed),
                cost_weights=cost_weights,
                seed=seed,
            )
        )
    return rows


def write_recorded(
    out: str | Path,
    pool: RoutingPool,
    *,
    train: int,
    val: int,
    seed: int,
    render: Render,
    cost_weights: Sequence[float] = (),
) -> list[Path]:
    """Write `out`/train.parquet and `out`/val.parquet with at most so many of the pool's questions; their paths.

    Which of the two a question may be in depends on its words alone, so that all seeds test on the same ones.

    Raises:
        ConfigError: the pool's file of replies.
    """
    parts = split_recorded(load_recorded_pool(pool))
    paths = []
    for name, part, n in zip(("train", "val"), parts, (train, val), strict=True):
        rows = recorded_rows(part, pool, n, seed, split=name, render=render, cost_weights=cost_weights)
        paths.append(Path(out) / f"{name}.parquet")
        write_parquet(rows, paths[-1])
    return paths
