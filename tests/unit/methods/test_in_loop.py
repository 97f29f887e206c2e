"""Methods in the one loop: who writes the first turn, who chooses, and what the base model reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from router_r1.methods.choosers import Always, Largest, Prompted
from router_r1.methods.in_loop import Alone, Decomposing, OwnRouting, PosedQuestion, SingleRound
from router_r1.pool import Deal, Shown
from router_r1.prompts import render_messages
from router_r1.protocol import Status
from router_r1.rollout.backends import OpenPolicy
from router_r1.router import Router
from router_r1.settings import RouterOptions, make_settings
from tests.doubles.bpe_tokenizers import build_tokenizer
from tests.doubles.rollout_doubles import ScriptedPolicy, TableDispatcher

TOKENIZER = build_tokenizer()
QUESTION = "What is the capital of France?"
READS = "<think> It is Paris. </think>"
DEAL = Deal((Shown("Amber", "Borealis-70B"), Shown("Coral", "Atlas-7B")))


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory) -> Path:
    """Beside it lies the base model: a tokenizer and a configuration."""
    tmp_path = tmp_path_factory.mktemp("pool")
    TOKENIZER.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    entry = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
    atlas = {"name": "Atlas-7B", "price": {"input": 1, "output": 0.5}, "descriptor": "maps plain", **entry}
    borealis = {
        "name": "Borealis-70B",
        "price": {"input": 1, "output": 5.0},
        "descriptor": "generalist expert",
        **entry,
    }
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump({"name": "two", "candidates": [atlas, borealis]}))
    return path


class Asking:
    """A router whose base model follows a script, and what comes of a method with it."""

    def __init__(self, pool_file: Path, script: Sequence[str], template: str = "qwen") -> None:
        folder = pool_file.parent
        settings = make_settings(RouterOptions(model_path=str(folder), pool=str(pool_file), template=template))
        self.policy, self.table = ScriptedPolicy(TOKENIZER, script), TableDispatcher()
        routes: Any = self.table
        self.router = Router(OpenPolicy(self.policy, str(folder)), routes, settings.pool, settings, TOKENIZER)

    async def answer(self, method, question: str = QUESTION, deal: Deal | None = None):
        messages = render_messages(self.router.settings.template, self.router.pool, question, deal=deal)
        return await method.answer(PosedQuestion(question, messages, deal, 0.4), request_id="r")


@pytest.fixture
def asking(pool_file):
    return lambda script, **how: Asking(pool_file, script, **how)


async def test_a_single_round_router_asks_the_whole_question_and_the_base_model_answers(asking):
    base = asking([READS, " Paris </answer>"])
    trajectory = await base.answer(SingleRound(base.router, Largest(base.router.pool)))
    assert base.table.asked == [("Borealis-70B", QUESTION)]
    assert trajectory.turns[0].text == (
        f"<think> Borealis-70B is the one to ask. </think>\n<search> Borealis-70B: {QUESTION} </search>"
    )
    assert TOKENIZER.decode(base.policy.contexts[0]).endswith("<information> Paris. </information>\n")
    assert (trajectory.status, trajectory.answer, trajectory.raw_cost) == (Status.ANSWERED, "Paris", 0.9)


async def test_a_base_model_that_would_search_again_has_to_answer(asking):
    base = asking([f"{READS} <search> Atlas-7B: Is it? </search>", " Paris </answer>"])
    trajectory = await base.answer(SingleRound(base.router, Always("Atlas-7B")))
    assert (len(trajectory.routes), trajectory.answer) == (1, "Paris")


async def test_the_first_turn_has_the_name_that_the_question_shows(asking):
    base = asking([READS, " Paris </answer>"])
    trajectory = await base.answer(SingleRound(base.router, Largest(base.router.pool)), deal=DEAL)
    assert "<search> Amber: " in trajectory.turns[0].text
    assert [route.candidate for route in trajectory.routes] == ["Borealis-70B"]
    assert base.table.asked == [("Borealis-70B", QUESTION)]


async def test_the_thought_is_in_the_form_that_the_tiny_policy_knows(asking):
    base = asking([READS, " Paris </answer>"], template="tiny")
    trajectory = await base.answer(SingleRound(base.router, Always("Atlas-7B")))
    thought = "This is open. In this question cost counts some. Ask maps plain Atlas-7B."
    assert trajectory.turns[0].text.startswith(f"<think> {thought} </think>\n<search>")


async def test_tags_in_a_question_end_no_turn(asking):
    base = asking([READS, " Paris </answer>"])
    await base.answer(SingleRound(base.router, Always("Atlas-7B")), question="What is\n<answer> x </answer> there")
    assert base.table.asked == [("Atlas-7B", "What is [answer] x [/answer] there?")]


async def test_the_base_model_alone_thinks_first_or_does_not_and_asks_nobody(asking):
    base = asking([" Paris </answer>"])
    direct = await base.answer(Alone(base.router, thinks=False))
    assert (direct.text, direct.answer) == ("<think> </think>\n<answer> Paris </answer>", "Paris")
    base = asking(["<think> Ask. </think> <search> Atlas-7B: Who? </search>", " Lyon </answer>"])
    thought = await base.answer(Alone(base.router, thinks=True))
    assert (thought.text, thought.answer) == ("<think> Ask. </think>\n<answer> Lyon </answer>", "Lyon")
    assert base.table.asked == []


async def test_a_search_inside_an_answer_asks_nobody(asking):
    base = asking([" hm <search> Atlas-7B: Who? </search>"])
    trajectory = await base.answer(Alone(base.router, thinks=False))
    assert (trajectory.status, trajectory.answer, base.table.asked) == (Status.MAX_TURNS, None, [])


async def test_a_decomposing_router_has_the_base_model_search_and_chooses_whom(asking):
    searches = [f"<think> Hm. </think> <search> Atlas-7B: who {verb}? </search>" for verb in ("mapped", "sang")]
    base = asking([*searches, "<think> So. </think> <answer> Paris </answer>"])
    trajectory = await base.answer(Decomposing(base.router, Largest(base.router.pool)))
    assert base.table.asked == [("Borealis-70B", "who mapped?"), ("Borealis-70B", "who sang?")]
    assert [route.candidate for route in trajectory.routes] == ["Borealis-70B"] * 2
    assert trajectory.answer == "Paris"


async def test_a_trained_router_writes_and_chooses_everything_itself(asking):
    base = asking(["<think> Hm. </think> <search> Atlas-7B: who? </search>", "<answer> Paris </answer>"])
    trajectory = await base.answer(OwnRouting(base.router))
    assert (base.table.asked, trajectory.answer) == ([("Atlas-7B", "who?")], "Paris")


# ---------------------------------------------------------------- the base model chooses, the router asks


async def test_a_prompted_base_model_names_a_candidate_and_the_whole_question_goes_there(asking):
    base = asking(["<think> Borealis. </think>", " Borealis-70B: something else </search>", READS, " Paris </answer>"])
    trajectory = await base.answer(SingleRound(base.router, Prompted(base.router, 0.0)))
    assert base.table.asked == [("Borealis-70B", QUESTION)]
    assert TOKENIZER.decode(base.policy.contexts[1]).endswith("<think> Borealis. </think>\n<search>")
    assert "something else" not in trajectory.text


async def test_a_prompted_base_model_chooses_by_the_names_of_the_deal(asking):
    base = asking(["<think> A. </think>", " Coral: it </search>", READS, " Paris </answer>"])
    await base.answer(SingleRound(base.router, Prompted(base.router, 0.0)), deal=DEAL)
    assert base.table.asked == [("Atlas-7B", QUESTION)]


@pytest.mark.parametrize("named", [" Nobody: who? </search>", " Atlas </search>"])
async def test_a_prompted_base_model_that_names_nobody_has_the_first_asked(asking, named):
    base = asking(["<think> Hm. </think>", named, READS, " Paris </answer>"])
    await base.answer(SingleRound(base.router, Prompted(base.router, 0.0)))
    assert base.table.asked == [("Atlas-7B", QUESTION)]


async def test_a_sub_query_stands_in_the_prompt_as_a_question(asking):
    base = asking(["<think> Hm. </think>", " Borealis-70B: x </search>"])
    choice = await Prompted(base.router, 0.0).choose("who mapped it?", None, request_id="r")
    assert choice.candidate == "Borealis-70B"
    assert "Question: Who mapped it?" in TOKENIZER.decode(base.policy.contexts[0])
