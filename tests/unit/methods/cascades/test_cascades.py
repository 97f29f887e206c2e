"""Cascades on recorded replies: whom they ask, what they take, what it costs, and what they need to learn from."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES, CascadeMethod, CascadeRoutes, Decision, play
from router_r1.methods.cascades.blender import Blender, fusion_prompt
from router_r1.methods.cascades.cascade_routing import Sets
from router_r1.methods.cascades.consistency import AnswerConsistency, most_frequent
from router_r1.methods.cascades.frugal import Chain, ReadyFrugalGPT
from router_r1.protocol import Route
from router_r1.recorded import RecordedQuestion, RecordedReplies, RecordedReply, RecordedRoutes
from tests.doubles.recorded import sum_question

pytest.importorskip("sklearn")
from router_r1.methods.encoders import load_encoder

WEAK, STRONG = "Small-7B", "Large-70B"
COSTS = {WEAK: 1.0, STRONG: 100.0}


def reply(text: str, score: float, cost: float) -> RecordedReply:
    return RecordedReply(text, score, prompt_tokens=10, completion_tokens=10, raw_cost=cost, spend_usd=cost * 1e-6)


def recorded_sums(count: int, *, samples: int = 1, with_replies: bool = True) -> RecordedReplies:
    """The weak candidate is right about every second sum, and hedges about the others; the strong one is always right.

    Of several samples of a right reply all come to the same number, of a wrong one each to another.
    """
    questions = []
    for number in range(count):
        a, b = 3 * number + 1, number + 2
        knows, weak = number % 2 == 0, []
        for sample in range(samples):
            said = f"It is {a + b}." if knows else f"I am sorry, I am unsure. Maybe {a + b + 1 + sample}."
            weak.append(reply(said if with_replies else "", float(knows), COSTS[WEAK]))
        strong = reply(f"They are {a + b} marbles." if with_replies else "", 1.0, COSTS[STRONG])
        samples_of = {WEAK: tuple(weak), STRONG: (strong,)}
        text = sum_question(a, b)
        questions.append(RecordedQuestion(f"sum-{number}", "sums", text, (str(a + b),), samples_of))
    return RecordedReplies(tuple(questions), (WEAK, STRONG))


def fitted(name, train):
    cascade = CASCADES[name].make()
    cascade.fit(train, load_encoder(), seed=0)
    return cascade


def played(cascade, alpha, recorded, **options):
    return asyncio.run(play(cascade.at(alpha), recorded, RecordedRoutes(recorded, **options)))


class Failing:
    """Routes of which those of some candidates fail; everybody else answers with a name of theirs."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, list[tuple[str, str]]()

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        self.asked.append((candidate, query))
        if candidate in self.names:
            return Route(candidate, query, "", failed=True, error="down", spend_usd=0.5)
        return Route(candidate, query, f"{candidate} says 7.", completion_tokens=3, raw_cost=3.0, spend_usd=0.25)


# ---------------------------------------------------------------- what they have in common


@pytest.mark.parametrize("name", CASCADES)
def test_what_was_saved_decides_the_same(tmp_path, name):
    train, test = recorded_sums(40, samples=3), recorded_sums(10, samples=3)
    cascade = fitted(name, train)
    cascade.save(tmp_path)
    again = type(cascade).load(tmp_path, load_encoder())
    for alpha in (0.0, 0.3, 0.9):
        one, other = played(cascade, alpha, test), played(again, alpha, test)
        for field in ("taken", "score", "raw_cost", "spend_usd", "num_routes"):
            assert getattr(one, field).tolist() == getattr(other, field).tolist()


@pytest.mark.parametrize("name", [name for name, entry in CASCADES.items() if entry.reads_replies])
def test_one_that_reads_replies_says_that_there_are_none(name):
    with pytest.raises(ConfigError, match=r"reply: is nowhere: only scores are known, and .* reads replies") as fault:
        fitted(name, recorded_sums(4, with_replies=False))
    assert "\n" not in str(fault.value)


def test_a_decision_is_one_route_that_costs_all_it_asked():
    asked = (
        Route("A", "q", "It is 3.", prompt_tokens=5, completion_tokens=2, raw_cost=2.0, spend_usd=0.1, latency_s=1.0),
        Route("B", "q", "It is 4.", prompt_tokens=6, completion_tokens=3, raw_cost=60.0, spend_usd=0.2, latency_s=2.0),
    )
    route = Decision(asked, 1).as_route()
    assert (route.candidate, route.reply, route.raw_cost) == ("B", "It is 4.", 62.0)
    assert (route.prompt_tokens, route.completion_tokens, route.attempts) == (11, 5, 2)
    assert (route.spend_usd, route.latency_s) == (pytest.approx(0.3), 3.0)
    failed = Route("A", "q", "", failed=True, error="down", spend_usd=0.1)
    assert Decision((failed,), None).as_route() == failed


