"""The findings: what each asks, which runs answer it, and how they are read.

Everything is trained in the simulated world's default experiment; an override says what differs. Claims compare seed by
seed. "Validation" is the last one of a run, of questions whose pools no training step has seen.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from router_r1.benchmark.tables import Sheet
from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.errors import ConfigError
from router_r1.findings import other_deals
from router_r1.findings.drawing import draw_bars, draw_lines
from router_r1.findings.finding import ALIKE, BASE, PAPER, Finding, Told, cell, runs_sheet
from router_r1.findings.joining import JOINING
from router_r1.findings.reading import MEAN, BySeed, Found, Trained
from router_r1.findings.unseen import UNSEEN
from router_r1.findings.verdicts import Claim, difference
from router_r1.findings.work import Training
from router_r1.measures import KIND_INFORMATION, TOP_SHARE
from router_r1.prompts.cost_words import COST_WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EDGE = 5
"""Steps at either end of a training that are compared; one step's mean is of few questions."""


# ---------------------------------------------------------------- a: EM and cost over alpha


def _alpha_run(alpha: float) -> Training:
    return Training(f"alpha-{alpha:g}", (f"router_r1.reward.cost_coe={alpha:g}",))


def _at_weight(found: Found, alpha: float, measure: str) -> BySeed:
    """Of the conditioned policy, on the questions that have this cost weight."""
    return found.of(BASE.name, lambda run: run.by_weight.get(alpha, {}).get(measure))


def _tell_alpha(found: Found) -> Told:
    fixed = {alpha: _alpha_run(alpha).name for alpha in COST_WEIGHTS}
    least, most = min(fixed), max(fixed)
    columns = {"EM": ("em", ".3f"), "raw cost": ("raw_cost", ".2f"), "above constant": (EM_ABOVE_CONSTANT, ".3f")}
    rows = [
        (f"{alpha:g}",
         [cell(_at_weight(found, alpha, measure), form) for measure, form in columns.values()]
         + [cell(found.last(name, measure), form) for measure, form in columns.values()])
        for alpha, name in fixed.items()
    ]  # fmt: skip
    groups = [("one policy, told alpha", len(columns)), ("a policy for each alpha", len(columns))]
    sheet = Sheet("EM and raw cost over alpha", "alpha", [*columns, *columns], rows, groups)

    def mean_gap(seed: int) -> float | None:
        gaps = [
            difference(_at_weight(found, alpha, EM_ABOVE_CONSTANT), found.last(name, EM_ABOVE_CONSTANT)).get(seed)
            for alpha, name in fixed.items()
        ]
        known = [gap for gap in gaps if gap is not None]
        return statistics.fmean(known) if len(known) == len(fixed) else None

    gaps = {seed: gap for seed in found.trained.get(BASE.name, {}) if (gap := mean_gap(seed)) is not None}
    cost_of_one = difference(_at_weight(found, least, "raw_cost"), _at_weight(found, most, "raw_cost"))
    em_of_one = difference(_at_weight(found, least, "em"), _at_weight(found, most, "em"))
    cost_of_many = difference(found.last(fixed[least], "raw_cost"), found.last(fixed[most], "raw_cost"))
    claims = [
        Claim(f"One policy that is told alpha spends less at alpha {most:g} than at {least:g}", cost_of_one),
        Claim(f"It is right less often at alpha {most:g} than at {least:g}", em_of_one),
        Claim(f"A policy trained at alpha {most:g} spends less than one trained at {least:g}", cost_of_many),
        Claim(
            "Over all alphas, one policy's EM above the best constant is at most 0.05 below that of a policy for each",
            gaps,
            above=-ALIKE,
        ),
    ]
    lines = {
        "one policy, told alpha": {
            alpha: (_at_weight(found, alpha, "raw_cost"), _at_weight(found, alpha, "em")) for alpha in fixed
        },
        "a policy for each alpha": {
            alpha: (found.last(name, "raw_cost"), found.last(name, "em")) for alpha, name in fixed.items()
        },
    }
    return Told(claims, [sheet, _PAPER_ALPHA], {"em_and_cost": partial(_draw_trade_off, lines=lines)})


