"""What each finding needs, and what it says of runs in which it is so, is not so, or cannot be told."""

from __future__ import annotations

import itertools

import pytest
from omegaconf import DictConfig

from router_r1.errors import ConfigError
from router_r1.findings.catalogue import FINDINGS, findings_named
from router_r1.findings.reading import Found, Trained
from router_r1.findings.verdicts import Verdict
from router_r1.prompts.cost_words import COST_WEIGHTS
from router_r1.training import configuration as cfg
from router_r1.training.plan import make_plan
from tests.unit.findings.run_folders import benched, record, row, trained

SEEDS = range(3)
HOLDS, DOES_NOT_HOLD, CANNOT_BE_SAID = Verdict


def verdicts(letter: str, found: Found) -> list[Verdict]:
    (finding,) = findings_named(letter)
    return [claim.verdict for claim in finding.tell(found).claims]


def runs(**after) -> dict:
    """Three seeds of each training, all alike; _ in a name stands for -."""
    return {name.replace("_", "-"): dict.fromkeys(SEEDS, run) for name, run in after.items()}


# ---------------------------------------------------------------- the catalogue itself


def test_every_letter_is_there_in_order():
    assert [finding.letter for finding in FINDINGS] == list("abcdefghi")


def test_a_name_means_one_run():
    every = [run for finding in FINDINGS for run in finding.runs]

    assert len({run.name for run in every}) == len(set(every))


def test_a_benchmark_is_of_a_training_of_the_same_finding():
    assert all(b.training in finding.trainings for finding in FINDINGS for b in finding.benchmarks)


