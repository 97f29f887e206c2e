"""Several methods on the same questions: one policy, one route service, one set of prompts, one accounting for all.

The policy is the base model of all methods: it reads what routers had asked, and answers. Those that were trained for
themselves have a policy of their own, started after it. Each method, at each cost
weight that it follows, has a folder of its own below `methods/`, with its trajectories and results as a benchmark has
them. Whatever ends a contest early, `resume` goes on from there; it also adds methods and cost weights to one that is
finished.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.atomic import appending
from router_r1.benchmark.contest_report import write_report
from router_r1.benchmark.contest_results import Contested, write_contest
from router_r1.benchmark.metrics import summarise, write_results
from router_r1.benchmark.paper import note as paper_note
from router_r1.benchmark.questions import PromptedQuestion, check_lengths, offering_only, read_test_questions
from router_r1.benchmark.records import Record, key_of
from router_r1.benchmark.runner import (
    TRAJECTORIES_FILE,
    Tally,
    ask_constants,
    check_numbers,
    files_of_run,
    offered_question,
    roll_out_all,
    setting_of,
    take_up,
)
from router_r1.candidate_answers import OfferedQuestion, left_to_ask, read_table
from router_r1.datasets.parquet import read_provenance
from router_r1.errors import ConfigError
from router_r1.event_loops import wait_for
from router_r1.methods.cascades import Cascade
from router_r1.methods.catalogue import Contender, Seat, contenders
from router_r1.methods.encoders import WORDS, Encoder, load_encoder
from router_r1.methods.fitting import (
    digest,
    fit_methods,
    that_can_run,
    training_replies,
    training_table,
)
from router_r1.methods.in_loop import PosedQuestion
from router_r1.methods.single_round import SingleRoundRouter
from router_r1.methods.vectors import KnownVectors, vectors_folder
from router_r1.pool import offered_names
from router_r1.protocol import Trajectory
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.router import Router, open_router, open_routes
from router_r1.runs import CONSTANTS_FILE, METHODS_FOLDER, provenance
from router_r1.scores import ScoreTable, read_scores
from router_r1.settings import RouterOptions, RouterSettings, make_settings, with_own_model
from router_r1.sim.tiny_policy import SHIPPED_POLICY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WHERE = "command line"


@dataclass(frozen=True)
class Entry:
    """A method at a cost weight."""

    contender: Contender
    alpha: float | None
    """None if the method does not follow it."""
    questions: list[PromptedQuestion]
    folder: Path
    done: list[Record]
    n_samples: int

    @property
    def left(self) -> list[tuple[PromptedQuestion, int]]:
        """What is still to be asked: question and sample."""
        finished = {key_of(record) for record in self.done}
        every = ((question, sample) for question in self.questions for sample in range(self.n_samples))
        return [(q, sample) for q, sample in every if (q.data_source, q.index, sample) not in finished]

    @property
    def label(self) -> str:
        return self.contender.title if self.alpha is None else f"{self.contender.title}, alpha {self.alpha:g}"


class Contest:
    """Methods and test questions: checked when it is made, rolled out by `run`.

    Args:
        options: which policy is the base model (none named: the shipped tiny one and the pool `sim`), which candidates.
        methods: as `--methods` has it.
        alphas: cost weights; none for that of the options or the run.
        scores: what fitted routers learn from: a file, or a table; None leaves them out of `all`.
        encoder: what makes vectors of questions for them.
        data, out, resume, n_samples, limit, skip_preflight, constants: as for `Benchmark`.
        paper: the base model whose published figures the report shows beside ours, `qwen` or `llama`.

    Attributes:
        folder: where all of it goes.

    Raises:
        ConfigError: an option, a file or a row is wrong, or `out` holds something else.
    """

    def __init__(
        self,
        options: RouterOptions,
        methods: str,
        *,
        alphas: Sequence[float] = (),
        scores: Path | ScoreTable | None = None,
        encoder: str = WORDS,
        data: Sequence[str | Path] = (),
        out: Path | None = None,
        resume: bool = False,
        n_samples: int = 1,
        limit: int | None = None,
        skip_preflight: bool = False,
        constants: bool | None = None,
        paper: str | None = None,
    ) -> None:
        for key, given in (("--method", options.method), ("--cost-weight", alphas and options.cost_weight)):
            if given:
                raise ConfigError(_WHERE, key, given, "does not go with --methods, or with --alphas; leave one out")
        self.settings = settings = make_settings(_with_policy(options))
        check_numbers(settings, n_samples=n_samples, limit=limit)
        self.alphas = tuple(alphas) or (settings.cost_weight if options.cost_weight is None else options.cost_weight,)
        self._contenders, self.not_run = that_can_run(
            contenders(methods, settings.pool), methods, has_scores=scores is not None
        )
        self.files = list(data) or files_of_run(settings)
        self._limit, self.n_samples = limit, n_samples
        self.questions = self._questions_at(0.0)
        self._check_offers()
        self._train = self._training_table(scores) if any(c.fits for c in self._contenders) else None
        self._replies, unfit = training_replies(self._contenders, methods, scores, self._train, settings.pool)
        self._contenders = [contender for contender in self._contenders if contender.title not in unfit]
        self.not_run |= unfit
        self._encoder = encoder
        if resume and out is None:
            raise ConfigError(_WHERE, "--resume", None, "needs --out DIR: the folder to go on with")
        self._skip_preflight, self._paper = skip_preflight, paper
        self._asks_constants = settings.simulated if constants is None else constants
        self.folder = out or Path("results", f"methods-{datetime.now():%Y%m%d-%H%M%S}")
        if not resume and (self.folder / METHODS_FOLDER).exists():
            remedy = "already holds methods; give another folder, or --resume to go on with them"
            raise ConfigError(_WHERE, "--out", str(self.folder), remedy)
        take_up(self.folder, setting_of(self._settings_at(0.0), self.questions, n_samples), resume=resume)
        self.entries = self._make_entries(resume)

    def run(self) -> list[Contested]:
        """Fit and roll out what is left to do, and write the results of each method and of all together.

        Raises:
            ConfigError: a prompt that does not fit, or a candidate that cannot be asked, before an engine starts.
            RuntimeError: as `Benchmark.run`.
        """
        offered = [offered_question(q, self.settings.pool) for q in self.questions] if self._asks_constants else []
        records = [entry.done for entry in self.entries]
        if any(entry.left for entry in self.entries) or left_to_ask(offered, self.folder / CONSTANTS_FILE):
            fitted = self._fit()
            records = wait_for(self._roll_out(fitted, offered))
        table = read_table(self.folder / CONSTANTS_FILE)
        facts = self._facts()
        found = []
        for entry, own_records in zip(self.entries, records, strict=True):
            results = summarise(own_records, self.settings.pool.names, table)
            one = entry.contender
            own = {"method": one.name, "title": one.title, "alpha": entry.alpha}
            write_results(entry.folder, results, {**own, **facts})
            found.append(Contested(one.name, one.title, entry.alpha, results, is_candidate=one.asks_only is not None))
        constants = found[0].results.constants if found else {}  # the same for all methods
        facts = {"not_run": self.not_run, **({"constants": constants} if constants else {}), **facts}
        write_contest(self.folder, found, facts)
        write_report(self.folder, found, table, facts, paper=self._paper)
        return found

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        path = self.settings.options.model_path or "the one that is served"
        base_model = "the shipped tiny policy" if path == str(SHIPPED_POLICY) else path
        others = " but those with a policy of their own" if any(c.model_path for c in self._contenders) else ""
        notes = [
            "these are the figures of the questions asked, not of the whole data sets",
            f"the base model of all methods{others} is {base_model}",
        ]
        if self.settings.simulated:
            notes.append("the candidates are simulated: nothing follows for real ones, nor for the benchmarks")
        if self.settings.pool.deals and any(not c.is_in_loop for c in self._contenders):
            notes.append("a method outside the loop may ask the whole pool, where the others are dealt a part of it")
        if self._train is not None:
            notes.append(f"fitted on the scores of {len(self._train)} questions, none of which is asked here")
        if self._paper:
            notes.append(paper_note())
        return [*notes, *(f"{title} was not run: {why}" for title, why in self.not_run.items())]

    # ------------------------------------------------------------ what is asked of whom

    def _settings_at(self, alpha: float) -> RouterSettings:
        """With prompts that tell this cost weight, if they tell one."""
        if not self.settings.template.tells_cost_weight:
            return self.settings
        options = self.settings.options.model_copy(update={"cost_weight": alpha})
        return replace(self.settings, options=options, cost_weight=alpha)

    def _questions_at(self, alpha: float) -> list[PromptedQuestion]:
        return read_test_questions(self.files, self._settings_at(alpha), render=True, limit=self._limit)

    def _make_entries(self, resume: bool) -> list[Entry]:
        tells = self.settings.template.tells_cost_weight
        asked = {alpha: self._questions_at(alpha) for alpha in self.alphas}
        entries = []
        for contender in self._contenders:
            follows = contender.follows_cost(told=tells)
            for alpha in self.alphas if follows else self.alphas[:1]:
                name = f"{contender.name}@{alpha:g}" if follows else contender.name
                folder = self.folder / METHODS_FOLDER / re.sub(r"[^\w.@-]", "_", name)
                questions = asked[alpha]
                if one := contender.offers_only:
                    questions = [offering_only(question, one, self.settings) for question in questions]
                setting = setting_of(self._settings_at(alpha), questions, self.n_samples)
                setting |= {"method": contender.name, "alpha": alpha if follows else None}
                if contender.model_path:
                    setting |= {"model_path": contender.model_path}
                if contender.fits and self._train is not None:
                    setting |= {"scores_sha256": digest(self._train), "encoder": self._encoder}
                done = take_up(folder, setting, resume=resume)
                entries.append(Entry(contender, alpha if follows else None, questions, folder, done, self.n_samples))
        return entries

    def _check_offers(self) -> None:
        """See that every question offers the one candidate that a method asks."""
        for name in filter(None, (c.asks_only or c.offers_only for c in self._contenders)):
            for question in self.questions:
                if name not in offered_names(self.settings.pool, question.deal):
                    remedy = f"are not offered {name}, which is the only one that a method asks; leave it out"
                    raise ConfigError(question.place, "candidates", None, remedy)

    # ------------------------------------------------------------ fitted routers

    def _training_table(self, scores: Path | ScoreTable | None) -> ScoreTable:
        """The scores, without those of the questions that are asked."""
        assert scores is not None
        table = scores if isinstance(scores, ScoreTable) else read_scores(scores)
        asked = (question.question.text for question in self.questions)
        return training_table(table, self.settings.pool, asked=asked)

    def _fit(self) -> dict[str, SingleRoundRouter | Cascade]:
        """The routers and cascades of what is left to do, by name."""
        needed = dict.fromkeys(e.contender.fits for e in self.entries if e.left and e.contender.fits)
        if self._train is None or not needed:
            return {}
        asked = [question.question.text for question in self.questions]
        encoder: Encoder = KnownVectors(load_encoder(self._encoder), [*self._train.texts, *asked], vectors_folder())
        return fit_methods(needed, self._train, encoder, seed=self.settings.options.seed, replies=self._replies)

    # ------------------------------------------------------------ rolling out

    async def _roll_out(
        self, fitted: Mapping[str, SingleRoundRouter | Cascade], offered: Sequence[OfferedQuestion]
    ) -> list[list[Record]]:
        """The records of each entry."""
        left: dict[str | None, list[Entry]] = {None: []}  # those of the base model first
        for entry in self.entries:
            if entry.left:
                left.setdefault(entry.contender.model_path, []).append(entry)
        policies = {own: self._policy_for(own, entries) for own, entries in left.items() if entries}
        records = {id(entry): entry.done for entry in self.entries}
        async with open_routes(
            self.settings, check_candidates=not self._skip_preflight, stop_when_refused=True
        ) as asked:
            for own, (settings, tokenizer) in policies.items():  # one engine at a time
                async with open_router(settings, tokenizer=tokenizer, asked=asked) as router:
                    if tokenizer is None:
                        self._check_lengths(left[own], router.tokenizer)
                    for entry in left[own]:
                        records[id(entry)] = await self._records_of(entry, router, fitted)
            if offered:
                await ask_constants(offered, self.folder, *asked)
        return [records[id(entry)] for entry in self.entries]

    def _policy_for(
        self, own_model: str | None, entries: Sequence[Entry]
    ) -> tuple[RouterSettings, PreTrainedTokenizerBase | None]:
        """The settings of a policy, and its tokenizer if that is at hand; no prompt is too long for it."""
        settings = self.settings if own_model is None else with_own_model(self.settings, own_model)
        model_path = settings.options.model_path
        tokenizer = load_tokenizer(model_path) if model_path else None
        if tokenizer is not None:
            self._check_lengths(entries, tokenizer)
        return settings, tokenizer

    def _check_lengths(self, entries: Sequence[Entry], tokenizer: PreTrainedTokenizerBase) -> None:
        for questions in {id(entry.questions): entry.questions for entry in entries}.values():
            check_lengths(questions, tokenizer, self.settings.limits.max_prompt_length)

    async def _records_of(
        self, entry: Entry, router: Router, fitted: Mapping[str, SingleRoundRouter | Cascade]
    ) -> list[Record]:
        if not (left := entry.left):
            return entry.done
        alpha = self.alphas[0] if entry.alpha is None else entry.alpha
        seat = Seat(
            router,
            cost_weight=alpha,
            seed=self.settings.options.seed,
            fitted=fitted.get(entry.contender.fits or ""),
            candidates=self._train.candidates if self._train else (),
            questions=[question.question.text for question, _ in left],
        )
        method = entry.contender.make(seat)

        def answer(asked: PromptedQuestion, request_id: str) -> Awaitable[Trajectory]:
            posed = PosedQuestion(asked.question.text, asked.messages, asked.deal, alpha)
            return method.answer(posed, request_id=request_id)

        total = len(entry.questions) * self.n_samples
        with appending(entry.folder / TRAJECTORIES_FILE) as sink, Tally(total, entry.label) as tally:
            for record in entry.done:
                tally.add(record)
            return [*entry.done, *await roll_out_all(answer, router.pool, left, sink, tally.add)]

    def _facts(self) -> dict[str, Any]:
        return {
            "seed": self.settings.options.seed,
            "n_samples": self.n_samples,
            "alphas": list(self.alphas),
            "data": [str(file) for file in self.files],
            "draws": {str(file): read_provenance(file) for file in self.files},
            "config": self.settings.as_config(),
            "notes": self.notes,
            **provenance(),
        }


def _with_policy(options: RouterOptions) -> RouterOptions:
    """With a policy where none is named. What is told of cost is up to the contest."""
    unnamed = not (options.run or options.model_path or options.base_url)
    changes: dict[str, Any] = {"cost_weight": None}
    if unnamed:
        changes |= {"model_path": str(SHIPPED_POLICY), "pool": options.pool or "sim"}
        changes["template"] = options.template or "tiny"
    return options.model_copy(update=changes)