_PAPER_ALPHA = Sheet(
    f"The paper's Router-R1 over alpha ({PAPER}, table 4), EM and raw cost in micro-USD",
    "alpha",
    ["EM", "cost"] * 4,
    [
        ("0.0", [".388", "150.6", ".384", "98.3", ".352", "138.6", ".434", "150.8"]),
        ("0.6", [".388", "150.0", ".414", "75.9", ".332", "124.3", ".422", "113.8"]),
        ("0.7", [".318", "32.3", ".280", "17.2", ".254", "27.2", ".236", "31.4"]),
        ("0.8", [".320", "28.9", ".270", "14.9", ".238", "28.2", ".202", "31.4"]),
        ("0.9", [".244", "5.5", ".234", "5.3", ".186", "5.3", ".252", "6.5"]),
    ],
    [("NQ", 2), ("PopQA", 2), ("HotpotQA", 2), ("2WikiMultihopQA", 2)],
)


def _draw_trade_off(axes: Axes, *, lines: Mapping[str, Mapping[float, tuple[BySeed, BySeed]]]) -> None:
    """A line from alpha to alpha, of means over seeds; each point says its alpha."""
    for label, points in lines.items():
        known = {alpha: (cost, em) for alpha, (cost, em) in points.items() if cost and em}
        costs = [statistics.fmean(cost.values()) for cost, _ in known.values()]
        ems = [statistics.fmean(em.values()) for _, em in known.values()]
        axes.plot(costs, ems, "o-", label=label)
        for place in zip(known, costs, ems, strict=True):
            axes.annotate(f"{place[0]:g}", place[1:], textcoords="offset points", xytext=(5, 4), fontsize=8)
    axes.set_xlabel("raw cost per question (micro-USD of output)")
    axes.set_ylabel("exact match, mean over seeds")
    axes.legend(fontsize=8)


# ---------------------------------------------------------------- b: calls by difficulty

_DIFFICULTIES = {
    "a fact the policy knows": "world_known",
    "one hop": "world_1hop",
    "two hops": "world_2hop",
    "three hops": "world_3hop",
}


def _tell_calls(found: Found) -> Told:
    routes = {label: found.last(BASE.name, "routes", source) for label, source in _DIFFICULTIES.items()}
    rows = [
        (label, [cell(routes[label], ".2f"), *(cell(found.last(BASE.name, m, source)) for m in ("em", "raw_cost"))])
        for label, source in _DIFFICULTIES.items()
    ]
    labels = list(_DIFFICULTIES)
    claims = [
        Claim(f"More routes for {harder} than for {easier}", difference(routes[harder], routes[easier]))
        for easier, harder in itertools.pairwise(labels)
    ]
    sheet = Sheet("Routes by difficulty", "question", ["routes", "EM", "raw cost"], rows)
    return Told(claims, [sheet], {"routes": partial(draw_bars, bars=routes, label="routes per question")})


# ---------------------------------------------------------------- c: reward and entropy


def _over_steps(found: Found, measure: str) -> dict[int, dict[float, float]]:
    """Seed -> step -> measure."""
    return {
        seed: {float(step): row[measure] for step, row in sorted(run.steps.items()) if measure in row}
        for seed, run in found.trained.get(BASE.name, {}).items()
    }


def _rise(found: Found, measure: str) -> BySeed:
    """Mean of the last steps minus that of the first ones."""
    curves = {seed: list(line.values()) for seed, line in _over_steps(found, measure).items()}
    return {
        seed: statistics.fmean(values[-_EDGE:]) - statistics.fmean(values[:_EDGE])
        for seed, values in curves.items()
        if len(values) >= 2 * _EDGE
    }


