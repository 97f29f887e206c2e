"""The finding about candidates that join in the middle of a training.

Those that call themselves plain are better than they say and cost little: what a descriptor does not tell, and only
asking does. Half of the steps are trained without them, and half with them; the default has them in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router_r1.benchmark.tables import Sheet
from router_r1.findings import other_deals
from router_r1.findings.finding import ALIKE, BASE, Finding, Told, cell
from router_r1.findings.reading import MEAN, BySeed, Found, Row, Trained
from router_r1.findings.verdicts import Claim, difference
from router_r1.findings.work import Training

_HALF = "trainer.total_training_steps=12"
"""Of the default's steps."""


def _without_plain_ones(out: Path) -> Sequence[str]:
    return [f"router_r1.pool={other_deals.without_plain_ones(out)}"]


_BEFORE = Training("before-they-join", (_HALF,), prepare=_without_plain_ones)
_AFTER = Training("after-they-joined", (_HALF,), after=_BEFORE)


def _share(row: Row) -> float | None:
    """Of all routes, those that go to a plain one."""
    asked = [count for name, count in row.items() if name.startswith("candidate/") and name.endswith(other_deals.PLAIN)]
    return sum(asked) / row["routes"] if asked and row.get("routes") else None


def _tell_joining(found: Found) -> Told:
    def last_share(run: Trained) -> float | None:
        return _share(run.last.get(MEAN, {}))

    when_they_join: BySeed = found.of(_AFTER.name, lambda run: _share(run.first.get(MEAN, {})))
    joined, always = found.of(_AFTER.name, last_share), found.of(BASE.name, last_share)
    claims = [
        Claim("Who joins is asked more after the second half than when it begins", difference(joined, when_they_join)),
        Claim(
            "At the end who joined has at least the default's share of the routes, less 0.05",
            difference(joined, always),
            above=-ALIKE,
        ),
        Claim(
            "EM ends at most 0.05 below the default's",
            difference(found.last(_AFTER.name, "em"), found.last(BASE.name, "em")),
            above=-ALIKE,
        ),
    ]
    rows = [
        ("when they join", [cell(when_they_join), cell(found.of(_AFTER.name, lambda run: run.first[MEAN].get("em")))]),
        ("after half of the steps with them", [cell(joined), cell(found.last(_AFTER.name, "em"))]),
        ("default: in all steps", [cell(always), cell(found.last(BASE.name, "em"))]),
    ]
    return Told(claims, [Sheet("Plain candidates' share of the routes", "validation", ["share", "EM"], rows)])


JOINING = Finding(
    "h",
    "Is a candidate found out that joins in the middle of a training?",
    (BASE, _BEFORE, _AFTER),
    _tell_joining,
)
