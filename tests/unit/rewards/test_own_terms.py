"""A term of a user's own: one function in a file of theirs, named in the configuration."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from functools import partial

import numpy as np
import pytest

from router_r1.errors import ConfigError, validated
from router_r1.rewards.rubric import RewardConfig, Rubric, score
from router_r1.rewards.terms import ARGUMENTS, BUILT_IN
from tests.unit.rewards.trajectories import TELL, routed, said, trajectory

PAPER = {"format": "format", "outcome": "outcome", "cost": "cost"}
BREVITY = """
def brevity(trajectory):
    return -sum(trajectory.response_mask) / 1000
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a user's module into the folder that the command is started in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the folder is put there
    written = []

    def write(name: str, text: str = BREVITY) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def configured(**terms: str) -> Rubric:
    return Rubric.from_config(validated(RewardConfig, "train.yaml", {"terms": PAPER | terms}), source="train.yaml")


def scored(pool, rubric: Rubric):
    """Of a right answer with one route: six policy tokens, two of an observation."""
    return score(trajectory(routed(raw_cost=4.0), said(TELL)), ["Paris"], pool=pool, cost=0.75, rubric=rubric)


def refusal(**terms: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(**terms)
    text = str(caught.value)
    assert text.startswith("train.yaml: terms.")
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- found and added


@pytest.mark.parametrize("form", ["{}:brevity", "{}.brevity", "{}.py:brevity", "./{}.py:brevity"])
def test_a_function_named_by_module_or_file_is_added_to_the_reward(pool, module, form):
    reward = scored(pool, configured(brevity=form.format(module("my_rewards_a"))))

    assert reward.terms == {"format": 0.0, "outcome": 1.0, "cost": 0.0, "brevity": -0.006}
    assert reward.reward == 1.0 - 0.006


def test_a_file_may_lie_in_any_folder_and_is_imported_once(pool, tmp_path):
    file = tmp_path / "deep" / "rewards.py"
    file.parent.mkdir()
    file.write_text("calls = []\ndef count(em):\n    calls.append(em)\n    return len(calls)")
    for _ in range(2):
        reward = scored(pool, configured(count=f"{file}:count"))

    assert reward.terms["count"] == 2.0


def test_each_term_is_reported_by_its_name_and_in_its_weighted_value(pool):
    rubric = Rubric({"right": lambda em: em, "cheap": lambda cost: cost}, {"cheap": -2})
    reward = scored(pool, rubric)

    assert reward.terms == {"right": 1.0, "cheap": -1.5}
    assert reward.reward == -0.5
    metrics = reward.as_metrics()
    assert (metrics["term/right"], metrics["term/cheap"], metrics["reward"]) == (1.0, -1.5, -0.5)
    assert all(type(value) is float for value in metrics.values())


def test_weights_are_those_of_the_configuration_and_else_one(pool):
    config = RewardConfig(cost_coe=0.5, weights={"cost": 0.1})

    assert scored(pool, Rubric.from_config(config)).terms == {"format": 0.0, "outcome": 0.5, "cost": 0.1 * 0.375}


def test_a_term_that_is_left_out_is_neither_rewarded_nor_reported(pool):
    config = RewardConfig(cost_coe=0.5, terms={"format": "format", "accuracy": "outcome"})
    reward = scored(pool, Rubric.from_config(config))

    assert reward.terms == {"format": 0.0, "accuracy": 0.5}
    assert "term/cost" not in reward.as_metrics()
    assert reward.as_metrics()["cost"] == 0.75


# ---------------------------------------------------------------- what a term is called with


def test_a_term_gets_what_it_asks_for_and_nothing_else(pool):
    seen = []

    def term(outcome, format_error, scale=3.0):
        seen.append((outcome, format_error, scale))
        return 0.0

    scored(pool, Rubric({"term": term}))
    assert seen == [(1.0, "", 3.0)]


def test_a_term_can_have_every_argument_that_there_is(pool):
    seen = {}

    def term(**arguments):
        seen.update(arguments)
        return 0.0

    turns = trajectory(routed(raw_cost=4.0), said("<think> x </think><answer> Paris France </answer>"))
    config = RewardConfig(metric="f1", cost_coe=0.25)
    score(turns, ["Rome", "Paris"], pool=pool, cost=0.75, rubric=Rubric({"term": term}, config=config))

    f1 = pytest.approx(2 / 3)
    numbers = {"em": 0.0, "f1": f1, "outcome": f1, "cost": 0.75, "raw_cost": 4.0, "spend_usd": 4e-6, "cost_coe": 0.25}
    assert {key: seen[key] for key in numbers} == numbers
    assert (seen["answer"], seen["format_error"], seen["golden_answers"]) == ("Paris France", "", ("Rome", "Paris"))
    assert seen["trajectory"] is turns
    assert seen["pool"] is pool
    assert seen["config"] is config
    assert set(seen) == set(ARGUMENTS)


def test_a_term_is_told_the_alpha_of_the_question_where_it_is_sampled(pool):
    seen = []

    def term(cost_coe, config):
        seen.append((cost_coe, config.cost_coe))
        return 0.0

    rubric = Rubric({"term": term}, config=RewardConfig(cost_coe="sampled"))
    for weight in (0.2, 0.95):
        score(trajectory(said(TELL)), ["Paris"], pool=pool, cost=0.5, cost_weight=weight, rubric=rubric)

    assert seen == [(0.2, 0.2), (0.95, 0.95)]


def test_a_broken_format_is_told_in_words_and_the_answer_still_scored(pool):
    seen = []
    rubric = Rubric({"term": lambda format_error, outcome: seen.append((format_error, outcome)) or 0.0})
    score(trajectory(said("<answer> Paris </answer>")), ["Paris"], pool=pool, cost=0.5, rubric=rubric)
    assert seen == [("the trajectory does not start with a thought", 1.0)]


# ---------------------------------------------------------------- refused before anything starts


def test_an_argument_that_there_is_not_is_refused_with_those_that_there_are(module):
    text = refusal(own=f"{module('my_rewards_b', 'def own(trajectory, tokens): return 0.0')}:own")
    assert "asks for 'tokens'; it can have trajectory, golden_answers, pool" in text


def test_an_unknown_word_is_refused_with_the_names_that_there_are():
    text = refusal(outcome="outcom")
    assert "terms.outcome = 'outcom'" in text
    assert f"is none of {', '.join(BUILT_IN)}" in text


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("no_such_module:own", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("no/such/file.py:own", "cannot be imported: FileNotFoundError"),
        ("my_rewards_c:brevitty", "my_rewards_c has no brevitty; it has brevity"),
        ("my_rewards_c.py:brevitty", "my_rewards_c.py has no brevitty; it has brevity"),
        ("my_rewards_c:", "must be written package.module:name or path/to/file.py:name"),
    ],
)
def test_what_cannot_be_found_is_refused_by_its_name(module, written, words):
    module("my_rewards_c")
    text = refusal(brevity=written)
    assert f"terms.brevity = {written!r}" in text
    assert words in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import no_such_library", "No module named 'no_such_library'"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".py"])