def planned(*overrides: str) -> DictConfig:
    """The checked configuration of `router-r1 train` with these overrides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        return cfg.resolve(make_plan(["platform=cpu", "name=x", "runs_dir=/nowhere", *overrides], dry_run=True).config)


@pytest.fixture(scope="module")
def default() -> DictConfig:
    return planned()


@pytest.mark.slow
@pytest.mark.parametrize("training", {t.name: t for f in FINDINGS for t in f.trainings}.values(), ids=lambda t: t.name)
def test_every_training_is_a_sound_configuration_that_differs_from_the_default(training, default, tmp_path):
    # Another warm start takes minutes to build, and any policy stands in for it.
    is_built = training.name in ("unfitted", "unleaning")
    made = training.prepare(tmp_path) if training.prepare and not is_built else ()

    is_other = planned(*training.overrides, *made) != default

    assert is_other == (training.name != "base" and not is_built)


def test_findings_are_chosen_by_letter():
    assert [finding.letter for finding in findings_named("f, a")] == ["a", "f"]
    assert findings_named(None) == FINDINGS


@pytest.mark.parametrize("letters", ["z", "a,j", ""])
def test_a_letter_without_a_finding_is_refused(letters):
    with pytest.raises(ConfigError, match="is no finding"):
        findings_named(letters)


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize("letter", [finding.letter for finding in FINDINGS])
def test_without_runs_nothing_can_be_said(letter):
    assert set(verdicts(letter, Found())) == {CANNOT_BE_SAID}


@pytest.mark.parametrize("letter", [finding.letter for finding in FINDINGS])
def test_of_two_seeds_nothing_can_be_said(letter):
    run = trained(row(0.7), by_weight=dict.fromkeys(COST_WEIGHTS, row(0.7)))
    (finding,) = findings_named(letter)
    found = Found({training.name: {0: run, 1: run} for training in finding.trainings})

    assert set(verdicts(letter, found)) == {CANNOT_BE_SAID}


def over_alpha(em_lost: float, cost_saved: float, above: float) -> dict:
    """Measures at each alpha that fall evenly with it."""
    return {a: row(0.8 - em_lost * a, raw_cost=20 - cost_saved * a, em_above_constant=above) for a in COST_WEIGHTS}


@pytest.mark.parametrize(
    ("em_lost", "cost_saved", "above", "expected"),
    [
        (0.2, 10, 0.10, [HOLDS, HOLDS, HOLDS, HOLDS]),
        (-0.2, -10, 0.02, [DOES_NOT_HOLD, DOES_NOT_HOLD, HOLDS, DOES_NOT_HOLD]),
    ],
    ids=["it trades", "it does not"],
)
def test_a_one_policy_trades_em_for_cost(em_lost, cost_saved, above, expected):
    fixed = {f"alpha_{a:g}": trained(x) for a, x in over_alpha(0.2, 10, 0.1).items()}
    one = trained(row(0.7), by_weight=over_alpha(em_lost, cost_saved, above))

    assert verdicts("a", Found(runs(base=one, **fixed))) == expected


def test_a_one_policy_is_compared_only_where_there_is_a_policy_for_each_alpha():
    fixed = {f"alpha_{a:g}": trained(x) for a, x in over_alpha(0.2, 10, 0.1).items() if a != 0.4}
    one = trained(row(0.7), by_weight=over_alpha(0.2, 10, 0.1))

    assert verdicts("a", Found(runs(base=one, **fixed))) == [HOLDS, HOLDS, HOLDS, CANNOT_BE_SAID]


def test_b_harder_questions_take_more_routes():
    routes = {"world_known": 0.2, "world_1hop": 1.1, "world_2hop": 2.0, "world_3hop": 1.5}
    base = trained(row(), **{source: row(routes=count) for source, count in routes.items()})

    assert verdicts("b", Found(runs(base=base))) == [HOLDS, HOLDS, DOES_NOT_HOLD]


def test_c_reward_rises_and_entropy_falls():
    steps = {step: {"train/reward": step / 60, "actor/entropy": 1 + step / 60} for step in range(1, 61)}

    assert verdicts("c", Found(runs(base=trained(row(), steps=steps)))) == [HOLDS, DOES_NOT_HOLD]


def test_c_a_training_too_short_to_have_two_ends_says_nothing():
    steps = {step: {"train/reward": step / 9, "actor/entropy": 1.0} for step in range(1, 10)}

    assert verdicts("c", Found(runs(base=trained(row(), steps=steps)))) == [CANNOT_BE_SAID] * 2


def test_d_the_format_reward_keeps_the_format():
    base, without = trained(row(0.7, format_valid=0.99)), trained(row(0.7, format_valid=0.6))

    assert verdicts("d", Found(runs(base=base, no_format=without))) == [HOLDS, DOES_NOT_HOLD]


DEAL = [("film-light", None), ("music-solid", None), ("all-solid", None), ("all-light", None)]


def answers(em: float, asked: str, offered: list) -> list:
    return [record(index, em=float(index < 10 * em), asked=asked, offered=offered) for index in range(10)]


def asked_otherwise(*, newcomer: str, liar: str, em_with_liar: float) -> dict:
    met = [*DEAL, ("CineMind-7B", None)]
    lied = [DEAL[0], ("music-solid", "specialist film expert"), *DEAL[2:]]
    found = {
        "as-it-was": answers(0.7, "film-light", DEAL),
        "shuffled": answers(0.7, "film-light", DEAL[::-1]),
        "newcomer": answers(0.9, newcomer, met),
        "liar": answers(em_with_liar, liar, lied),
    }
    return {name: dict.fromkeys(SEEDS, benched(records)) for name, records in found.items()}


def test_e_a_router_that_reads_descriptors_finds_the_newcomer_and_believes_the_liar():
    asked = asked_otherwise(newcomer="CineMind-7B", liar="music-solid", em_with_liar=0.1)

    assert verdicts("e", Found(runs(base=trained(row(em_above_constant=0.1))), asked)) == [HOLDS] * 6


def test_e_a_router_that_does_not_read_them_finds_neither():
    asked = asked_otherwise(newcomer="film-light", liar="film-light", em_with_liar=0.7)
    found = Found(runs(base=trained(row(em_above_constant=-0.1))), asked)

    assert verdicts("e", found) == [DOES_NOT_HOLD, HOLDS, DOES_NOT_HOLD, HOLDS, DOES_NOT_HOLD, DOES_NOT_HOLD]


def test_f_each_thing_taken_out_is_compared_with_the_default():
    names = ("no_bonus", "no_kl_loss", "divided", "window_cost", "unfitted", "unleaning", "fixed_names")
    worse = {name: trained(row(em_above_constant=-0.1, kind_information=0.1)) for name in names}
    worse["no_bonus"] = trained(row(em_above_constant=0.2))
    base = trained(row(top_share=0.3, em_above_constant=0.1))

    told = verdicts("f", Found(runs(base=base, **worse)))

    assert told == [HOLDS, HOLDS, DOES_NOT_HOLD, *[HOLDS] * 7]


def test_f_a_default_that_collapses_is_said_to():
    base = trained(row(top_share=0.98, em_above_constant=-0.02))

    assert verdicts("f", Found(runs(base=base)))[:2] == [DOES_NOT_HOLD, DOES_NOT_HOLD]


def test_g_longer_descriptors_help():
    found = Found(runs(base=trained(row(0.7)), short_descriptors=trained(row(0.6, em_above_constant=0.1))))

    assert verdicts("g", found) == [HOLDS, DOES_NOT_HOLD]


def asking_plain_ones(share: float, *, em: float = 0.7, before: float = 0.1) -> Trained:
    """A training at whose end plain candidates have a share of the routes, in two fields."""
    first, last = (
        {
            "routes": 1.5,
            "candidate/film-plain": of,
            "candidate/all-plain": 0.5 * of,
            "candidate/film-light": 1.5 - 1.5 * of,
        }
        for of in (before, share)
    )
    return trained(row(em, **last), before=row(0.5, **first))


def test_h_who_joins_is_found_out():
    joined, always = asking_plain_ones(0.28), asking_plain_ones(0.3)

    assert verdicts("h", Found(runs(base=always, after_they_joined=joined))) == [HOLDS, HOLDS, HOLDS]


def test_h_who_joins_is_passed_over():
    joined, always = asking_plain_ones(0.05, em=0.6), asking_plain_ones(0.3)

    assert verdicts("h", Found(runs(base=always, after_they_joined=joined))) == [DOES_NOT_HOLD] * 3


def test_i_estimators_are_told_by_what_they_raise_em_and_where_they_end():
    ends = {"base": 0.7, "ppo": 0.72, "rloo": 0.5, "reinforce_plus_plus": 0.1}
    found = Found(runs(**{name: trained(row(em)) for name, em in ends.items()}))

    assert verdicts("i", found) == [HOLDS, HOLDS, HOLDS, DOES_NOT_HOLD, HOLDS, DOES_NOT_HOLD, DOES_NOT_HOLD]


def test_seeds_that_disagree_leave_a_finding_open():
    base = {seed: trained(row(em)) for seed, em in enumerate((0.5, 0.8, 0.6))}
    without = dict.fromkeys(SEEDS, trained(row(0.62)))
    found = Found({"base": base, "no-format": without})

    assert verdicts("d", found)[1] is CANNOT_BE_SAID


def test_every_claim_is_worded_once():
    texts = [claim.text for finding in FINDINGS for claim in finding.tell(Found()).claims]

    assert [text for text, some in itertools.groupby(sorted(texts)) if len(list(some)) > 1] == []


def test_a_candidate_joins_in_the_middle_of_as_many_steps_as_the_default_has():
    def steps(*overrides):
        return cfg.compose_config(["platform=cpu", *overrides]).trainer.total_training_steps

    halves = [training for training in findings_named("h")[0].trainings if training.overrides]
    assert sum(steps(*training.overrides) for training in halves) == steps()
