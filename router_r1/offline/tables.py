"""What an offline benchmark looks like: sheets for terminal and report alike, and what they say in words."""

from __future__ import annotations

from router_r1.benchmark.tables import Sheet
from router_r1.measures import EFFECTIVE_CANDIDATES, KIND_INFORMATION, TOP_SHARE
from router_r1.offline.evaluation import (
    ABOVE_BASELINE,
    ABOVE_BEST_CONSTANT,
    ABOVE_CONSTANT,
    CURVE_MEASURES,
    SCORE,
    Figures,
)
from router_r1.offline.results import MethodResult, OfflineResults

REAL = 0.05
"""A difference is called real if its corrected p is below this."""
UNKNOWN = "-"


def label_of(method: MethodResult) -> str:
    """Its title, marked if it knows what no router is told."""
    return method.title + (" *" if method.privileged else "")


def sheets(results: OfflineResults) -> list[Sheet]:
    """All that is shown of one benchmark in a terminal."""
    return [score_sheet(results), curve_sheet(results), spread_sheet(results)]


def score_sheet(results: OfflineResults) -> Sheet:
    """What each is worth at the first cost weight, with 95 % intervals; a difference is called `above`."""
    beside = f"above {results.baseline.title}" if results.baseline else "above baseline"
    columns = ["score", "95 %", "raw cost", "above constant at that cost", "95 %", "p", beside, "95 %", "p"]
    rows = []
    for method in results.methods:
        figures = method.evaluated.points[0].figures
        cells = [_cell(figures[SCORE]), _interval(figures, SCORE, ".3f"), _cell(figures["raw_cost"], ".4g")]
        for what in (ABOVE_CONSTANT, ABOVE_BASELINE):
            cells += [_cell(figures[what], "+.3f"), _interval(figures, what), _cell(figures[f"{what}_p"])]
        rows.append((label_of(method), cells))
    title = f"At cost weight {first_alpha(results)}: mean over seeds, {results.num_test:.0f} test questions each"
    return Sheet(title, "method", columns, rows)


def first_alpha(results: OfflineResults) -> str:
    alphas = [method.evaluated.points[0].alpha for method in results.methods]
    return next((f"{alpha:g}" for alpha in alphas if alpha is not None), UNKNOWN)


def curve_sheet(results: OfflineResults) -> Sheet:
    """The whole curve in one figure each, and at the first cost weight what of two gaps is recovered."""
    columns = ["AIQ", "APGR", "CPT(50)", "CPT(80)", "PGR", "oracle gap", "above best constant", "95 %", "p"]
    rows = []
    for method in results.methods:
        figures, curve = method.evaluated.points[0].figures, method.evaluated.curve
        cells = [_cell(curve[key]) for key in CURVE_MEASURES] + [_cell(figures["pgr"]), _cell(figures["gap_recovered"])]
        cells += [_cell(figures[ABOVE_BEST_CONSTANT], "+.3f"), _interval(figures, ABOVE_BEST_CONSTANT)]
        rows.append((label_of(method), [*cells, _cell(figures[f"{ABOVE_BEST_CONSTANT}_p"])]))
    return Sheet(
        f"Curves over cost weights; from PGR on at cost weight {first_alpha(results)}", "method", columns, rows
    )


def spread_sheet(results: OfflineResults) -> Sheet:
    """How choices spread, what they cost, and what fitting and choosing take."""
    columns = ["USD/1,000", "arena", "top share", "eff. candidates", "bits", "fit s", "ms/question"]
    forms = {"arena": ".3f", TOP_SHARE: ".3f", EFFECTIVE_CANDIDATES: ".2f", KIND_INFORMATION: ".2f"}
    rows = []
    for method in results.methods:
        figures = method.evaluated.points[0].figures
        cells = [_cell(1000 * (figures["spend_usd"] or 0.0), ".3g")]
        cells += [_cell(figures[key], form) for key, form in forms.items()]
        rows.append((label_of(method), [*cells, _cell(method.fit_s, ".1f"), _cell(method.choose_ms, ".2g")]))
    return Sheet(f"Money, spread and time at cost weight {first_alpha(results)}", "method", columns, rows)


def alpha_sheet(results: OfflineResults) -> Sheet:
    """Score and raw cost at each cost weight, and what that lies above the best constant at equal cost."""
    alphas = max((method.evaluated.points for method in results.methods), key=len)
    rows = []
    for method in results.methods:
        if len(method.evaluated.points) == len(alphas) > 1:
            for heading, key, form in (("score", SCORE, ".3f"), ("raw cost", "raw_cost", ".4g")):
                rows.append((f"{label_of(method)}: {heading}", _at_alphas(method, key, form)))
            rows.append((f"{label_of(method)}: above constant", _at_alphas(method, ABOVE_CONSTANT, "+.3f")))
    columns = [UNKNOWN if point.alpha is None else f"{point.alpha:g}" for point in alphas]
    return Sheet("By cost weight (alpha)", "method", columns, rows)


def _at_alphas(method: MethodResult, key: str, form: str) -> list[str]:
    return [_cell(point.figures[key], form) for point in method.evaluated.points]


def dataset_sheet(results: OfflineResults) -> Sheet:
    """Score on each data set at the first cost weight."""
    names = sorted({name for method in results.methods for name in method.evaluated.datasets})
    rows = [
        (label_of(method), [_cell(method.evaluated.datasets.get(name)) for name in names]) for method in results.methods
    ]
    return Sheet(f"By data set, at cost weight {first_alpha(results)}", "method", names, rows)


def verdicts(results: OfflineResults) -> list[str]:
    """Which differences between routers and what they must beat are real, in words."""
    versus = [(ABOVE_CONSTANT, "the best constant at equal cost"), (ABOVE_BEST_CONSTANT, "the best constant")]
    if results.baseline:
        versus.append((ABOVE_BASELINE, results.baseline.title))
    found = []
    for what, whom in versus:
        told = [m for m in results.routers if what != ABOVE_BASELINE or m is not results.baseline]
        corrected = results.corrected(what, [method.name for method in told])
        groups: dict[str, list[str]] = {"above": [], "below": [], "not told apart from": []}
        for method in told:
            is_above = (method.evaluated.points[0].figures[what] or 0.0) > 0
            word = ("above" if is_above else "below") if corrected[method.name] < REAL else "not told apart from"
            groups[word].append(_with_difference(method, what))
        found += [f"{word} {whom}: {'; '.join(methods)}" for word, methods in groups.items() if methods]
    return found


def _with_difference(method: MethodResult, what: str) -> str:
    figures = method.evaluated.points[0].figures
    return f"{method.title} ({_cell(figures[what], '+.3f')}, {_interval(figures, what)})"


def _cell(value: float | None, form: str = ".3f") -> str:
    return UNKNOWN if value is None else format(value, form.replace(".", "z.", 1))  # z: no negative zero


def _interval(figures: Figures, what: str, form: str = "+.3f") -> str:
    ends = figures[f"{what}_low"], figures[f"{what}_high"]
    return UNKNOWN if None in ends else ", ".join(_cell(end, form).replace("0.", ".", 1) for end in ends)