def test_a_module_that_raises_is_refused_with_what_it_raised(module, body, words, suffix):
    text = refusal(own=f"{module('my_rewards_d', body)}{suffix}:own")
    assert f"my_rewards_d{suffix}:own': cannot be imported: " in text
    assert words in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("own = 3", "must be a plain function"),
        ("class own: pass", "must be a plain function"),
        ("async def own(em): return em", "must be a plain function"),
        ("def own(em, /): return em", "takes 'em' by position only"),
        ("from builtins import max as own", "does not say what it asks for"),
    ],
)
def test_what_could_not_be_called_or_return_a_number_is_refused(module, body, words):
    assert words in refusal(own=f"{module('my_rewards_e', body)}:own")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"brevty": 0.1}, "Rubric: weights.brevty = 0.1: weighs no term; there are brevity"),
        ({"brevity": float("nan")}, "Rubric: weights.brevity = nan: must be a finite number"),
        ({"brevity": "0.1"}, "Rubric: weights.brevity = '0.1': must be a finite number"),
    ],
)
def test_a_weight_of_no_term_or_that_is_no_number_is_refused(weights, words):
    with pytest.raises(ConfigError) as caught:
        Rubric({"brevity": lambda em: em}, weights)
    assert str(caught.value) == words


# ---------------------------------------------------------------- what a term returns


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1)])
def test_any_finite_number_is_taken_and_becomes_a_float(pool, value):
    reward = scored(pool, Rubric({"own": lambda: value}))
    assert reward.reward == float(value)
    assert type(reward.terms["own"]) is float


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), None, "1", float("nan"), float("inf"), np.float64("-inf"), Decimal(1), [1.0]]
)
def test_anything_else_is_an_error_that_names_the_term_and_the_value(pool, value):
    with pytest.raises(ValueError, match="term own of the reward returned") as caught:
        scored(pool, Rubric({"own": partial(lambda returned: returned, returned=value)}))
    assert str(caught.value) == f"term own of the reward returned {value!r}: must be a finite number"


def test_what_a_term_raises_is_passed_on_as_it_is(pool):
    def own(trajectory):
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        scored(pool, Rubric({"own": own}))


# ---------------------------------------------------------------- the example


def test_the_example_shows_the_reward_by_terms_with_and_without_a_term_of_ones_own(project_root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(project_root))
    command = [sys.executable, str(project_root / "examples" / "custom_reward.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [
        "the paper's reward",
        "  short reward 0.900 = format 0.000 + outcome 0.800 + cost 0.100",
        "  long  reward 0.900 = format 0.000 + outcome 0.800 + cost 0.100",
        "with brevity",
        "  short reward 0.893 = format 0.000 + outcome 0.800 + cost 0.100 + brevity -0.007",
        "  long  reward 0.756 = format 0.000 + outcome 0.800 + cost 0.100 + brevity -0.144",
    ]
