"""A policy, made ready for questions that are not the simulated world's: the shipped one, or any language model.

The shipped one has seen open text, but the world's questions mostly, and loses the form at four real ones in ten. What
is shown here is form and copying:

- questions are training questions with other numbers and some other words, so that none is learned by heart, and often
  with words that stand there twice, after which a copy easily goes on at the wrong place;
- whom to ask is left to reinforcement learning: the choice knows no more than `OpenQuestions.leaning`, and nothing of
  the weight of cost;
- the answer is read in the reply: often it has nothing to do with the question, and sometimes it stands there, too;
- who has lost the thread of a copy closes the search, instead of going on for as long as a turn may last.

Invariant: no validation question is seen, and nothing of what a candidate knows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, RoutingPool, draw_deal
from router_r1.prompts import Template
from router_r1.prompts.cost_words import COST_WEIGHTS
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.tiny_policy.demonstrations import (
    OPEN,
    Demonstrations,
    Example,
    Script,
    Step,
    choice,
    think_then_answer,
    think_then_search,
)
from router_r1.sim.tiny_policy.training_progress import ProgressReport
from router_r1.sim.tiny_policy.warm_start import train_on

RISE, RATE_LEFT = 5, 0.05
"""Steps until the learning rate is reached, and the share of it that a cosine leaves at the end."""
_OTHER_NUMBER, _OTHER_WORD = 0.7, 0.15
"""Share of the numbers, and of the other words, that are replaced in a question."""
_SAID_TWICE = 0.3
"""Share of the questions in which up to four words in a row come again."""
_LOST = 0.15
"""Share of the demonstrations whose copy of the question goes astray."""


@dataclass(frozen=True, kw_only=True)
class OpenQuestions:
    """What the demonstrations are made of."""

    texts: Sequence[str]
    """Training questions."""
    told: Callable[[str], str]
    """Question -> what the thought says of it right before the choice; "" for nothing."""
    leaning: Callable[[str, Candidate], float]
    """Nats by which a candidate is asked the question rather than another; 0 for all: anybody alike."""
    answer: Callable[[random.Random, str], str]
    """Draws an answer to the question."""
    reply: Callable[[Candidate, str], str]
    """What the candidate says whose answer this is."""


@dataclass(frozen=True)
class Recipe:
    """How long a policy is shown them, and how fast it follows."""

    steps: int
    batch: int
    """Demonstrations of a step."""
    rate: float
    """Highest learning rate."""


PRETRAINED = Recipe(steps=40, batch=8, rate=1e-4)
"""For a language model, which reads and copies already."""


def recipe_for(base: Path | str, tiny: Recipe) -> Recipe:
    """`tiny` for the shipped policy, `PRETRAINED` for any other."""
    return tiny if base == SHIPPED_POLICY else PRETRAINED


def build_on(
    base: Path | str,
    folder: Path,
    pool: RoutingPool,
    template: Template,
    questions: OpenQuestions,
    recipe: Recipe,
    *,
    seed: int,
    quiet: bool = False,
) -> None:
    """Go on with a policy, and save it as a Hugging Face folder; minutes.

    Args:
        base: the policy: the shipped one, or any causal language model; folder or hub id.
        quiet: no progress bar.

    Raises:
        ConfigError: `base` cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    except (OSError, ValueError) as fault:
        reason = str(fault).partition("\n")[0]
        remedy = f"cannot be loaded ({reason}); give a folder with config.json, weights and tokenizer, or a hub id"
        raise ConfigError("the model to build a warm start on", "", str(base), remedy) from fault
    train_on(
        model,
        tokenizer,
        Batches(tokenizer, pool, template, questions, steps=recipe.steps, batch=recipe.batch, seed=seed),
        lambda step: recipe.rate * rate_left(step, recipe.steps),
        seed=seed,
        # From the shipped policy the same weights come out wherever they are made; larger ones would take too long.
        threads=1 if base == SHIPPED_POLICY else None,
        callbacks=[] if quiet else [ProgressReport(0)],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rate_left(step: int, steps: int) -> float:
    """Share of the highest learning rate at the step (0-based): a short rise, then a cosine decay."""
    decay = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / RISE) * (RATE_LEFT + (1 - RATE_LEFT) * decay)


