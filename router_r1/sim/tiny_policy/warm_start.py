"""The tiny policy's warm start: supervised training on demonstrations that show form, copying, and whom a descriptor
names, but not whom to ask.

    router-r1 sim warm-start --out DIR --seed 1     build one
    router-r1 sim warm-start --check DIR            measure one

It runs in transformers' Trainer. veRL's SFT trainer also runs on the CPU platform, but scores every token of a padded
batch instead of the trained ones alone, and shuffles all data, so that neither a prelude nor batches of one length are
possible: 1.95 against 0.7 CPU-seconds for 32 demonstrations, which makes 10 minutes of 4.

Invariants:

- the result is a function of (seed, pool, template, `WarmStartConfig`) and the code; the cache's key covers them all;
- a cached policy is whole: it is built in a folder of its own and renamed at the end, one builder at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from router_r1.atomic import write_text
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, load_pool
from router_r1.project_files import pool_file
from router_r1.prompts import Template, load_template
from router_r1.sim.tiny_policy import weights as tiny_policy
from router_r1.sim.tiny_policy.demonstrations import (
    Demonstrations,
    Example,
    candidate_names,
    draw_script,
)
from router_r1.sim.tiny_policy.hearsay import HEARSAY, Hearsay
from router_r1.sim.tiny_policy.repetitions import draw_repetition
from router_r1.sim.tiny_policy.training_progress import ProgressReport
from router_r1.sim.tiny_policy.vocabulary import graded_words, related_words, tokenizer_corpus
from router_r1.sim.world.facts import NAMES, digest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CACHE_VARIABLE = "ROUTER_R1_CACHE"

RECIPE = 3
"""Raise it when the code changes what is built without changing the demonstrations or `WarmStartConfig`."""

RECORD = "warm_start.json"
"""Beside the weights: the seed and the fingerprint that they were built with."""

# Enough demonstrations to notice any change of their wording.
_FINGERPRINTED = 200
_WEIGHT_DECAY, _BETAS, _MAX_GRAD_NORM = 0.01, (0.9, 0.95), 1.0
_IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class WarmStartConfig:
    """How long, and how fast."""

    prelude_steps: int = 50
    """Steps on repeated random tokens: copying, before there is anything else to learn."""
    prelude_batch: int = 64
    prelude_length: int = 64
    """Tokens of one such sequence."""
    prelude_lr: float = 1e-3
    steps: int = 1800
    """Steps on demonstrations."""
    batch: int = 16
    fact_sheets: int = 3
    """Sequences of own facts in each batch of demonstrations, beside them."""
    facts_per_sheet: int = 10
    hearsay: Hearsay = HEARSAY
    """What the demonstrations' choices know beforehand."""
    lr: float = 1e-3
    """Twice as much slows copying down: the placed heads are lost before they are refined."""
    warmup_steps: int = 20
    final_lr: float = 0.05
    """Share of `lr` left at the end of the cosine decay."""
    batches_sorted_together: int = 16
    """Demonstrations are sorted by length over this many batches, to pad little."""


class _Curriculum(Dataset):
    """Item i is the whole batch of step i, drawn when it is asked for; any order of asking gives the same batches."""

    def __init__(
        self, demonstrations: Demonstrations, tokenizer: PreTrainedTokenizerFast, config: WarmStartConfig, seed: int
    ) -> None:
        self._demonstrations, self._config, self._seed = demonstrations, config, seed
        self._vocabulary = range(len(tokenizer.all_special_ids), len(tokenizer))
        self._group: tuple[int, list[list[Example]]] = (-1, [])

    def __len__(self) -> int:
        return self._config.prelude_steps + self._config.steps

    def __getitem__(self, step: int) -> list[Example]:
        config = self._config
        if step < config.prelude_steps:
            rng = self._rng("prelude", step)
            length = config.prelude_length
            return [draw_repetition(rng, self._vocabulary, length) for _ in range(config.prelude_batch)]
        group, position = divmod(step - config.prelude_steps, config.batches_sorted_together)
        if self._group[0] != group:
            self._group = (group, self._draw_group(group))
        rng = self._rng("facts", step)
        sheets = [self._demonstrations.draw_facts(rng, config.facts_per_sheet) for _ in range(config.fact_sheets)]
        return self._group[1][position] + sheets

    def _draw_group(self, group: int) -> list[list[Example]]:
        rng = self._rng("demonstrations", group)
        size, batches = self._config.batch, self._config.batches_sorted_together
        drawn = [self._demonstrations.draw(rng) for _ in range(size * batches)]
        drawn.sort(key=lambda example: len(example.ids))
        grouped = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        rng.shuffle(grouped)
        return grouped

    def _rng(self, *key: object) -> random.Random:
        return random.Random(digest("warm start", self._seed, *key))


