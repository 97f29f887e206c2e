"""Every candidate of a pool, asked every question of question files: a file of scores of one's own.

Answers are kept in `<out>.jsonl` while they come, a line each, and what they depend on in `<out>.setting.json`;
whatever ends the asking, `resume` goes on from there. It may then ask more questions or more samples than before, of
the same files and candidates. Failed routes are asked again. Both files stay: they hold what was paid for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.candidate_answers import CandidateAnswer, OfferedQuestion, ask_every_candidate, read_answers
from router_r1.datasets import check_deals, check_parquet, kind_of_question
from router_r1.datasets.parquet import read_provenance
from router_r1.errors import ConfigError
from router_r1.event_loops import wait_for
from router_r1.pool import Deal, RoutingPool, offered_names, spend_usd
from router_r1.router import open_routes
from router_r1.runs import provenance
from router_r1.scores.files import write_scores
from router_r1.scores.samples import CheckedSamples, Sample, checked_samples
from router_r1.settings import RouterOptions, make_settings

METRIC = "cover_em"
"""The reply holds a golden answer (`rewards.outcome.holds_answer`)."""


@dataclass(frozen=True)
class CollectedQuestion:
    """A question of a file, and whom it offers; it is asked of the whole pool."""

    id: str
    asked: OfferedQuestion
    offered: frozenset[str]


class Collection:
    """Scores to be gathered: checked when it is made, asked for by `run`.

    Args:
        options: which candidates; of those of a policy, `run` counts alone, for pool and world.
        data: question files (parquet).
        out: the file of scores (.parquet).
        n_samples: how often each candidate is asked each question.
        temperature: of every candidate, instead of the pool file's.
        limit: at most so many questions of each data source; None for all.
        resume: go on with what an earlier attempt left beside `out`.
        skip_preflight: start without asking every candidate a word first.

    Raises:
        ConfigError: an option, a file or a row is wrong, or `out` is there and nobody asked to go on with it.
    """

    def __init__(
        self,
        options: RouterOptions,
        *,
        data: Sequence[str | Path],
        out: Path,
        n_samples: int = 1,
        temperature: float | None = None,
        limit: int | None = None,
        resume: bool = False,
        skip_preflight: bool = False,
    ) -> None:
        for key, value in (("--n", n_samples), ("--limit", limit)):
            if value is not None and value < 1:
                raise ConfigError("command line", key, value, "must be at least 1")
        if temperature is not None and not 0 <= temperature <= 2:
            raise ConfigError("command line", "--temperature", temperature, "must be a number in [0, 2]")
        if out.suffix != ".parquet":
            raise ConfigError("command line", "--out", str(out), "must end in .parquet")
        self._settings = make_settings(options, with_policy=False)
        self._temperature, self._skip_preflight = temperature, skip_preflight
        self.n_samples, self.files, self.out = n_samples, [Path(file) for file in data], out
        pool = self._settings.pool
        self.pool = pool if temperature is None else pool.at_temperature(temperature)
        self._check_samples_differ()
        every = read_questions(self.files, self.pool)
        self.questions = _limited(every, limit)
        self._open(_setting_of(self.pool, every, self._settings.run.get("seed", 0)), resume)

    @property
    def answers_file(self) -> Path:
        """Where answers are while they come."""
        return self.out.with_suffix(".jsonl")

    @property
    def setting_file(self) -> Path:
        """What they depend on."""
        return self.out.with_suffix(".setting.json")

    def run(self, told: Callable[[int, int], None] = lambda done, total: None) -> CheckedSamples:
        """Ask what is left to ask, and write the file of scores.

        Args:
            told: after each answer, how many of how many there are.

        Raises:
            ConfigError: a candidate that cannot be asked.
            TooManyFailed: so many routes failed that the rest was not asked; what was answered is kept.
            RuntimeError: the pool server did not start, a key or model is refused, or the budget is spent.
        """
        wait_for(self._ask(told))
        wanted = {q.asked.key: q for q in self.questions}
        latest = {a.key: a for a in read_answers(self.answers_file)}
        rows = [
            (f"{self.answers_file}", self._sample(wanted[a.data_source, a.index], a))
            for a in sorted(latest.values(), key=lambda a: (a.index, self.pool.names.index(a.candidate), a.sample))
            if (a.data_source, a.index) in wanted and a.sample < self.n_samples
        ]
        checked = checked_samples(rows, self.answers_file)
        write_scores(checked.samples, self.out, provenance=self._facts())
        return checked

    async def _ask(self, told: Callable[[int, int], None]) -> None:
        opened = open_routes(
            self._settings,
            temperature=self._temperature,
            check_candidates=not self._skip_preflight,
            stop_when_refused=True,
        )
        async with opened as (routes, pool):
            await ask_every_candidate(
                [question.asked for question in self.questions],
                pool=pool,
                routes=routes,
                file=self.answers_file,
                n_samples=self.n_samples,
                told=told,
            )

    def _sample(self, question: CollectedQuestion, answer: CandidateAnswer) -> Sample:
        spent = answer.spend_usd
        if not answer.failed and answer.prompt_tokens is not None and answer.completion_tokens is not None:
            # What came from a cache was paid for once, by another: a router that asks pays for it.
            candidate = self.pool.candidate(answer.candidate)
            spent = spend_usd(candidate, answer.prompt_tokens, answer.completion_tokens)
        return Sample(
            id=question.id,
            data_source=answer.data_source,
            question=question.asked.text,
            golden_answers=question.asked.golden_answers,
            candidate=answer.candidate,
            sample=answer.sample,
            offered=answer.candidate in question.offered,
            reply=answer.reply,
            score=answer.em,
            f1=answer.f1,
            metric=METRIC,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            raw_cost=answer.raw_cost,
            spend_usd=spent,
            latency_s=answer.latency_s,
            failed=answer.failed,
        )

    def _check_samples_differ(self) -> None:
        greedy = next((c for c in self.pool.candidates if c.temperature == 0), None)
        if self.n_samples > 1 and greedy is not None:
            remedy = f"replies of {greedy.name} are all alike at temperature 0; give a --temperature above 0"
            raise ConfigError("command line", "--n", self.n_samples, remedy)

    def _open(self, setting: dict[str, Any], resume: bool) -> None:
        """Take up what an earlier attempt left, if that is wanted and it depends on the same."""
        there = next((file for file in (self.answers_file, self.out) if file.exists()), None)
        if there is None:
            try:
                write_text(self.setting_file, json.dumps(setting, indent=2, ensure_ascii=False) + "\n")
            except OSError as fault:
                raise ConfigError("command line", "--out", str(self.out), f"cannot be made: {fault.strerror}") from None
            return
        if not resume:
            remedy = f"there is {there.name} already; give another file, or --resume to go on with it"
            raise ConfigError("command line", "--out", str(self.out), remedy)
        if not self.setting_file.exists():
            remedy = f"there is {there.name}, but not what it depends on ({self.setting_file.name}); give another file"
            raise ConfigError("command line", "--resume", str(self.out), remedy)
        before = json.loads(self.setting_file.read_text(encoding="utf-8"))
        for key, value in json.loads(json.dumps(setting)).items():
            if before.get(key) != value:
                remedy = f"{key} differs from this command's; --resume goes on with the same questions and candidates"
                raise ConfigError(self.setting_file, "", None, remedy)

    def _facts(self) -> dict[str, Any]:
        candidates = self.pool.candidates
        return {
            "source": "collect",
            "files": [file.name for file in self.files],
            "draws": {file.name: read_provenance(file) for file in self.files},
            "pool": self.pool.name,
            "simulated": self._settings.simulated,
            "seed": self._settings.run.get("seed", 0),
            "prices_usd_per_1m_tokens": {c.name: c.price.model_dump() for c in candidates},
            "temperature": {c.name: c.temperature for c in candidates},
            "n_samples": self.n_samples,
            "assumptions": ["a reply is right if it holds a golden answer", "spend is as if nothing came from a cache"],
            **provenance(),
        }


def read_questions(files: Sequence[Path], pool: RoutingPool) -> list[CollectedQuestion]:
    """All questions of the files, in order.

    Raises:
        ConfigError: no question file, a row without golden answers, a deal of another pool, or a question twice.
    """
    import pyarrow.parquet as pq

    questions: list[CollectedQuestion] = []
    places: dict[str, str] = {}
    for file in files:
        check_parquet(file)
        check_deals(file, pool)
        for number, row in enumerate(pq.read_table(file).to_pylist()):
            place, source, extra = f"{file}: row {number}", row["data_source"], row["extra_info"]
            golden = tuple(row["reward_model"]["ground_truth"]["target"] or ())
            if not golden:
                key = "reward_model.ground_truth.target"
                raise ConfigError(place, key, None, "must hold at least one golden answer")
            identifier = f"{source}/{extra['id']}"
            if (first := places.setdefault(identifier, place)) != place:
                remedy = f"is that of {first}, too; name every file once, and give every question an id of its own"
                raise ConfigError(place, "extra_info.id", extra["id"], remedy)
            # A file's own index is not unique over several files.
            key_of = (source, len(questions))
            kind = kind_of_question(row["ability"], source)
            asked = OfferedQuestion(key_of, kind, extra["question"], golden, tuple(pool.names))
            offers = offered_names(pool, Deal.from_rows(extra.get("candidates"), place))
            questions.append(CollectedQuestion(identifier, asked, frozenset(offers)))
    return questions


def _limited(questions: Sequence[CollectedQuestion], limit: int | None) -> list[CollectedQuestion]:
    """At most so many of each data source, the first ones."""
    taken: dict[str, int] = {}
    kept = []
    for question in questions:
        source, _ = question.asked.key
        taken[source] = taken.get(source, 0) + 1
        if limit is None or taken[source] <= limit:
            kept.append(question)
    return kept


def _setting_of(pool: RoutingPool, questions: Sequence[CollectedQuestion], seed: int) -> dict[str, Any]:
    """What the answers depend on, as JSON types; not how many questions of the files are asked, nor how often."""
    digest = hashlib.sha256()
    for question in questions:
        offered = sorted(question.offered)
        digest.update(json.dumps([question.id, question.asked.text, question.asked.golden_answers, offered]).encode())
    return {
        "questions_sha256": digest.hexdigest(),
        "pool": pool.name,
        "candidates": [c.model_dump(mode="json") for c in pool.candidates],
        "seed": seed,
    }
