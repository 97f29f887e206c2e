"""An offline benchmark: every method on the same parts of the same scores, and what comes of it.

It is checked when it is made, before anything is fitted. What is finished is in the folder: whatever ends it early, the
same command with `--resume` goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from router_r1.benchmark.folders import open_folder
from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES
from router_r1.methods.encoders import load_encoder
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import missing_modules
from router_r1.methods.vectors import KnownVectors, vectors_folder
from router_r1.offline.bounds import BOUND_ROUTERS, bounds
from router_r1.offline.evaluation import SCORE, Evaluated, evaluate
from router_r1.offline.fits import FITS, Fit, fit
from router_r1.offline.options import DEFAULT_BASELINE, ComparisonOptions
from router_r1.offline.parts import Part, part
from router_r1.offline.report import write_report
from router_r1.offline.results import BOUND, ROUTER, MethodResult, OfflineResults, write_results
from router_r1.offline.yardsticks import Yardstick
from router_r1.recorded import RecordedReplies
from router_r1.recorded.replies import recorded_of
from router_r1.runs import provenance
from router_r1.scores import Replies, ScoreTable, read_samples
from router_r1.scores.samples import replies_of, table_of


class OfflineBenchmark:
    """Fitted routers, cascades and bounds on a table of scores.

    Args:
        options: which methods, and how they are judged.
        table: the scores, without replies; None for those of the file in the options, with what it has of replies.
        out: folder for the results; None for `results/<file>-<time>`.
        resume: go on with the unfinished benchmark in `out`, or add methods to a finished one.

    Attributes:
        folder: where fits, results, pictures and report go.

    Raises:
        ConfigError: an option or the file is wrong, or `out` holds something else.
    """

    def __init__(
        self,
        options: ComparisonOptions,
        table: ScoreTable | None = None,
        *,
        out: Path | None = None,
        resume: bool = False,
    ) -> None:
        self.options, self.alphas = options, options.cost_weights()
        entries = {name: CASCADES[name] if name in CASCADES else ROUTERS[name] for name in options.fitted()}
        self.not_installed = {
            entry.title: remedy for entry in entries.values() if (remedy := missing_modules(entry.needs))
        }
        self.entries = {name: entry for name, entry in entries.items() if entry.title not in self.not_installed}
        if resume and out is None:
            raise ConfigError("command line", "--resume", None, "needs --out DIR: the folder to go on with")
        self.table, self._replies = _read(options.scores) if table is None else (table, {})
        self.bounds = bounds(self.table.candidates)
        self.baseline = self._baseline()
        self.not_run: dict[str, str] = {}
        recorded = self._recorded()
        self.parts = [self._part(seed, recorded) for seed in range(options.seeds)]
        self.encoder = load_encoder(options.encoder)
        name = Path(options.scores).stem if options.scores else "scores"
        self.folder = out or Path("results", f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        open_folder(self.folder, self._setting(), kept=FITS, resume=resume)

    def run(self) -> OfflineResults:
        """Fit what is left to fit, and write `results.json`, `results.csv`, `field.png` and `report.html`."""
        fits = self._fit_all()
        choices = {name: [found.choices for found in own] for name, own in fits.items()}
        choices |= {name: [bound.choose(p, self.alphas) for p in self.parts] for name, bound in self.bounds.items()}
        yardsticks = [Yardstick.of(p) for p in self.parts]
        evaluated = evaluate(choices, yardsticks, baseline=self.baseline)
        results = OfflineResults(
            methods := self._rows(evaluated, fits),
            self.not_installed,
            self.not_run,
            next((method for method in methods if method.name == self.baseline), None),
            [yardstick.hull for yardstick in yardsticks],
            self._num_test,
        )
        facts = {"notes": self.notes, "setting": self._setting(), **self._facts()}
        write_results(self.folder, results, facts)
        write_report(self.folder, results, facts)
        return results

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        notes = [
            "cost is raw cost, micro-USD of output for a question",
            "what is marked * knows what no router is told: the test questions' scores, or their data sets",
        ]
        if self.options.shuffle_labels:
            control = "a control: each training question has the scores of another one, so that nothing can be learned"
            notes.insert(0, f"{control} but which candidate is the best over all")
        return notes

    def _baseline(self) -> str | None:
        known, named = [*self.bounds, *self.entries], self.options.baseline
        if named is None:
            return DEFAULT_BASELINE if DEFAULT_BASELINE in known else None
        if named not in known:
            remedy = f"is no method that runs here; there are: {', '.join(known)}"
            raise ConfigError("command line", "--baseline", named, remedy)
        return named

    def _recorded(self) -> RecordedReplies | None:
        """What cascades are fitted on and answered from; None if there are none, or none that can run."""
        cascades = [name for name in self.entries if name in CASCADES]
        if not cascades:
            return None
        try:
            if not self.table.offered.all():
                remedy = "is not true of every candidate: a cascade may ask any of them; leave it out"
                raise ConfigError(self.table.source, "offered", None, remedy)
            return recorded_of(self.table, self._replies)
        except ConfigError as fault:
            for name in cascades:
                self._leave_out(name, fault)
            return None

    def _leave_out(self, name: str, fault: ConfigError) -> None:
        """Say why a cascade does not run; the others do.

        Raises:
            ConfigError: they are to be told beside it.
        """
        if name == self.baseline:
            raise fault
        self.not_run[self.entries.pop(name).title] = str(fault)

    def _part(self, seed: int, recorded: RecordedReplies | None) -> Part:
        share, shuffled = self.options.test_share, self.options.shuffle_labels
        return part(self.table, seed, test_share=share, shuffle_labels=shuffled, replies=recorded)

    def _fit_all(self) -> dict[str, list[Fit]]:
        fits: dict[str, list[Fit]] = {}
        if not self.entries:
            return fits
        with _progress() as progress:
            task = progress.add_task("vectors of questions", total=len(self.entries) * len(self.parts))
            encoder = KnownVectors(self.encoder, self.table.texts, vectors_folder())
            for name, entry in list(self.entries.items()):
                own: list[Fit] = []
                try:
                    for p in self.parts:
                        progress.update(task, description=f"{entry.title}, seed {p.seed}")
                        own.append(fit(entry, p, encoder, self.alphas, self.folder, name=name))
                        progress.advance(task)
                except ConfigError as fault:
                    if name not in CASCADES:
                        raise
                    self._leave_out(name, fault)
                else:
                    fits[name] = own
        return fits

    @property
    def _num_test(self) -> float:
        return float(np.mean([len(p.test) for p in self.parts]))

    def _rows(self, evaluated: dict[str, Evaluated], fits: dict[str, list[Fit]]) -> list[MethodResult]:
        """Bounds, then routers, the best first."""
        rows = [
            MethodResult(name, bound.title, BOUND, evaluated[name], privileged=bound.privileged)
            for name, bound in self.bounds.items()
        ]
        for name, own in fits.items():
            entry, fit_s = self.entries[name], float(np.mean([found.fit_s for found in own]))
            choose_ms = 1000 * float(np.mean([found.choose_s for found in own])) / self._num_test
            kind = BOUND if name in BOUND_ROUTERS else ROUTER
            rows.append(
                MethodResult(
                    name,
                    entry.title,
                    kind,
                    evaluated[name],
                    source=entry.source,
                    fit_s=fit_s,
                    choose_ms=choose_ms,
                    reasons=own[0].reasons,
                )
            )
        return sorted(rows, key=lambda row: (row.kind, -(row.evaluated.points[0].figures[SCORE] or 0.0)))

    def _setting(self) -> dict[str, Any]:
        """What a fit depends on."""
        table = self.table
        digest = hashlib.sha256(json.dumps([[q.id, q.data_source, q.text] for q in table.questions]).encode())
        for values in (table.score, table.raw_cost, table.spend_usd, table.offered):
            digest.update(np.ascontiguousarray(values).tobytes())
        said = [[*key, *(sample.reply for sample in own)] for key, own in self._replies.items()]
        return {
            "candidates": list(table.candidates),
            "num_questions": len(table),
            "scores_sha256": digest.hexdigest(),
            "replies_sha256": hashlib.sha256(json.dumps(said).encode()).hexdigest(),
            "encoder": self.encoder.name,
            "test_share": self.options.test_share,
            "shuffle_labels": self.options.shuffle_labels,
        }

    def _facts(self) -> dict[str, Any]:
        return {"options": self.options.model_dump(mode="json"), "alphas": self.alphas, **provenance()}


def _read(file: Path | None) -> tuple[ScoreTable, Replies]:
    if file is None:
        raise ConfigError("command line", "--scores", None, "is needed: a file of scores")
    checked = read_samples(file)
    return table_of(checked, file), replies_of(checked.samples)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))