def _tell_steps(found: Found) -> Told:
    measures = {"reward": "train/reward", "entropy": "actor/entropy"}
    claims = [
        Claim(f"The reward of the last {_EDGE} steps is above that of the first", _rise(found, measures["reward"])),
        Claim(
            f"The entropy of the last {_EDGE} steps is below that of the first",
            {seed: -rise for seed, rise in _rise(found, measures["entropy"]).items()},
        ),
    ]

    def draw(axes: Axes, name: str, measure: str) -> None:
        curves = {f"seed {seed}": line for seed, line in _over_steps(found, measure).items()}
        draw_lines(axes, curves)
        axes.set_xlabel("training step")
        axes.set_ylabel(name)

    pictures = {name: partial(draw, name=name, measure=measure) for name, measure in measures.items()}
    rows = [(name, [cell(_rise(found, measure))]) for name, measure in measures.items()]
    sheet = Sheet(f"Last {_EDGE} steps minus first {_EDGE}", "training batch", ["change"], rows)
    return Told(claims, [sheet], pictures)


# ---------------------------------------------------------------- trainings that differ from the default in one thing


def _without(found: Found, what: Mapping[str, str], measures: Mapping[str, str]) -> list[Claim]:
    """A claim for each run and measure that the default has more of it.

    Args:
        what: what a row is called -> name of the training.
        measures: how it is worded -> measure.
    """
    return [
        Claim(
            f"{worded} is higher in the default than with {label}",
            difference(found.last(BASE.name, measure), found.last(name, measure)),
        )
        for label, name in what.items()
        for worded, measure in measures.items()
    ]


_NO_FORMAT = Training("no-format", ("~router_r1.reward.terms.format",))


def _tell_format(found: Found) -> Told:
    what = {"no reward for the format": _NO_FORMAT.name}
    claims = _without(found, what, {"The share of valid formats": "format_valid", "EM": "em"})
    return Told(claims, [runs_sheet(found, {"default": BASE.name} | what)])


def _build_warm_start(out: Path, **hearsay: float) -> Sequence[str]:
    """A warm start whose demonstrations choose by other hearsay; built on first use."""
    from router_r1.sim.tiny_policy.hearsay import Hearsay
    from router_r1.sim.tiny_policy.warm_start import WarmStartConfig, ensure_warm_start  # torch: seconds

    folder = ensure_warm_start(config=WarmStartConfig(hearsay=Hearsay(**hearsay)), quiet=True)
    return [f"router_r1.sim.warm_start={folder}"]


_CURES = {
    "no bonus for unlikely choices": Training("no-bonus", ("router_r1.exploration.tau=0",)),
    "no KL loss": Training("no-kl-loss", ("router_r1.estimators.grpo.kl_loss=false",)),
    "advantages divided by their deviation": Training("divided", ("algorithm.norm_adv_by_std_in_grpo=true",)),
    "the window's cost term": Training("window-cost", ("router_r1.reward.terms.cost=cost",)),
    "a warm start without any leaning": Training(
        "unfitted",
        prepare=partial(_build_warm_start, specialist_leaning=0.0, generalist_leaning=0.0, cost_leaning=0.0),
    ),
    "a warm start that does not lean on cost": Training(
        "unleaning", prepare=partial(_build_warm_start, cost_leaning=0.0)
    ),
    "names that stay the same": Training("fixed-names", ("router_r1.pool=sim",)),
}
"""What is taken out of the default -> the training without it."""


def _tell_collapse(found: Found) -> Told:
    runs = {"default": BASE.name} | {label: training.name for label, training in _CURES.items()}
    top = {seed: 0.95 - share for seed, share in found.last(BASE.name, TOP_SHARE).items()}
    above = {label: found.last(name, EM_ABOVE_CONSTANT) for label, name in runs.items()}
    claims = [
        Claim("The default does not collapse: no candidate has 95 % of its routes", top),
        Claim("The default's EM is above that of the best constant at its cost", above["default"]),
        *_without(
            found,
            {label: training.name for label, training in _CURES.items()},
            {"EM above the best constant": EM_ABOVE_CONSTANT},
        ),
        Claim(
            "The choice depends more on the kind of question with dealt names than with names that stay the same",
            difference(
                found.last(BASE.name, KIND_INFORMATION),
                found.last(_CURES["names that stay the same"].name, KIND_INFORMATION),
            ),
        ),
    ]
    picture = partial(draw_bars, bars=above, label="EM above the best constant")
    return Told(claims, [runs_sheet(found, runs)], {"above_constant": picture})