def test_a_cascade_is_a_method_and_a_candidate_that_asks_others():
    test = recorded_sums(4)
    ready = fitted("frugal-gpt", recorded_sums(40)).at(0.3)
    question = test.questions[1]
    method = CascadeMethod(ready, RecordedRoutes(test))
    trajectory = asyncio.run(method.answer(question.text, request_id="1"))
    assert trajectory.answer == question.golden_answers[0]
    assert [route.candidate for route in trajectory.routes] == [WEAK, STRONG]
    route = asyncio.run(CascadeRoutes(ready, RecordedRoutes(test)).route("whoever", question.text))
    assert (route.candidate, route.raw_cost) == (STRONG, 101.0)


# ---------------------------------------------------------------- FrugalGPT


def test_frugal_stops_where_the_weak_reply_reads_well_and_goes_on_where_it_does_not():
    cascade, test = fitted("frugal-gpt", recorded_sums(60)), recorded_sums(20)
    result = played(cascade, 0.2, test)
    assert result.score.mean() == 1.0
    assert result.raw_cost.mean() == pytest.approx(0.5 * 1.0 + 0.5 * 101.0)
    assert result.taken.tolist() == [0, 1] * 10


def test_frugal_asks_the_cheap_one_alone_where_only_money_counts():
    cascade, test = fitted("frugal-gpt", recorded_sums(60)), recorded_sums(20)
    assert played(cascade, 1.0, test).raw_cost.mean() == 1.0


def test_frugal_passes_over_a_failed_route():
    scorers = fitted("frugal-gpt", recorded_sums(10))._scorers
    ready = ReadyFrugalGPT((WEAK, STRONG), Chain((0, 1), (0.0,)), scorers)
    routes = Failing(WEAK)
    decision = asyncio.run(ready.decide("How many?", routes, request_id="1"))
    assert [name for name, _ in routes.asked] == [WEAK, STRONG]
    assert decision.reply == f"{STRONG} says 7."
    assert asyncio.run(ready.decide("How many?", Failing(WEAK, STRONG), request_id="1")).taken is None
    doubtful = ReadyFrugalGPT((WEAK, STRONG), Chain((0, 1), (np.inf,)), scorers)
    assert asyncio.run(doubtful.decide("How many?", Failing(STRONG), request_id="1")).taken == 0


# ---------------------------------------------------------------- answer consistency


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["It is 3.", "It is 4.", "So 4 in all."], (1, 2)),
        (["#### 3", "3 of them: #### 3.0", "three"], (0, 2)),
        (["The moon", "the moon!", "Mars"], (0, 2)),
        (["a b", "c d"], (0, 1)),
    ],
)
def test_answers_agree_by_their_number_or_else_their_words(replies, expected):
    assert most_frequent(replies) == expected


def test_consistency_goes_on_where_the_samples_disagree_and_pays_for_all():
    cascade, test = fitted("answer-consistency", recorded_sums(20, samples=3)), recorded_sums(6, samples=3)
    result = played(cascade, 0.2, test)
    assert result.taken.tolist() == [0, 1] * 3
    assert result.raw_cost.tolist() == [3.0, 103.0] * 3
    assert result.score.tolist() == [1.0] * 6


def test_consistency_says_that_one_sample_cannot_agree():
    with pytest.raises(ConfigError, match=r"candidate = 'Small-7B': has 1 sample\(s\) .* compares 3; collect more"):
        fitted("answer-consistency", recorded_sums(6))


def test_consistency_takes_what_there_is_if_routes_fail():
    cascade = AnswerConsistency()
    cascade.fit(recorded_sums(20, samples=3), load_encoder(), seed=0)
    ready = cascade.at(0.2)
    assert asyncio.run(ready.decide("q", Failing(STRONG), request_id="1")).reply == f"{WEAK} says 7."
    assert asyncio.run(ready.decide("q", Failing(WEAK), request_id="1")).reply == f"{STRONG} says 7."
    assert asyncio.run(ready.decide("q", Failing(WEAK, STRONG), request_id="1")).taken is None


# ---------------------------------------------------------------- cascade routing


def test_the_best_set_is_worth_the_best_of_its_members_less_its_price():
    sets = Sets.of(raw_cost=np.array([1.0, 100.0]), spread=np.zeros(2))
    nobody = np.zeros(2, dtype=bool)
    quality = sets.quality(np.array([0.6, 0.9]), nobody)
    assert dict(zip(map(tuple, sets.members.tolist()), quality, strict=True)) == pytest.approx(
        {(True, False): 0.6, (False, True): 0.9, (True, True): 0.9}
    )
    assert sets.next_to_ask(quality, nobody, price=0.0) == 1
    assert sets.next_to_ask(quality, nobody, price=0.01) == 0
    weak_asked = np.array([True, False])
    after = sets.quality(np.array([0.95, 0.9]), weak_asked)
    assert sets.next_to_ask(after, weak_asked, price=0.0) is None
    assert sets.next_to_ask(sets.quality(np.array([0.1, 0.9]), weak_asked), weak_asked, price=0.001) == 1


