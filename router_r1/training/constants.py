"""Before a training validates for the first time: every validation question, asked of every candidate.

Validations are then told beside what the best constant router has for the same money (`router_r1.constant_routers`).
It is asked through the run's own route service, so that its cache, limits and budget hold.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field

from router_r1.candidate_answers import OfferedQuestion, TooManyFailed, ask_every_candidate
from router_r1.datasets import kind_of_question
from router_r1.errors import BudgetSpent, ConfigError, validated
from router_r1.event_loops import wait_for
from router_r1.pool import Deal, RoutingPool, offered_names
from router_r1.runs import constants_file

if TYPE_CHECKING:
    from router_r1.rollout.policy import Dispatcher

logger = logging.getLogger(__name__)


class ConstantsConfig(BaseModel):
    """`router_r1.constants`: whether candidates are asked all validation questions, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    enabled: bool | None = None
    """None: in the simulated world only, where it costs nothing."""
    max_questions: int | None = Field(default=None, ge=1)
    """At most so many, drawn at random; None for all."""


def constants_settings(config: DictConfig) -> ConstantsConfig:
    """The checked section.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    return validated(ConstantsConfig, "router_r1.constants", OmegaConf.to_container(config.router_r1.constants))


def questions_to_ask(config: DictConfig, pool: RoutingPool) -> list[OfferedQuestion]:
    """The validation questions of a resolved configuration that all candidates are asked; [] if that is off.

    Raises:
        ConfigError: two questions cannot be told apart.
    """
    settings, simulated = constants_settings(config), config.router_r1.sim.enabled
    if not (simulated if settings.enabled is None else settings.enabled):
        return []
    files = config.data.val_files
    rows = [row for file in ([files] if isinstance(files, str) else files) for row in _read(Path(file))]
    questions = [_question(row, pool) for row in _validated(rows, config.data)]
    seen: set[tuple[str, int]] = set()
    for question in questions:
        if question.key in seen:
            source, index = question.key
            remedy = (
                f"is that of two questions of {source}; give every row of the validation files an index of its own, or "
                "set router_r1.constants.enabled=false"
            )
            raise ConfigError("data.val_files", "extra_info.index", index, remedy)
        seen.add(question.key)
    limit = settings.max_questions
    if limit is None or limit >= len(questions):
        return questions
    return random.Random(config.seed).sample(questions, limit)


def _read(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def _validated(rows: list[dict[str, Any]], data: DictConfig) -> list[dict[str, Any]]:
    """The rows that validations ask: of more than `data.val_max_samples` those that veRL draws.

    It draws them as here (veRL 0.9.1, `utils/dataset/rl_dataset.py`, `_read_files_and_tokenize`).
    """
    most = OmegaConf.select(data, "val_max_samples") or -1
    if not 0 < most < len(rows):
        return rows
    if not data.shuffle:
        return rows[:most]
    drawn = np.random.default_rng(data.seed).choice(len(rows), size=most, replace=False)
    return [rows[place] for place in drawn]


def _question(row: dict[str, Any], pool: RoutingPool) -> OfferedQuestion:
    source, extra = row["data_source"], row["extra_info"]
    deal = Deal.from_rows(extra.get("candidates"), f"{source} question {extra['index']}")
    return OfferedQuestion(
        key=(source, extra["index"]),
        kind=kind_of_question(row["ability"], source),
        text=extra["question"],
        golden_answers=tuple(row["reward_model"]["ground_truth"]["target"]),
        candidates=offered_names(pool, deal),
    )


def ask_validation_questions(config: DictConfig, pool: RoutingPool, routes: Dispatcher) -> None:
    """Ask what is left to ask. If too many routes fail the run goes on, without the comparison.

    Raises:
        BudgetSpent: nothing more may be spent.
    """
    questions = questions_to_ask(config, pool)
    if not questions:
        return
    file = constants_file(Path(config.run_dir))
    asking = ask_every_candidate(questions, pool=pool, routes=routes, file=file, told=_tenths())
    try:
        wait_for(asking)
    except TooManyFailed as fault:
        logger.warning("what the candidates alone would score stays unknown: %s", fault)
    except BudgetSpent as fault:
        # From the route service's process it comes wrapped, and would be wrapped again on its way out of this one.
        raise getattr(fault, "cause", fault) from None


def _tenths() -> Callable[[int, int], None]:
    """Prints how far it is, ten times."""

    def tell(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            print(f"candidates asked the validation questions: {done} of {total}", flush=True)

    return tell
