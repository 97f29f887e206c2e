"""Who chooses the candidate: by rule, by what was fitted, by a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from router_r1.methods.choosers import Always, AtRandom, Fitted, Largest, PromptedCandidate, named_in
from router_r1.pool import Candidate, Deal, Price, RoutingPool, Shown
from tests.doubles.rollout_doubles import TableDispatcher


def candidate(name: str, price: float) -> Candidate:
    url = "http://127.0.0.1:9/v1"
    return Candidate(name=name, model=name, price=Price(input=1, output=price), descriptor=f"is {name}", base_url=url)


POOL = RoutingPool(name="p", candidates=[candidate("Pico", 0.1), candidate("Atlas", 1), candidate("Atlas-Large", 5)])
DEAL = Deal((Shown("Amber", "Atlas"), Shown("Coral", "Pico")))


class LikesLongQuestions:
    """A fitted router: the longer a question is, the dearer a candidate; alpha is subtracted from dear ones."""

    def __init__(self) -> None:
        self.read: list[Sequence[str]] = []

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        self.read.append(list(questions))
        return np.array([[-abs(len(q) - 10 * n) - 100 * alpha * n for n in range(3)] for q in questions])


async def chosen_by(chooser, query="q", deal=None, request_id="r") -> str:
    return (await chooser.choose(query, deal, request_id=request_id)).candidate


async def test_largest_is_the_dearest_of_those_that_a_question_offers():
    assert await chosen_by(Largest(POOL)) == "Atlas-Large"
    assert await chosen_by(Largest(POOL), deal=DEAL) == "Atlas", "by the pool's own name"


async def test_one_candidate_whatever_the_question():
    assert await chosen_by(Always("Pico")) == "Pico"


async def test_a_random_choice_is_the_same_for_the_same_question_and_alike_for_all():
    drawn = [await chosen_by(AtRandom(POOL, 0), request_id=f"r{n}") for n in range(300)]
    assert drawn == [await chosen_by(AtRandom(POOL, 0), request_id=f"r{n}") for n in range(300)]
    assert drawn != [await chosen_by(AtRandom(POOL, 1), request_id=f"r{n}") for n in range(300)]
    assert min(Counter(drawn).values()) > 70
    assert {await chosen_by(AtRandom(POOL, 0), deal=DEAL, request_id=f"r{n}") for n in range(50)} == {"Atlas", "Pico"}


# Columns in another order than the pool's, and one that the pool lacks.
SCORED = ("Atlas-Large", "Gone", "Pico")


async def test_a_fitted_router_chooses_by_name_among_those_that_are_offered():
    pool = RoutingPool(name="p", candidates=[candidate("Pico", 0.1), candidate("Atlas-Large", 5)])
    fitted = Fitted(LikesLongQuestions(), SCORED, pool, alpha=0.0, questions=["x" * 20, "x", "x" * 9])
    assert await chosen_by(fitted, "x" * 20) == "Pico"
    assert await chosen_by(fitted, "x") == "Atlas-Large"
    assert await chosen_by(fitted, "x" * 9) == "Atlas-Large", "its best is no candidate of the pool"
    deal = Deal((Shown("Coral", "Pico"),))
    assert await chosen_by(fitted, "x", deal) == "Pico"


async def test_questions_are_read_all_at_once_and_sub_queries_once_each():
    router = LikesLongQuestions()
    fitted = Fitted(router, ("Pico", "Atlas", "Atlas-Large"), POOL, alpha=0.0, questions=["a", "b"])
    for query in ("a", "b", "sub", "sub", "a"):
        await chosen_by(fitted, query)
    assert router.read == [["a", "b"], ["sub"]]


async def test_what_cost_counts_is_up_to_the_router():
    router, names = LikesLongQuestions(), ("Pico", "Atlas", "Atlas-Large")
    long = "x" * 20
    assert await chosen_by(Fitted(router, names, POOL, alpha=0.0, questions=[long]), long) == "Atlas-Large"
    assert await chosen_by(Fitted(router, names, POOL, alpha=1.0, questions=[long]), long) == "Pico"


# ---------------------------------------------------------------- a candidate that is asked whom to ask


async def test_a_candidate_is_shown_the_deal_and_names_one_of_it():
    table = TableDispatcher(default="I would ask Coral.")
    choice = await PromptedCandidate("Atlas-Large", table, POOL).choose("Who?", DEAL, request_id="r")
    assert choice.candidate == "Pico"
    assert choice.asked is not None
    assert choice.asked.raw_cost == 0.9
    ((asked, prompt),) = table.asked
    assert asked == "Atlas-Large"
    assert "- Amber (1 USD per 1M tokens): is Atlas\n- Coral" in prompt
    assert "Question: Who?" in prompt


@pytest.mark.parametrize("default", ["I cannot say.", ""])
async def test_a_candidate_that_names_nobody_has_the_first_asked(default):
    chooser = PromptedCandidate("Atlas-Large", TableDispatcher(default=default), POOL)
    assert await chosen_by(chooser) == "Pico"


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("Atlas", "Atlas"),
        ("**atlas large**", "Atlas-Large"),
        ("Ask Atlas-Large, not Pico.", "Atlas-Large"),
        ("Not Picolo but pico!", "Pico"),
        ("Atlas-Largest", "Atlas"),
        ("None of them.", None),
    ],
)
def test_a_name_is_found_as_a_word(reply, name):
    assert named_in(reply, POOL) == name