def test_what_asking_may_show_makes_a_set_worth_more_than_its_best_member():
    sets = Sets.of(raw_cost=np.array([1.0, 1.0]), spread=np.array([0.2, 0.0]))
    alone, _, both = sets.quality(np.array([0.5, 0.5]), np.zeros(2, dtype=bool))
    # E[max(0.5 + 0.2 z, 0.5)] = 0.5 + 0.2 / sqrt(2 pi) for a standard normal z; 64 draws.
    assert both == pytest.approx(0.5 + 0.2 / np.sqrt(2 * np.pi), abs=0.03)
    assert both > alone + 0.03


def test_cascade_routing_asks_the_weak_one_first_and_the_strong_one_where_the_reply_is_bad():
    cascade, test = fitted("cascade-routing", recorded_sums(60)), recorded_sums(20)
    result = played(cascade, 0.2, test)
    assert result.score.mean() == 1.0
    assert result.taken.tolist() == [0, 1] * 10
    assert result.num_routes.tolist() == [1, 2] * 10


def test_cascade_routing_goes_by_the_question_where_only_scores_are_known():
    train = recorded_sums(20, with_replies=False)
    cascade = fitted("cascade-routing", train)
    assert played(cascade, 0.2, train, reads_replies=False).num_routes.tolist() == [1] * 20
    assert played(cascade, 0.0, train, reads_replies=False).raw_cost.mean() == 100.0
    assert played(cascade, 1.0, train, reads_replies=False).raw_cost.mean() == 1.0


def test_cascade_routing_goes_on_after_a_failed_route():
    ready = fitted("cascade-routing", recorded_sums(60)).at(0.2)
    decision = asyncio.run(ready.decide(sum_question(1, 2), Failing(WEAK), request_id="1"))
    assert decision.reply == f"{STRONG} says 7."
    assert asyncio.run(ready.decide(sum_question(1, 2), Failing(WEAK, STRONG), request_id="1")).taken is None


# ---------------------------------------------------------------- LLM-Blender


def test_the_blender_asks_all_and_takes_the_reply_that_wins_most_pairs():
    blender, test = fitted("blender", recorded_sums(60)), recorded_sums(20)
    result = played(blender, 0.5, test)
    assert result.raw_cost.tolist() == [101.0] * 20
    assert result.score.mean() == 1.0


def test_ranks_are_chances_against_all_others():
    ready = fitted("blender", recorded_sums(60)).at(0.0)
    ranks = ready.ranks(sum_question(1, 2), ["It is 3.", "I am sorry, I am unsure. Maybe 5.", "They are 3 marbles."])
    assert ranks.sum() == pytest.approx(3)  # one chance in all for each of three pairs
    assert ranks.argmin() == 1


def test_the_best_replies_are_fused_by_a_candidate_that_is_paid_for():
    blender = Blender(fuser="Fuser-70B")
    blender.fit(recorded_sums(20), load_encoder(), seed=0)
    routes = Failing()
    decision = asyncio.run(blender.at(0.0).decide("How many?", routes, request_id="1"))
    assert decision.reply == "Fuser-70B says 7."
    assert sum(route.raw_cost for route in decision.routes) == 9.0
    name, prompt = routes.asked[-1]
    assert name == "Fuser-70B"
    assert f"{WEAK} says 7." in prompt
    assert f"{STRONG} says 7." in prompt
    without = asyncio.run(blender.at(0.0).decide("How many?", Failing("Fuser-70B", WEAK), request_id="1"))
    assert without.reply == f"{STRONG} says 7."


def test_a_fused_reply_has_no_recorded_score():
    blender, recorded = Blender(fuser=WEAK), recorded_sums(4)
    blender.fit(recorded, load_encoder(), seed=0)

    class Everything:
        async def route(self, candidate, query, *, trajectory_id=""):
            return Route(candidate, query, "It is 1.")

    with pytest.raises(ValueError, match="a fused reply has no recorded score"):
        asyncio.run(play(blender.at(0.0), recorded, Everything()))


def test_the_fusion_prompt_has_the_question_and_all_replies_in_order():
    prompt = fusion_prompt("Who?", ["She. ", "He."])
    assert prompt.index("Question: Who?") < prompt.index("Answer 1: She.") < prompt.index("Answer 2: He.")
