"""The findings as one page, `report.html`, and as figures, `findings.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.benchmark.plots import save
from router_r1.benchmark.report import embedded, page_environment
from router_r1.benchmark.tables import Sheet
from router_r1.findings.finding import Finding, Told
from router_r1.findings.reading import Benched, Found, Trained, read_benchmark, read_training
from router_r1.findings.verdicts import LEAST_SEEDS, Claim
from router_r1.findings.work import Task
from router_r1.runs import provenance

REPORT_FILE, FIGURES_FILE = "report.html", "findings.json"

TEST = (
    "Each claim is about the mean over seeds of a number, mostly a difference that is taken seed by seed. It holds if "
    "the whole 90 % t-interval of that mean lies where the claim says, does not hold if the whole interval lies "
    f"elsewhere, and cannot be said otherwise, or of fewer than {LEAST_SEEDS} seeds. Tables give the mean ± half of "
    "that interval. Many claims are tested at once: of ten that are not so, one may come out as holding by chance."
)
_SIMULATED = (
    "Everything here is a tiny policy in a simulated world: nothing follows for real models, and beside the paper's "
    "figures only signs compare."
)


@dataclass(frozen=True)
class _Section:
    """What the page has of one finding."""

    finding: Finding
    told: Told
    figures: list[tuple[str, str]]  # name, base64


def collect(tasks: Iterable[Task]) -> Found:
    """What all finished ones came to."""
    trained: dict[str, dict[int, Trained]] = {}
    benched: dict[str, dict[int, Benched]] = {}
    for task in tasks:
        if task.is_training:
            if (run := read_training(task.folder)) is not None:
                trained.setdefault(task.what.name, {})[task.seed] = run
        elif (task.folder / RESULTS_FILE).is_file():
            benched.setdefault(task.what.name, {})[task.seed] = read_benchmark(task.folder)
    return Found(trained, benched)


def write_findings(out: Path, findings: Sequence[Finding], tasks: Sequence[Task]) -> Path:
    """Write page, figures and pictures of what is finished so far; the page's path."""
    found = collect(tasks)
    sections = []
    for finding in findings:
        told = finding.tell(found)
        pictures = [save(out / f"{finding.letter}_{name}.png", draw) for name, draw in told.pictures.items()]
        sections.append(_Section(finding, told, embedded(pictures)))
    missing = [task.name for task in tasks if not task.is_done]
    page = page_environment("router_r1.findings").get_template("findings.html").render(
        sections=[(section, claims_sheet(section.told.claims)) for section in sections],
        notes=[TEST, _SIMULATED],
        missing=missing,
        facts=json.dumps(provenance(), indent=2),
    )  # fmt: skip
    write_text(out / REPORT_FILE, page)
    write_text(out / FIGURES_FILE, json.dumps(_figures(sections, missing), indent=2) + "\n")
    return out / REPORT_FILE


def claims_sheet(claims: Sequence[Claim], title: str = "Claims") -> Sheet:
    """Claims in rows: the mean that each is about, its interval, and the verdict."""
    rows = []
    for claim in claims:
        interval = claim.interval
        told = ["", "", "0"]
        if interval is not None:
            ends = f"{interval.low:+.3f} to {interval.high:+.3f}" if interval.seeds > 1 else ""
            told = [f"{interval.mean:+.3f}", ends, str(interval.seeds)]
        rows.append((claim.text, [*told, claim.verdict.value]))
    return Sheet(title, "claim", ["mean", "90 % interval", "seeds", "verdict"], rows)


def runs_sheet(findings: Sequence[Finding], tasks: Sequence[Task]) -> Sheet:
    """Runs in rows, in their order: what differs from the default, how many seeds are done, and who needs them."""
    rows = []
    for name in dict.fromkeys(task.what.name for task in tasks):
        own = [task for task in tasks if task.what.name == name]
        what = own[0].what
        needed = [f.letter for f in findings if name in {run.name for run in f.runs}]
        done = f"{sum(task.is_done for task in own)} of {len(own)}"
        rows.append((name, [what.described, ", ".join(needed), done]))
    return Sheet(f"{len(tasks)} runs", "run", ["what", "findings", "seeds done"], rows)


def verdicts_sheets(out: Path, findings: Sequence[Finding]) -> list[Sheet]:
    """The claims of each finding as the last page has them, for the terminal."""
    figures = json.loads((out / FIGURES_FILE).read_text(encoding="utf-8"))["findings"]
    return [
        Sheet(
            f"{finding.letter}: {finding.question}",
            "claim",
            ["seeds", "verdict"],
            [(row["claim"], [str(len(row["by_seed"])), row["verdict"]]) for row in figures[finding.letter]["claims"]],
        )
        for finding in findings
    ]


def _figures(sections: Sequence[_Section], missing: Sequence[str]) -> Mapping[str, Any]:
    return {
        "findings": {
            section.finding.letter: {
                "question": section.finding.question,
                "claims": [_claim_figures(claim) for claim in section.told.claims],
            }
            for section in sections
        },
        "missing_runs": list(missing),
        **provenance(),
    }


def _claim_figures(claim: Claim) -> Mapping[str, Any]:
    interval = claim.interval
    has_ends = interval is not None and interval.seeds > 1
    return {
        "claim": claim.text,
        "verdict": claim.verdict.value,
        "mean": interval.mean if interval else None,
        "interval": [interval.low, interval.high] if interval and has_ends else None,
        "by_seed": {str(seed): value for seed, value in claim.by_seed.items()},
    }