class _WarmStartTrainer(Trainer):
    """Scores the trained tokens only: the rest, four in five, need no logits."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Any]]:
        hidden = model.model(input_ids=inputs["input_ids"]).last_hidden_state[:, :-1]
        labels = inputs["labels"][:, 1:]
        trained = labels != _IGNORED
        loss = cross_entropy(model.lm_head(hidden[trained]), labels[trained])
        return (loss, {}) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def collate(batches: Sequence[Sequence[Example]], pad_id: int) -> dict[str, Tensor]:
    """Right-pad one batch; no attention mask is needed, since causal attention never looks to the right.

    Returns:
        `input_ids` and `labels` (-100 where nothing is trained), each [batch, longest].
    """
    (examples,) = batches
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)
    labels = torch.full((len(examples), longest), _IGNORED)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, :length] = torch.where(torch.tensor(example.trained), ids[row, :length], _IGNORED)
    return {"input_ids": ids, "labels": labels}


def learning_rate(step: int, config: WarmStartConfig) -> float:
    """Of the step (0-based): a short rise and constant in the prelude, then rise and cosine decay."""
    if step < config.prelude_steps:
        return config.prelude_lr * min(1.0, (step + 1) / 10)
    step -= config.prelude_steps
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps))))
    return config.lr * min(1.0, (step + 1) / config.warmup_steps) * (config.final_lr + (1 - config.final_lr) * decay)


def build_warm_start(
    folder: Path,
    *,
    seed: int,
    pool: RoutingPool,
    template: Template,
    config: WarmStartConfig | None = None,
    quiet: bool = False,
) -> None:
    """Train a tiny policy and save it, with its tokenizer, as a Hugging Face folder.

    Args:
        folder: gets the files; created if need be.
        seed: of weights and demonstrations.
        pool: a dealt one, whose candidates are shown and asked.
        quiet: no progress bar.
    """
    config = config or WarmStartConfig()
    tokenizer = tiny_policy.build_tokenizer(tokenizer_corpus(pool, template), (*candidate_names(pool), *NAMES))
    model = tiny_policy.build_model(tokenizer, seed, related_words(pool), graded_words())
    curriculum = _Curriculum(Demonstrations(tokenizer, pool, template, config.hearsay), tokenizer, config, seed)
    train_on(
        model,
        tokenizer,
        curriculum,
        lambda step: learning_rate(step, config),
        seed=seed,
        callbacks=[] if quiet else [ProgressReport(config.prelude_steps)],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    made_by = {"seed": seed, "fingerprint": fingerprint(seed, pool, template, config)}
    write_text(folder / RECORD, json.dumps(made_by, indent=2) + "\n")


def train_on(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batches: Dataset,
    rate: Callable[[int], float],
    *,
    seed: int,
    threads: int | None = 1,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train a policy on whole batches of examples, in their order; the model is left in evaluation mode.

    Args:
        batches: item i is the batch of step i, a list of `Example`.
        rate: step (0-based) -> learning rate.
        threads: one, since sums in another order give other weights, and on a busy machine two are slower than one;
            None for as many as torch takes.
    """
    steps = len(batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=_BETAS, weight_decay=_WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    with tempfile.TemporaryDirectory() as scratch, _threads(threads or torch.get_num_threads()):
        trainer = _WarmStartTrainer(
            model=model,
            args=_training_arguments(Path(scratch), steps, seed),
            train_dataset=batches,
            data_collator=lambda drawn: collate(drawn, pad_id),
            optimizers=(optimizer, scheduler),
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)  # `ProgressReport` shows the same, more quietly
        trainer.train()
    model.eval()


def _training_arguments(scratch: Path, steps: int, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=1,  # an item is a whole batch
        remove_unused_columns=False,
        max_grad_norm=_MAX_GRAD_NORM,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=25,
        report_to=[],
        disable_tqdm=True,  # `ProgressReport` has a bar of its own
        use_cpu=True,
        seed=seed,
    )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------- cache


def default_cache() -> Path:
    """$ROUTER_R1_CACHE, or ~/.cache/router_r1."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/router_r1").expanduser()


def fingerprint(seed: int, pool: RoutingPool, template: Template, config: WarmStartConfig) -> str:
    """Hex digits that change whenever the policy that would be built changes."""
    sample = [draw_script(random.Random(digest("fingerprint", i)), pool) for i in range(_FINGERPRINTED)]
    sizes = {key: value for key, value in vars(tiny_policy).items() if key.lstrip("_").isupper()}
    facts = {
        "recipe": RECIPE,
        "seed": seed,
        "config": asdict(config),
        "model": {key: value for key, value in sizes.items() if isinstance(value, int | float | str)},
        "names": NAMES,
        "corpus": list(dict.fromkeys(tokenizer_corpus(pool, template))),
        "demonstrations": [(s.question, s.cost_weight, [asdict(step) for step in s.steps]) for s in sample],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def ensure_warm_start(
    cache_dir: Path | None = None,
    *,
    seed: int = 0,
    pool: RoutingPool | None = None,
    template: Template | None = None,
    config: WarmStartConfig | None = None,
    quiet: bool = False,
) -> Path:
    """The folder of a warm-started policy, built on first use.

    Two processes that need the same one build it once; an interrupted build leaves nothing that would be taken for one.

    Args:
        cache_dir: default `default_cache()`.
        pool, template: default the dealt pool of the simulated world and the tiny template.

    Raises:
        ConfigError: the cache cannot be written.
    """
    pool, template = pool or load_pool(pool_file("dealt")), template or load_template("tiny")
    config = config or WarmStartConfig()
    cache = (cache_dir or default_cache()) / "warm_start"
    key = fingerprint(seed, pool, template, config)
    folder = cache / key
    if folder.is_dir():
        return folder
    _make_writable(cache)
    with FileLock(cache / f"{key}.lock"):
        if not folder.is_dir():
            _build_whole(folder, seed=seed, pool=pool, template=template, config=config, quiet=quiet)
    return folder


def _make_writable(cache: Path) -> None:
    remedy = "no folder that can be written; name another"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError("environment", CACHE_VARIABLE, str(cache), f"{remedy} ({fault.strerror})") from fault
    if not os.access(cache, os.W_OK):
        raise ConfigError("environment", CACHE_VARIABLE, str(cache), remedy)


def _build_whole(folder: Path, **recipe: Any) -> None:
    """Build in a folder beside `folder`, then rename. The caller keeps other builders of the same folder away."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a build that was killed
    partial.mkdir(parents=True)
    build_warm_start(partial, **recipe)
    os.replace(partial, folder)


# ---------------------------------------------------------------- command line


def build_or_check(*, out: Path | None, check: Path | None, seed: int, trajectories: int) -> None:
    """`router-r1 sim warm-start`; prints the folder, or the report.

    Raises:
        ConfigError: `out` exists, or `check` is no policy.
    """
    pool, template = load_pool(pool_file("dealt")), load_template("tiny")
    if out and check:
        raise ConfigError("command line", "--check", str(check), "does not go with --out")
    if check:
        _check(check, pool, template, seed=seed, trajectories=trajectories)
    elif out:
        if out.exists():
            raise ConfigError("command line", "--out", str(out), "exists already; name a new folder")
        _build_whole(out.absolute(), seed=seed, pool=pool, template=template)
        print(out)
    else:
        print(ensure_warm_start(seed=seed, pool=pool, template=template))


def _check(folder: Path, pool: RoutingPool, template: Template, *, seed: int, trajectories: int) -> None:
    from router_r1.sim.tiny_policy.policy_check import check_policy

    if not (folder / "config.json").is_file():
        raise ConfigError("command line", "--check", str(folder), "is no folder of a policy (it has no config.json)")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    print(check_policy(model, tokenizer, pool, template, trajectories=trajectories, seed=seed))
