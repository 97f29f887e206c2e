"""The tiny policy, made ready for the questions of a pool of recorded replies: it goes on from the shipped warm start.

That one has copied questions of 25 words at most. A word problem is three times as long and full of numbers, and a
policy that does not copy it exactly learns nothing of the replies. What is shown here is form and copying, as there:

- questions are training questions of the pool with other numbers and some other words, so that none is learned by
  heart;
- whoever is offered is asked with the same probability, whatever the weight of cost: whom to ask is left to
  reinforcement learning;
- the reply comes to a number drawn at random, and that is the answer.

Invariant: no test question and no recorded reply or score is seen.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from router_r1.pool import RoutingPool, draw_deal
from router_r1.prompts import Template
from router_r1.prompts.cost_words import COST_WEIGHTS, cost_word
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.recorded.serving import CONCLUSION
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.tiny_policy.demonstrations import (
    OPEN,
    Demonstrations,
    Example,
    Script,
    Step,
    think_then_answer,
    think_then_search,
)
from router_r1.sim.tiny_policy.training_progress import ProgressReport
from router_r1.sim.tiny_policy.warm_start import train_on

STEPS, BATCH = 600, 8
RATE, RISE, RATE_LEFT = 1e-3, 5, 0.05
"""Learning rate, steps until it is reached, and the share of it that a cosine leaves at the end."""
_OTHER_NUMBER, _OTHER_WORD = 0.7, 0.15
"""Share of the numbers, and of the other words, that are replaced in a question."""


def build_recorded_warm_start(
    folder: Path, pool: RoutingPool, template: Template, *, seed: int, steps: int = STEPS, quiet: bool = False
) -> None:
    """Go on with the shipped policy, and save it as a Hugging Face folder; minutes.

    Args:
        pool: dealt, with replies.
        quiet: no progress bar.

    Raises:
        ConfigError: the pool's file of replies, or a pool that is not dealt.
    """
    train, _ = split_recorded(load_recorded_pool(pool))
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED_POLICY)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED_POLICY).train()
    texts = [question.text for question in train.questions]
    batches = _Batches(tokenizer, pool, template, texts, steps=steps, seed=seed)
    train_on(
        model,
        tokenizer,
        batches,
        lambda step: learning_rate(step, steps),
        seed=seed,
        callbacks=[] if quiet else [ProgressReport(0)],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def learning_rate(step: int, steps: int) -> float:
    """Of the step (0-based): a short rise, then a cosine decay."""
    decay = 0.5 * (1 + math.cos(math.pi * step / steps))
    return RATE * min(1.0, (step + 1) / RISE) * (RATE_LEFT + (1 - RATE_LEFT) * decay)


class _Batches(Dataset):
    """Item i is the batch of step i; any order of asking gives the same batches."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pool: RoutingPool,
        template: Template,
        texts: list[str],
        *,
        steps: int,
        seed: int,
    ) -> None:
        self._demonstrations = Demonstrations(tokenizer, pool, template)
        self._pool, self._texts, self._steps, self._seed = pool, texts, steps, seed
        self._words = [word for text in texts for word in text.split()]

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> list[Example]:
        rng = random.Random(f"recorded warm start/{self._seed}/{step}")
        return [self._demonstrations.encode(self._script(rng)) for _ in range(BATCH)]

    def _script(self, rng: random.Random) -> Script:
        pool = draw_deal(self._pool, "demonstration", rng.getrandbits(62)).pool(self._pool)
        candidate, weight = rng.choice(pool.candidates), rng.choice(COST_WEIGHTS)
        question, number = varied(rng.choice(self._texts), self._words, rng), _number(rng)
        thought = f"{OPEN} In this question cost counts {cost_word(weight)}."
        thought += f" Ask {candidate.descriptor} {candidate.name}."
        search = think_then_search(thought, candidate.name, question)
        reply = CONCLUSION.format(number=number)
        return Script(pool, weight, question, [Step(search, reply), Step(think_then_answer(number))])


def varied(text: str, words: list[str], rng: random.Random) -> str:
    """The text with other digits in most of its numbers, and some of its words replaced by any of `words`."""
    changed = []
    for word in text.split():
        if any(character.isdigit() for character in word):
            if rng.random() < _OTHER_NUMBER:
                word = "".join(rng.choice("0123456789") if character.isdigit() else character for character in word)
        elif rng.random() < _OTHER_WORD:
            word = rng.choice(words)
        changed.append(word)
    return " ".join(changed)


def _number(rng: random.Random) -> str:
    """Small ones more often than large ones, and now and then a decimal fraction."""
    kind = rng.random()
    if kind < 0.15:
        return f"{rng.uniform(0, 100):.2f}".rstrip("0").rstrip(".")
    return str(rng.randint(0, 10 ** rng.randint(1, 6)))
