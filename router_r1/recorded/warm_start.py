"""A policy, made ready for the questions of a pool of recorded replies.

A word problem is three times as long as what the shipped warm start has copied, and full of numbers, and a policy that
does not copy it exactly learns nothing of the replies. What it is shown beside form and copying: the reply comes to a
number drawn at random, and that is the answer.

Invariant: no test question and no recorded reply or score is seen.
"""

from __future__ import annotations

import random
from pathlib import Path

from router_r1.pool import RoutingPool
from router_r1.prompts import Template
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.recorded.serving import CONCLUSION
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.tiny_policy.open_questions import OpenQuestions, Recipe, build_on, recipe_for

TINY = Recipe(steps=600, batch=8, rate=1e-3)
"""For the shipped policy."""


def build_recorded_warm_start(
    folder: Path,
    pool: RoutingPool,
    template: Template,
    *,
    seed: int,
    base: Path | str = SHIPPED_POLICY,
    recipe: Recipe | None = None,
    quiet: bool = False,
) -> None:
    """Go on with a policy, and save it as a Hugging Face folder; minutes.

    Args:
        pool: dealt, with replies.
        base: the policy: the shipped one, or any causal language model; folder or hub id.
        recipe: default `recipe_for` the base.
        quiet: no progress bar.

    Raises:
        ConfigError: the pool's file of replies, a pool that is not dealt, or a `base` that cannot be loaded.
    """
    train, _ = split_recorded(load_recorded_pool(pool))
    questions = OpenQuestions(
        texts=[question.text for question in train.questions],
        told=lambda _: "",
        leaning=lambda *_: 0.0,
        answer=lambda rng, _: _number(rng),
        reply=lambda _, number: CONCLUSION.format(number=number),
    )
    build_on(base, folder, pool, template, questions, recipe or recipe_for(base, TINY), seed=seed, quiet=quiet)


def _number(rng: random.Random) -> str:
    """Small ones more often than large ones, and now and then a decimal fraction."""
    kind = rng.random()
    if kind < 0.15:
        return f"{rng.uniform(0, 100):.2f}".rstrip("0").rstrip(".")
    return str(rng.randint(0, 10 ** rng.randint(1, 6)))