def _short_descriptors(out: Path) -> Sequence[str]:
    return [f"router_r1.pool={other_deals.with_short_descriptors(out)}"]


_SHORT = Training("short-descriptors", prepare=_short_descriptors)


def _tell_descriptors(found: Found) -> Told:
    what = {"descriptors that say the field alone": _SHORT.name}
    claims = _without(found, what, {"EM": "em", "EM above the best constant": EM_ABOVE_CONSTANT})
    return Told(claims, [runs_sheet(found, {"default": BASE.name} | what)])


_ESTIMATORS = {
    "GRPO": BASE,
    "PPO (GAE)": Training("ppo", ("algorithm.adv_estimator=gae",)),
    "RLOO": Training("rloo", ("algorithm.adv_estimator=rloo",)),
    "REINFORCE++": Training("reinforce-plus-plus", ("algorithm.adv_estimator=reinforce_plus_plus",)),
}


def _gain(run: Trained) -> float | None:
    before, after = run.first[MEAN].get("em"), run.last[MEAN].get("em")
    return None if before is None or after is None else after - before


def _tell_estimators(found: Found) -> Told:
    runs = {label: training.name for label, training in _ESTIMATORS.items()}
    claims = [Claim(f"{label} raises EM", found.of(name, _gain)) for label, name in runs.items()]
    claims += [
        Claim(
            f"{label} ends within 0.05 of GRPO's EM",
            difference(found.last(name, "em"), found.last(BASE.name, "em")),
            above=-ALIKE,
            below=ALIKE,
        )
        for label, name in runs.items()
        if name != BASE.name
    ]
    ems = {label: found.last(name, "em") for label, name in runs.items()}
    return Told(claims, [runs_sheet(found, runs)], {"em": partial(draw_bars, bars=ems, label="exact match")})


# ---------------------------------------------------------------- all of them

FINDINGS: tuple[Finding, ...] = (
    Finding(
        "a",
        "Does one policy that is told how much cost counts trade EM for cost as well as a policy for each alpha?",
        (BASE, *map(_alpha_run, COST_WEIGHTS)),
        _tell_alpha,
        paper=f"One policy for each alpha; its cost falls off between 0.6 and 0.7 ({PAPER}, table 4, below).",
    ),
    Finding(
        "b",
        "Are more candidates asked where a question is harder?",
        (BASE,),
        _tell_calls,
        paper="Calls per question, read off the figure: NQ 1.06, TriviaQA 1.01, PopQA 1.17, HotpotQA 1.12, "
        f"2WikiMultihopQA 1.29, MuSiQue 1.36, Bamboogle 1.06 ({PAPER}, figure 4a).",
    ),
    Finding("c", "Does the reward rise and the entropy fall?", (BASE,), _tell_steps),
    Finding("d", "What is the format reward good for?", (BASE, _NO_FORMAT), _tell_format),
    UNSEEN,
    Finding("f", "What keeps the routes from collapsing?", (BASE, *_CURES.values()), _tell_collapse),
    Finding(
        "g",
        "Do descriptors that say more help?",
        (BASE, _SHORT),
        _tell_descriptors,
        paper=f"Mean EM .416; with short descriptors .419 ({PAPER}, tables 1 and 6).",
    ),
    JOINING,
    Finding("i", "Does it matter which estimator is trained with?", tuple(_ESTIMATORS.values()), _tell_estimators),
)


def findings_named(letters: str | None) -> tuple[Finding, ...]:
    """Those of some letters, `a,f`, in the catalogue's order; all for None.

    Raises:
        ConfigError: a letter that no finding has.
    """
    if letters is None:
        return FINDINGS
    asked = [letter.strip() for letter in letters.split(",")]
    known = {finding.letter for finding in FINDINGS}
    for letter in asked:
        if letter not in known:
            raise ConfigError("command line", "--only", letter, f"is no finding; there are {', '.join(sorted(known))}")
    return tuple(finding for finding in FINDINGS if finding.letter in asked)
