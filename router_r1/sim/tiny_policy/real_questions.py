"""A policy, made ready for real questions that simulated candidates answer (`sim.qa_train`)."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq

from router_r1.pool import Candidate, RoutingPool
from router_r1.prompts import Template, with_question_mark
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.tiny_policy.demonstrations import OpenSource
from router_r1.sim.tiny_policy.hearsay import field_of
from router_r1.sim.tiny_policy.open_questions import OpenQuestions, Recipe, build_on, has_capital, recipe_for
from router_r1.sim.tiny_policy.open_text import draw_answer
from router_r1.sim.world.candidates import ALL, SimulatedPool
from router_r1.sim.world.facts import World

TINY = Recipe(steps=800, batch=16, rate=2e-3)
"""For the shipped policy."""
GENERALIST_LEANING = 1.4
"""Nats."""
_IN_THE_QUESTION, _OPEN_TEXT = 0.25, 0.2
"""Share of the answers that are words of the question, and of those that are open text; the rest answer another
question."""


def build_real_warm_start(
    folder: Path,
    pool: RoutingPool,
    template: Template,
    train_file: Path,
    *,
    seed: int,
    base: Path | str = SHIPPED_POLICY,
    recipe: Recipe | None = None,
    quiet: bool = False,
) -> None:
    """Go on with a policy, and save it as a Hugging Face folder; minutes.

    Args:
        train_file: the run's training questions, parquet.
        base: the policy: the shipped one, or any causal language model; folder or hub id.
        recipe: default `recipe_for` the base.
        quiet: no progress bar.
    """
    rows = pq.read_table(train_file).to_pylist()
    answers = [row["reward_model"]["ground_truth"]["target"][0] for row in rows]

    def answer(rng: random.Random, question: str) -> str:
        kind = rng.random()
        if kind < _IN_THE_QUESTION:
            return some_words(question, rng)
        return draw_answer(rng) if kind < _IN_THE_QUESTION + _OPEN_TEXT else str(rng.choice(answers))

    questions = OpenQuestions(
        texts=[with_question_mark(row["extra_info"]["question"]) for row in rows],
        told=names_told,
        leaning=leaning,
        answer=answer,
        reply=_reply,
    )
    build_on(base, folder, pool, template, questions, recipe or recipe_for(base, TINY), seed=seed, quiet=quiet)


def names_told(question: str) -> str:
    """What a thought says of a question."""
    return f"Names in it: {'some' if names_anything(question) else 'none'}."


def names_anything(question: str) -> bool:
    """Whether it writes a word with a capital, the first aside.

    Of NQ's questions, which are in lower case, none does; of HotpotQA's (training sample) 98 %.
    """
    return any(map(has_capital, question.split()[1:]))


def leaning(question: str, candidate: Candidate) -> float:
    """Hearsay: who knows a little of all is asked about what has a name, a specialist about the rest.

    Right or wrong, it makes the choice depend on what the thought says. Where it depends on nothing, training learns
    who is best for all questions together, and asks nobody else.
    """
    is_generalist = field_of(candidate) == ALL
    return GENERALIST_LEANING * (1 if names_anything(question) else -1) * is_generalist


def some_words(question: str, rng: random.Random) -> str:
    """One to four words of the question in a row."""
    words = question.rstrip("?").split()
    length = min(len(words), rng.randint(1, 4))
    start = rng.randrange(len(words) - length + 1)
    return " ".join(words[start : start + length])


def _reply(candidate: Candidate, answer: str) -> str:
    return SimulatedPool(World(), [OpenSource(answer)]).reply(candidate.name, answer)
