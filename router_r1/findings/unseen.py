"""The finding about candidates that were not there: a trained router, asked with other deals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from router_r1.benchmark.tables import Sheet
from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.findings import other_deals
from router_r1.findings.finding import ALIKE, BASE, PAPER, Finding, Told, cell
from router_r1.findings.reading import Benched, BySeed, Found
from router_r1.findings.verdicts import Claim, difference
from router_r1.findings.work import Benchmark
from router_r1.measures import TOP_SHARE


def _other_deals(name: str, change: other_deals.Change) -> Benchmark:
    def write(run_dir: Path, file: Path, out: Path) -> Path:
        return other_deals.write_changed(run_dir, file, change, other_deals.with_newcomers(out))

    return Benchmark(name, BASE, write)


_DEALS = {
    "as it was": _other_deals("as-it-was", other_deals.as_it_was),
    "names and order shuffled": _other_deals("shuffled", other_deals.shuffled),
    "a newcomer added": _other_deals("newcomer", other_deals.with_newcomer),
    "a descriptor that lies": _other_deals("liar", other_deals.with_liar),
}


def _asked_first(run: Benched, is_meant: Callable[[str, dict[str, str | None]], bool]) -> list[tuple[bool, float]]:
    """Of each question that offers whom is meant: whether the first route goes there, and the chance of it by lot.

    Args:
        is_meant: (kind of the question, the candidate as it was dealt).
    """
    found = []
    for record in run.records:
        offered = record.get("candidates") or []
        meant = {entry["candidate"] for entry in offered if is_meant(record.get("kind", ""), entry)}
        if meant:
            asked = [turn["route"]["candidate"] for turn in record["turns"] if turn["route"]]
            found.append((bool(asked) and asked[0] in meant, len(meant) / len(offered)))
    return found


def _share(asked: Sequence[tuple[bool, float]]) -> float | None:
    return statistics.fmean(is_first for is_first, _ in asked) if asked else None


def _beyond_lot(asked: Sequence[tuple[bool, float]]) -> float | None:
    return statistics.fmean(is_first - chance for is_first, chance in asked) if asked else None


def _is_newcomer(kind: str, entry: dict[str, str | None]) -> bool:
    return entry["candidate"] == other_deals.NEWCOMERS.get(kind)


def _is_liar(kind: str, entry: dict[str, str | None]) -> bool:
    return entry.get("descriptor") is not None


def _tell_unseen(found: Found) -> Told:
    names = {label: benchmark.name for label, benchmark in _DEALS.items()}
    as_it_was, mixed, newcomer, liar = names.values()

    def mean(name: str, measure: str) -> BySeed:
        return found.of_benchmark(name, lambda run: run.results.mean.get(measure))

    def gain(name: str) -> BySeed:
        return difference(mean(name, "em"), mean(as_it_was, "em"))

    meant = {newcomer: _is_newcomer, liar: _is_liar}

    def first(name: str, told: Callable[[Sequence[tuple[bool, float]]], float | None]) -> BySeed:
        """Whoever is meant by this benchmark, asked first; {} if nobody is."""
        return found.of_benchmark(name, lambda run: told(_asked_first(run, meant[name]))) if name in meant else {}

    above = found.last(BASE.name, EM_ABOVE_CONSTANT)
    claims = [
        Claim("With pools that no step has seen, EM is above the best constant at that cost", above),
        Claim("Other names in another order change EM by less than 0.05", gain(mixed), above=-ALIKE, below=ALIKE),
        Claim(
            "A specialist met for the first time is asked first more often than by lot", first(newcomer, _beyond_lot)
        ),
        Claim("With it, EM is at most 0.05 lower", gain(newcomer), above=-ALIKE),
        Claim("Whoever claims to be the expert is asked first more often than by lot", first(liar, _beyond_lot)),
        Claim("A descriptor that lies costs EM", {seed: -value for seed, value in gain(liar).items()}),
    ]
    rows = [
        (label, [cell(mean(name, "em")), cell(mean(name, "raw_cost"), ".2f"), cell(mean(name, TOP_SHARE)),
                 cell(first(name, _share))])
        for label, name in names.items()
    ]  # fmt: skip
    columns = ["EM", "raw cost", "top share", "newcomer or liar asked first"]
    return Told(claims, [Sheet("The trained router, asked greedily with other deals", "deals", columns, rows)])


UNSEEN = Finding(
    "e",
    "Does a trained router choose well among candidates that it has not met?",
    (BASE,),
    _tell_unseen,
    tuple(_DEALS.values()),
    paper=f"Mean EM of four data sets .458; .463 with two more candidates, never met before ({PAPER}, table 2).",
)
