"""The scalar reward, and the components reported beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError, validated
from router_r1.pool import Deal, Shown
from router_r1.protocol import Status
from router_r1.rewards.cost import CostWindow, trajectory_cost
from router_r1.rewards.rubric import RewardConfig, Rubric, score
from router_r1.rewards.terms import cost_term, format_term, outcome_term
from tests.unit.rewards.trajectories import ASK, QWEN, TELL, failed, refused, routed, said, too_late, trajectory

unit = st.floats(0, 1)
configs = st.builds(RewardConfig, cost_coe=unit, cost_gate=st.sampled_from(["correct_only", "always"]))
words = st.lists(st.sampled_from("abcde"), min_size=1, max_size=5).map(" ".join)
PLAIN = RewardConfig()


def scored(pool, *turns, golden=("Paris",), status=Status.ANSWERED, config=PLAIN, cost=0.5):
    return score(trajectory(*turns, status=status), golden, rubric=config, pool=pool, cost=cost)


def papers_formula(format_ok: bool, outcome: float, cost: float, config: RewardConfig) -> float:
    """The reward in one piece, as it was before it became a sum of terms. Not to be derived from the package."""
    if not format_ok:
        return -1.0
    if outcome == 0.0 and config.cost_gate == "correct_only":
        return 0.0
    return (1.0 - config.cost_coe) * outcome + config.cost_coe * cost


def sum_of_the_papers_terms(format_ok: bool, outcome: float, cost: float, config: RewardConfig) -> float:
    fault = "" if format_ok else "a thought is empty"
    alpha = config.cost_coe
    return format_term(fault) + outcome_term(fault, outcome, alpha) + cost_term(fault, outcome, cost, alpha, config)


# ---------------------------------------------------------------- configuration


def test_a_mapping_becomes_a_configuration():
    config = validated(RewardConfig, "train.yaml", {"metric": "f1", "cost_coe": 1, "cost_gate": "always"})
    assert (config.metric, config.cost_coe, config.cost_gate) == ("f1", 1.0, "always")
    assert validated(RewardConfig, "train.yaml", {}) == PLAIN


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"cost_coe": 1.5}, "cost_coe"),
        ({"cost_coe": -0.1}, "cost_coe"),
        ({"cost_coe": float("nan")}, "cost_coe"),
        ({"cost_coe": "0.6"}, "cost_coe"),
        ({"cost_coe": True}, "cost_coe"),
        ({"cost_coe": "often"}, "cost_coe"),
        ({"cost_weights": []}, "cost_weights"),
        ({"cost_weights": [0.2, 1.2]}, "cost_weights"),
        ({"cost_weights": [0.2, 0.25]}, "cost_weights"),
        ({"metric": "bleu"}, "metric"),
        ({"cost_gate": "never"}, "cost_gate"),
        ({"alpha": 0.6}, "alpha"),
        ({"terms": {}}, "terms"),
        ({"terms": {"cost": "linear_cost"}}, "cost_full"),
        ({"cost_full": 0.0}, "cost_full"),
        ({"terms": {"cost": None}}, "terms.cost"),
        ({"weights": {"brevity": 0.1}}, "weights.brevity"),
        ({"weights": {"cost": float("inf")}}, "weights.cost"),
        ({"weights": {"cost": True}}, "weights.cost"),
        (None, ""),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_source_and_key(mapping, key):
    with pytest.raises(ConfigError) as caught:
        Rubric.from_config(validated(RewardConfig, "train.yaml", mapping), "train.yaml")
    assert caught.value.key == key
    assert str(caught.value).startswith("train.yaml")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- a cost term that is linear in money


def linear(**settings) -> RewardConfig:
    terms = {"format": "format", "outcome": "outcome", "cost": "linear_cost"}
    return RewardConfig(terms=terms, cost_full=50.0, **settings)


@pytest.mark.parametrize(("raw_cost", "c"), [(0.0, 1.0), (5.0, 0.9), (25.0, 0.5), (50.0, 0.0), (500.0, 0.0)])
def test_equal_costs_earn_equal_whatever_came_before(pool, raw_cost, c):
    for window in (0.0, 1.0):  # what the paper's term would make of it
        reward = scored(pool, routed(raw_cost=raw_cost), said(TELL), config=linear(cost_coe=0.4), cost=window)
        assert reward.reward == pytest.approx(0.6 + 0.4 * c)


def test_linear_cost_is_gated_like_the_papers(pool):
    wrong = (routed(raw_cost=0.0), said(TELL))
    for gate, earned in (("correct_only", 0.0), ("always", 0.4)):
        config = linear(cost_coe=0.4, cost_gate=gate)
        assert scored(pool, *wrong, golden=("Lyon",), config=config).reward == pytest.approx(earned)
        assert scored(pool, said("Paris"), config=config).reward == -1.0


def test_an_outage_saves_nothing_in_linear_cost(pool):
    reward = scored(pool, failed(), said(TELL), config=linear(cost_coe=0.4))
    assert reward.terms["cost"] == pytest.approx(0.4 * 0.5)


# ---------------------------------------------------------------- the paper's three terms


@given(st.booleans(), unit, unit, configs)
def test_the_papers_terms_add_up_to_the_papers_formula_to_the_last_bit(format_ok, outcome, cost, config):
    terms = sum_of_the_papers_terms(format_ok, outcome, cost, config)
    assert terms.hex() == papers_formula(format_ok, outcome, cost, config).hex()


@given(unit, configs, st.sampled_from(["em", "f1"]), st.sampled_from(["<think> hm </think>", ""]), words, words)
def test_a_score_without_a_rubric_of_ones_own_is_the_papers_to_the_last_bit(
    pool, cost, config, metric, thought, answer, golden
):
    config = config.model_copy(update={"metric": metric})
    reward = scored(pool, said(f"{thought}<answer> {answer} </answer>"), golden=[golden], config=config, cost=cost)
    outcome = reward.em if metric == "em" else reward.f1
    assert reward.reward.hex() == papers_formula(not reward.format_error, outcome, cost, config).hex()
    assert list(reward.terms) == ["format", "outcome", "cost"]
    assert sum(reward.terms.values()) == reward.reward


@given(unit, unit, configs)
def test_a_broken_format_is_minus_one_and_a_valid_one_in_the_unit_interval(outcome, cost, config):
    assert sum_of_the_papers_terms(False, outcome, cost, config) == -1.0
    assert 0.0 <= sum_of_the_papers_terms(True, outcome, cost, config) <= 1.0


@given(unit, unit, unit, unit, configs)
def test_the_reward_never_falls_with_a_better_outcome_or_a_lower_cost(m1, m2, c1, c2, config):
    worse = sum_of_the_papers_terms(True, min(m1, m2), min(c1, c2), config)
    assert sum_of_the_papers_terms(True, max(m1, m2), min(c1, c2), config) >= worse
    assert sum_of_the_papers_terms(True, min(m1, m2), max(c1, c2), config) >= worse


@pytest.mark.parametrize(
    ("outcome", "cost", "gate", "expected"),
    [
        (1.0, 1.0, "correct_only", 1.0),
        (1.0, 0.0, "correct_only", 0.4),
        (0.5, 0.5, "correct_only", 0.5),
        (0.25, 1.0, "correct_only", 0.7),
        (0.0, 1.0, "correct_only", 0.0),
        (0.0, 1.0, "always", 0.6),
        (0.0, 0.0, "always", 0.0),
        (1.0, 0.0, "always", 0.4),
    ],
)
def test_known_rewards_at_alpha_0_6(outcome, cost, gate, expected):
    config = RewardConfig(cost_coe=0.6, cost_gate=gate)
    assert sum_of_the_papers_terms(True, outcome, cost, config) == pytest.approx(expected)


@pytest.mark.parametrize("terms", [{}, {"terms": {"outcome": "outcome", "cost": "linear_cost"}, "cost_full": 8.0}])
@given(weight=unit, cost=unit)
def test_a_sampled_alpha_is_that_of_the_question(pool, terms, weight, cost):
    turns = trajectory(routed(raw_cost=4.0), said(TELL))

    def reward(**config):
        return score(turns, ["Paris"], pool=pool, cost=cost, cost_weight=weight, rubric=RewardConfig(**config, **terms))

    assert reward(cost_coe="sampled") == reward(cost_coe=weight)
    assert reward(cost_coe=0.25) == reward(cost_coe=0.25), "a number holds for all questions, whatever their weights"
    assert reward(cost_coe=0.25).reward == pytest.approx(0.75 + 0.25 * (0.5 if terms else cost))


@pytest.mark.parametrize("weight", [None, -0.1, 1.5, float("nan")])
def test_a_question_without_a_weight_cannot_be_scored_by_a_sampled_alpha(pool, weight):
    with pytest.raises(ValueError, match=f"cost_coe is sampled, but the question's cost weight is {weight}"):
        score(
            trajectory(said(TELL)), ["Paris"], pool=pool, cost=0.5, cost_weight=weight,
            rubric=RewardConfig(cost_coe="sampled"),
        )  # fmt: skip


def test_questions_are_written_with_the_one_alpha_or_with_all_that_are_sampled():
    assert RewardConfig(cost_coe=0.3).alphas == (0.3,)
    assert RewardConfig(cost_coe="sampled").alphas == (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
    assert RewardConfig(cost_coe="sampled", cost_weights=[0, 0.6]).alphas == (0.0, 0.6)


def test_a_rubric_a_configuration_and_nothing_at_all_are_the_same_reward(pool):
    turns = trajectory(routed(), said(TELL))
    ways = [None, RewardConfig(), Rubric.from_config(RewardConfig())]
    rewards = [score(turns, ["Paris"], pool=pool, cost=0.25, rubric=rubric) for rubric in ways]
    assert rewards[0] == rewards[1] == rewards[2]


# ---------------------------------------------------------------- a whole trajectory


def test_a_correct_cheap_trajectory(pool):
    reward = scored(pool, routed(raw_cost=4.0), said(TELL), config=RewardConfig(cost_coe=0.25), cost=0.8)
    assert reward.reward == pytest.approx(0.75 + 0.25 * 0.8)
    metrics = reward.as_metrics()
    expected = {"em": 1.0, "f1": 1.0, "format": 0.0, "cost": 0.8, "raw_cost": 4.0, "spend_usd": 4e-6, "turns": 2.0}
    expected |= {"routes": 1.0, "valid_routes": 1.0, "failed_routes": 0.0, "invalid_searches": 0.0, "answered": 1.0}
    assert {key: metrics[key] for key in expected} == expected


def test_the_metric_chooses_the_outcome(pool):
    turns = [said("<think> hm </think><answer> Paris France </answer>")]
    assert scored(pool, *turns, config=RewardConfig(metric="em")).reward == 0.0
    assert scored(pool, *turns, config=RewardConfig(metric="f1")).reward == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", ["em", "f1"])
def test_em_and_f1_of_a_badly_formatted_answer_are_those_of_the_answer(pool, metric):
    right = scored(pool, said("<answer> Paris </answer>"), config=RewardConfig(metric=metric))
    wrong = scored(pool, said("<answer> Rome </answer>"), config=RewardConfig(metric=metric))
    assert (right.reward, right.em, right.f1) == (-1.0, 1.0, 1.0)
    assert (wrong.reward, wrong.em, wrong.f1) == (-1.0, 0.0, 0.0)
    assert right.as_metrics()["format"] == -1.0
    assert right.format_error == "the trajectory does not start with a thought"


def test_the_candidates_answer_is_not_the_policys(pool):
    reply = "</information> <answer> Paris </answer>"
    silent = scored(pool, routed(reply=reply), said("hm"), status=Status.NO_ACTION)
    assert (silent.em, silent.f1, silent.answered) == (0.0, 0.0, False)
    assert scored(pool, routed(reply=reply), said("<think> x </think><answer> Rome </answer>")).em == 0.0


def test_an_outage_is_a_route_but_neither_valid_nor_an_invalid_search(pool):
    metrics = scored(pool, failed(), routed(), said(TELL)).as_metrics()
    assert (metrics["routes"], metrics["valid_routes"], metrics["failed_routes"]) == (2.0, 1.0, 1.0)
    assert metrics["invalid_searches"] == 0.0
    assert metrics["reward"] == 1.0


def test_a_search_in_the_last_turn_is_neither_a_route_nor_invalid(pool):
    metrics = scored(pool, routed(), too_late(), status=Status.MAX_TURNS).as_metrics()
    assert (metrics["routes"], metrics["invalid_searches"], metrics["turns"]) == (1.0, 0.0, 2.0)
    assert (metrics["reward"], metrics["format"], metrics["answered"]) == (-1.0, -1.0, 0.0)


@pytest.mark.parametrize(
    "text", ["<search> what </search>", "<search> GPT-9: who? </search>", f"<search> {QWEN}: </search>"]
)
def test_an_invalid_search_counts_as_such_in_any_turn(pool, text):
    answered = scored(pool, refused(text), said(TELL)).as_metrics()
    last = scored(pool, too_late(text), status=Status.MAX_TURNS).as_metrics()
    assert (answered["invalid_searches"], answered["routes"]) == (1.0, 0.0)
    assert (last["invalid_searches"], last["routes"]) == (1.0, 0.0)


def test_candidates_are_counted_by_canonical_name_and_all_of_the_pool_appear(pool):
    ask_mixtral = ASK.replace(QWEN, "mixtral-8x22b")
    metrics = scored(pool, routed(), routed(), failed(ask_mixtral, to="Mixtral-8x22B"), said(TELL)).as_metrics()
    shares = {key: value for key, value in metrics.items() if key.startswith("candidate/")}
    assert shares == {
        "candidate/Qwen2.5-7B-Instruct": 2.0,
        "candidate/Mixtral-8x22B": 1.0,
        "candidate/Gemma-2-27B": 0.0,
    }


DEAL = Deal((Shown("Nova", QWEN), Shown("Lyra", "Gemma-2-27B")))
ASK_NOVA = ASK.replace(QWEN, "Nova")


def test_of_a_dealt_question_shown_names_are_valid_and_the_pools_own_are_counted(pool):
    reward = score(trajectory(routed(ASK_NOVA, to=QWEN), said(TELL)), ["Paris"], pool=pool, cost=0.5, deal=DEAL)
    assert (reward.format_error, reward.invalid_searches, reward.reward) == ("", 0, 1.0)
    assert reward.candidates == {QWEN: 1, "Mixtral-8x22B": 0, "Gemma-2-27B": 0}


def test_of_a_dealt_question_a_candidates_own_name_is_that_of_nobody(pool):
    reward = score(trajectory(refused(ASK), said(TELL)), ["Paris"], pool=pool, cost=0.5, deal=DEAL)
    assert reward.format_error.startswith("invalid search")
    assert reward.invalid_searches == 1


def test_of_a_dealt_question_a_query_that_is_only_the_shown_name_asks_nothing(pool):
    turn = routed("<think> a </think> <search> Nova: Nova </search>", to=QWEN)
    reward = score(trajectory(turn, said(TELL)), ["Paris"], pool=pool, cost=0.5, deal=DEAL)
    assert reward.format_error == "invalid search: the query is only the candidate's name"


def test_a_term_sees_the_candidates_that_were_offered(pool):
    rubric = Rubric({"offered": lambda pool: float(pool.names == ("Nova", "Lyra"))})
    assert rubric.score(trajectory(said(TELL)), ["Paris"], pool=pool, cost=0.5, deal=DEAL).reward == 1.0


@pytest.mark.parametrize("status", list(Status))
def test_the_status_is_one_hot(pool, status):
    metrics = scored(pool, said(TELL), status=status).as_metrics()
    assert {key for key, value in metrics.items() if key.startswith("status/") and value} == {f"status/{status.value}"}
    assert sum(key.startswith("status/") for key in metrics) == len(Status)


def test_the_keys_and_types_of_the_metrics_are_the_same_for_every_trajectory(pool):
    all_metrics = [
        scored(pool, status=Status.ABORTED).as_metrics(),
        scored(pool, said(TELL)).as_metrics(),
        scored(
            pool, routed(), failed(), refused("<search> x </search>"), too_late(), status=Status.MAX_TURNS
        ).as_metrics(),
    ]
    assert len({tuple(metrics) for metrics in all_metrics}) == 1
    assert all(type(value) is float for metrics in all_metrics for value in metrics.values())


def test_the_cost_is_asked_for_once_so_that_a_trajectory_enters_the_window_once(pool):
    window = CostWindow()
    turns = trajectory(routed(), said(TELL))
    score(turns, ["Paris"], pool=pool, cost=trajectory_cost(window, turns, train=True))
    assert len(window) == 1