class Batches(Dataset):
    """Item i is the batch of step i; any order of asking gives the same batches."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pool: RoutingPool,
        template: Template,
        questions: OpenQuestions,
        *,
        steps: int,
        batch: int,
        seed: int,
    ) -> None:
        self._demonstrations = Demonstrations(tokenizer, pool, template)
        self._pool, self._questions = pool, questions
        self._steps, self._batch, self._seed = steps, batch, seed
        self._words = by_capital(word for text in questions.texts for word in text.split())
        self._vocabulary = range(len(tokenizer.all_special_ids), len(tokenizer))

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> list[Example]:
        rng = random.Random(f"open questions/{self._seed}/{step}")
        return [self._example(rng) for _ in range(self._batch)]

    def _example(self, rng: random.Random) -> Example:
        script = self._script(rng)
        example = self._demonstrations.encode(script)
        if rng.random() >= _LOST:
            return example
        query, search = (self._encode(text) for text in (f" {script.question}", script.steps[0].turn))
        end = example.trained.index(True) + len(search) - 1  # where the closing tag is
        return astray(example, end - len(query) + 1, end, self._vocabulary, rng)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._demonstrations.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _script(self, rng: random.Random) -> Script:
        pool, drawn = self._pool, self._questions
        if pool.deals is not None:
            pool = draw_deal(pool, "demonstration", rng.getrandbits(62)).pool(pool)
        weight, question = rng.choice(COST_WEIGHTS), varied(rng.choice(drawn.texts), self._words, rng)
        odds = [math.exp(drawn.leaning(question, candidate)) for candidate in pool.candidates]
        (candidate,) = rng.choices(pool.candidates, weights=odds)
        answer = drawn.answer(rng, question)
        thought = f"{OPEN} {choice(candidate, weight, drawn.told(question))}"
        search = think_then_search(thought, candidate.name, question)
        steps = [Step(search, drawn.reply(candidate, answer)), Step(think_then_answer(answer))]
        return Script(pool, weight, question, steps)


def astray(example: Example, start: int, end: int, vocabulary: range, rng: random.Random) -> Example:
    """The example with ids [start, end) cut off somewhere, and a few others in the place of the rest.

    Those are no example to follow; what comes at `end` is trained as before.
    """
    cut = rng.randrange(start, end)
    others = rng.choices(vocabulary, k=rng.randint(1, 4))
    if rng.random() < 0.5:  # a copy that has lost its place often repeats itself
        others = others[-1:] * rng.randint(1, 6)
    return Example(
        example.ids[:cut] + others + example.ids[end:],
        example.trained[:cut] + [False] * len(others) + example.trained[end:],
    )


def has_capital(word: str) -> bool:
    """Whether a capital stands anywhere in it."""
    return word != word.lower()


def by_capital(words: Iterable[str]) -> dict[bool, list[str]]:
    """Those that have a capital, and the others."""
    apart: dict[bool, list[str]] = {True: [], False: []}
    for word in words:
        apart[has_capital(word)].append(word)
    return apart


def varied(text: str, words: Mapping[bool, Sequence[str]], rng: random.Random) -> str:
    """The text with other digits in most of its numbers, some of its words replaced, and now and then some twice.

    Args:
        words: what a word with a capital is replaced by, and what any other is, so that a name stays a name.
    """
    changed = []
    for word in text.split():
        if any(character.isdigit() for character in word):
            if rng.random() < _OTHER_NUMBER:
                word = "".join(rng.choice("0123456789") if character.isdigit() else character for character in word)
        elif rng.random() < _OTHER_WORD:
            word = rng.choice(words[has_capital(word)])
        changed.append(word)
    if rng.random() < _SAID_TWICE:
        length = rng.randint(1, 4)
        if len(changed) > length + 1:
            start = rng.randrange(len(changed) - length)
            again = rng.randint(start + length, len(changed) - 1)
            changed[again:again] = changed[start : start + length]
    return " ".join(changed)
