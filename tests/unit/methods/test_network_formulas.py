"""Losses, scores and messages of routers that are torch networks, beside values that were computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from router_r1.methods.bandit import policy_loss  # noqa: E402
from router_r1.methods.graph_router import MessagePassing, ScoreGraph, edge_logits  # noqa: E402
from router_r1.methods.hybrid_llm import leads, pair_targets  # noqa: E402
from router_r1.methods.irt import ItemResponses, warmed_up  # noqa: E402
from router_r1.methods.matrix_factorisation import Factors  # noqa: E402
from router_r1.methods.network_router import correctness_loss, reproducible, shuffled_batches  # noqa: E402
from router_r1.methods.routerdc import candidate_loss, cluster_loss, draw_others, rising_curve  # noqa: E402

approx = pytest.approx


def give(parameter: torch.nn.Parameter, values: list) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


# ---------------------------------------------------------------- matrix factorisation


@pytest.fixture
def factors():
    network = Factors(2, 2, dim=2, noise=0.1, unit_candidates=True, bias=False).eval()
    give(network.candidates, [[3.0, 4.0], [0.0, 2.0]])  # of length 1: (0.6, 0.8) and (0, 1)
    give(network.project.weight, [[1.0, 0.0], [0.0, 1.0]])
    give(network.weigh.weight, [[1.0, -1.0]])
    return network


def test_a_score_is_the_weighed_product_of_candidate_and_question(factors):
    question = torch.tensor([[1.0, 2.0]])  # 0.6 x 1 - 0.8 x 2 = -1, and 0 x 1 - 1 x 2 = -2
    assert factors.logits(question).tolist() == [approx([-1.0, -2.0])]
    assert factors(question).tolist() == [approx([1 / (1 + math.e), 1 / (1 + math.e**2)])]


def test_the_loss_is_the_cross_entropy_of_being_right(factors):
    right = math.log(1 + math.e)  # -log sigmoid(-1)
    partly = 0.25 * math.log(1 + math.e**2) + 0.75 * math.log(1 + math.e**-2)
    loss = correctness_loss(factors.logits(torch.tensor([[1.0, 2.0]])), torch.tensor([[1.0, 0.25]]))
    assert loss.item() == approx((right + partly) / 2)


def test_noise_is_added_in_training_alone(factors):
    question = torch.tensor([[1.0, 2.0]])
    assert torch.equal(factors.logits(question), factors.logits(question))
    factors.train()
    assert not torch.equal(factors.logits(question), factors.logits(question))


# ---------------------------------------------------------------- item responses


def test_the_chance_of_being_right_is_abilities_that_count_less_difficulty():
    network = ItemResponses(2, 2, num_abilities=2, num_known=1).eval()
    give(network.ability, [[1.0, 2.0], [0.0, -1.0]])
    give(network.discrimination.weight, [[0.0, 0.0], [0.0, 0.0]])
    give(network.discrimination.bias, [math.log(math.e - 1)] * 2)  # softplus of this is 1
    give(network.difficulty.weight, [[0.0, 1.0]])
    give(network.difficulty.bias, [0.0])
    logits = network.logits(torch.tensor([[0.0, 0.5]]))
    assert logits.tolist() == [approx([3 - 0.5, -1 - 0.5])]


def test_a_new_question_is_drawn_towards_the_known_ones_that_are_most_like_it():
    known = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 20)
    assert warmed_up(torch.tensor([[0.8, 0.6]]), known).tolist() == [approx([0.9, 0.3])]
    assert warmed_up(torch.tensor([[0.0, 1.0]]), known[:2]).tolist() == [approx([0.5, 0.5])]


# ---------------------------------------------------------------- RouterDC


def test_each_of_the_best_stands_against_the_worst_that_are_not_right():
    cosines, scores = torch.tensor([[0.9, 0.1, 0.5, 0.2]]), torch.tensor([[1.0, 0.8, 0.6, 0.0]])
    # the two best against the fourth; the third, one of the two worst, is right
    assert candidate_loss(cosines, scores).item() == approx(math.log(1 + math.exp(-0.7)) + math.log(1 + math.exp(0.1)))


def test_the_order_of_columns_does_not_matter_where_no_two_are_equal():
    cosines, scores = torch.tensor([[0.9, 0.1, 0.5, 0.2]]), torch.tensor([[1.0, 0.8, 0.4, 0.0]])
    lot = torch.tensor([2, 0, 3, 1])
    assert candidate_loss(cosines[:, lot], scores[:, lot]).item() == approx(candidate_loss(cosines, scores).item())


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_where_all_are_right_or_none_there_is_nothing_to_learn(score):
    assert candidate_loss(torch.rand(3, 6), torch.full((3, 6), score)).item() == approx(0.0, abs=1e-6)


def test_a_question_is_nearer_to_its_cluster_than_to_strangers():
    mapped = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    loss = cluster_loss(mapped, torch.tensor([0]), torch.tensor([1]), torch.tensor([[2, 3]]))
    assert loss.item() == approx(math.log(1 + 2 * math.exp(-1)))  # cosines 1, 0, 0


def test_friends_are_of_the_same_cluster_and_strangers_of_others():
    clusters = torch.tensor([0, 0, 1, 2, 1, 1, 1])
    anchors, friends, strangers = draw_others(clusters)
    assert anchors.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert torch.equal(clusters[friends], clusters)
    assert [int(friends[n]) == n for n in range(7)] == [False, False, False, True, False, False, False]
    assert (clusters[strangers] != clusters[:, None]).all()
    assert all(len(set(row)) == 3 for row in strangers.tolist())


def test_a_question_without_three_strangers_is_left_out():
    anchors, friends, _ = draw_others(torch.tensor([0, 0, 0, 1, 1]))
    assert anchors.tolist() == [3, 4]
    assert friends.tolist() == [4, 3]
    assert len(draw_others(torch.zeros(4))[0]) == 0


def test_the_curve_from_cosine_to_score_rises_and_fits():
    values = torch.tensor([-1.0, 1.0])
    slope, level = rising_curve(values, torch.tensor([0.2, 0.6]))
    assert torch.sigmoid(slope * values + level).tolist() == approx([0.2, 0.6], abs=1e-3)
    assert rising_curve(values, torch.tensor([0.6, 0.2]))[0] > 0


# ---------------------------------------------------------------- GraphRouter


def test_a_message_is_the_mean_over_visible_edges_of_sender_and_score():
    layer = MessagePassing(1)
    give(layer.own.weight, [[2.0]])
    give(layer.own.bias, [0.5])
    give(layer.message.weight, [[3.0]])
    give(layer.edge.weight, [[10.0]])
    receivers, senders = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    scores, visible = torch.tensor([[1.0, 0.5, 0.0]] * 2), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    # 2 x 1 + 0.5, and for the first the mean of 3 x 1 + 10 x 1 and 3 x 2 + 10 x 0.5
    assert layer(receivers, senders, scores, visible).flatten().tolist() == approx([2.5 + 12.0, 2.5])


def test_an_edge_is_the_mean_product_of_its_ends():
    assert edge_logits(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist() == [[5.5, 1.0]]


def test_what_a_hidden_edge_holds_is_not_seen():
    graph = ScoreGraph(3, 2, num_tasks=1, hidden=2)
    vectors, visible = torch.eye(3), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    scores = torch.rand(3, 2)
    states = graph.candidate_states(graph.nodes(vectors), scores, visible)
    other = torch.where(visible > 0, scores, 1 - scores)
    assert torch.equal(graph.candidate_states(graph.nodes(vectors), other, visible), states)
    assert not torch.equal(graph.candidate_states(graph.nodes(vectors), other, torch.ones(3, 2)), states)


def test_a_question_belongs_to_the_task_with_the_nearest_mean():
    graph = ScoreGraph(2, 2, num_tasks=2, hidden=1)
    give(graph.tasks, [[0.1, 0.0], [0.0, 0.9]])
    nodes = graph.nodes(torch.tensor([[0.8, 0.6], [0.6, 0.8]]))
    assert nodes[:, 0].tolist() == approx(graph.align_task(graph.tasks).flatten().tolist())


# ---------------------------------------------------------------- Hybrid-LLM


def test_targets_say_whether_the_one_is_as_good_as_the_other():
    scores = torch.tensor([[1.0, 0.0, 1.0]])
    assert pair_targets(scores, "deterministic").tolist() == [[[1, 1, 1], [0, 1, 0], [1, 1, 1]]]
    assert pair_targets(torch.tensor([[0.5, 0.8]]), "probabilistic").tolist() == [
        [approx([1 - 0.5 * 0.5, 1 - 0.5 * 0.8]), approx([1 - 0.2 * 0.5, 1 - 0.2 * 0.8])]
    ]


def test_transformed_targets_forgive_as_much_as_makes_them_differ_most():
    scores = torch.tensor([[0.4, 0.6], [0.1, 0.9]])
    assert pair_targets(scores, "deterministic")[:, 0, 1].tolist() == [0, 0]  # small never as good: nothing to tell
    assert pair_targets(scores, "transformed")[:, 0, 1].tolist() == [1, 0]


def test_scores_of_0_and_1_leave_nothing_to_transform():
    scores = (torch.arange(24).reshape(8, 3) % 5 < 2).float()
    assert torch.equal(pair_targets(scores, "transformed"), pair_targets(scores, "deterministic"))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_a_lead_is_what_a_candidates_score_is_above_the_pools_mean(row):
    scores = torch.tensor([row], dtype=torch.float64)
    assert leads(pair_targets(scores, "probabilistic"))[0].tolist() == approx((scores - scores.mean())[0].tolist())


# ---------------------------------------------------------------- bandit


def test_a_policys_loss_is_what_it_expects_to_be_worth_and_its_entropy():
    log_policy, utilities = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.2]])
    assert policy_loss(log_policy, utilities).item() == approx(-(0.6 + 0.1 * math.log(2)))


# ---------------------------------------------------------------- training


def test_batches_hold_every_number_once_an_epoch():
    batches = list(shuffled_batches(10, 4, epochs=2, min_steps=0))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(10))


def test_a_small_table_is_gone_through_more_often():
    assert len(list(shuffled_batches(10, 4, epochs=2, min_steps=7))) == 9


def test_a_seed_is_forgotten_afterwards():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with reproducible(3):
        first = torch.rand(1)
    assert torch.equal(torch.rand(1), expected)
    with reproducible(3):
        assert torch.equal(torch.rand(1), first)
