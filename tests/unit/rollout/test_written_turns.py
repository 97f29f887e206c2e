"""Turns that are begun for a policy: what stands in the trajectory, and what the policy goes on from."""

from __future__ import annotations

import pytest

from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.protocol import STOP_STRINGS, Status
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.policy import Generation
from router_r1.rollout.tokens import encode_prompt
from router_r1.rollout.written_turns import Beginning, BegunPolicy
from tests.doubles.bpe_tokenizers import build_tokenizer
from tests.doubles.rollout_doubles import ScriptedPolicy, TableDispatcher, logprobs_of

TOKENIZER = build_tokenizer()
PROMPT = encode_prompt(TOKENIZER, [{"role": "user", "content": "What is the capital of France?"}])
FIRST = "<think> Atlas-7B it is. </think>\n<search> Atlas-7B: What is the capital of France? </search>"
ANSWER = "\n<answer>"
POOL = RoutingPool(
    name="one",
    candidates=[
        Candidate(
            name="Atlas-7B",
            model="atlas",
            price=Price(input=0.3, output=0.3),
            descriptor="knows things",
            base_url="http://127.0.0.1:9/v1",
        )
    ],
)


async def roll(policy: ScriptedPolicy, beginnings: list[Beginning], **limits):
    return await run_trajectory(
        PROMPT,
        policy=BegunPolicy(policy, TOKENIZER, beginnings),
        dispatcher=TableDispatcher(),
        pool=POOL,
        tokenizer=TOKENIZER,
        limits=RolloutLimits(**limits),
        request_id="r",
    )


async def test_a_whole_first_turn_is_dispatched_and_the_policy_reads_the_reply():
    policy = ScriptedPolicy(TOKENIZER, ["<think> It is Paris. </think> <answer> Paris </answer>"])
    trajectory = await roll(policy, [Beginning(FIRST)])
    assert [turn.text for turn in trajectory.turns] == [FIRST, "<think> It is Paris. </think> <answer> Paris </answer>"]
    assert [(r.candidate, r.query) for r in trajectory.routes] == [("Atlas-7B", "What is the capital of France?")]
    assert (trajectory.answer, trajectory.raw_cost) == ("Paris", 0.9)
    assert len(policy.contexts) == 1, "the policy wrote none of the first turn"
    assert TOKENIZER.decode(policy.contexts[0]).endswith(f"{FIRST}\n<information> Paris. </information>\n")


async def test_what_is_written_counts_as_the_policys_and_has_no_log_probs():
    policy = ScriptedPolicy(TOKENIZER, ["<answer> Paris </answer>"])
    trajectory = await roll(policy, [Beginning(FIRST)])
    assert trajectory.turns[0].logprobs == []
    assert trajectory.turns[1].logprobs
    assert trajectory.response_logprobs == []
    assert trajectory.response_mask[: len(trajectory.turns[0].token_ids)] == [1] * len(trajectory.turns[0].token_ids)


async def test_a_turn_that_is_begun_is_gone_on_with():
    policy = ScriptedPolicy(TOKENIZER, [" Paris </answer>"])
    trajectory = await roll(policy, [Beginning("<answer>")])
    assert (trajectory.text, trajectory.answer) == ("<answer> Paris </answer>", "Paris")


async def test_the_policy_thinks_first_and_answers_where_it_would_have_searched():
    would = "<think> Who knows? </think> <search> Atlas-7B: Who? </search>"
    policy = ScriptedPolicy(TOKENIZER, [would, " Lyon </answer>"])
    trajectory = await roll(policy, [Beginning(ANSWER, after_thinking=True)])
    assert trajectory.text == f"<think> Who knows? </think>{ANSWER} Lyon </answer>"
    assert (trajectory.answer, trajectory.routes) == ("Lyon", [])


async def test_tokens_that_an_engine_sampled_behind_the_thought_are_dropped():
    ids = TOKENIZER.encode("<think> Hm. </think> <search> Atlas", add_special_tokens=False)
    policy = ScriptedPolicy(TOKENIZER, [Generation(ids, "stop", logprobs_of(ids)), " Lyon </answer>"])
    trajectory = await roll(policy, [Beginning(ANSWER, after_thinking=True)])
    assert trajectory.text == f"<think> Hm. </think>{ANSWER} Lyon </answer>"


@pytest.mark.parametrize("said", ["<answer> Paris </answer>", "I would rather not say."])
async def test_a_turn_without_a_thought_is_left_to_the_policy(said):
    trajectory = await roll(ScriptedPolicy(TOKENIZER, [said]), [Beginning(ANSWER, after_thinking=True)])
    assert trajectory.text == said


@pytest.mark.parametrize("max_tokens", range(1, 40))
@pytest.mark.parametrize("thinks", [False, True])
async def test_no_budget_is_exceeded(max_tokens, thinks):
    said = ["<think> Hm. </think>", " Lyon </answer>"] if thinks else [" Lyon </answer>"]
    policy = BegunPolicy(ScriptedPolicy(TOKENIZER, said), TOKENIZER, [Beginning(ANSWER, after_thinking=thinks)])
    turn = await policy.generate(PROMPT, max_tokens=max_tokens, stop=STOP_STRINGS, request_id="r")
    assert 1 <= len(turn.token_ids) <= max_tokens
    assert turn.finish == ("stop" if TOKENIZER.decode(turn.token_ids).endswith("</answer>") else "length")


async def test_a_first_turn_that_does_not_fit_is_cut_off_and_asks_nobody():
    trajectory = await roll(ScriptedPolicy(TOKENIZER, []), [Beginning(FIRST)], max_turn_tokens=8)
    assert (trajectory.status, trajectory.routes) == (Status.LENGTH, [])


async def test_an_abort_while_it_thinks_aborts_the_trajectory():
    ids = TOKENIZER.encode("<think> half", add_special_tokens=False)
    policy = ScriptedPolicy(TOKENIZER, [Generation(ids, "abort", logprobs_of(ids))])
    assert (await roll(policy, [Beginning(ANSWER, after_thinking=True)])).status is Status.ABORTED
