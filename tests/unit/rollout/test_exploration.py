"""Exploration of whom to ask: what is dealt, what is watched, and how both fade out."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router_r1.pool import Candidate, Deal, Price, RoutingPool, Shown
from router_r1.protocol import STOP_STRINGS
from router_r1.rollout.exploration import Choice, ExplorationConfig, ExploringPolicy, choice_text, dealt_candidate
from router_r1.rollout.policy import Generation
from tests.doubles.bpe_tokenizers import build_tokenizer

TOKENIZER = build_tokenizer()
HEAD, MARKER, TAIL = "<think> Who knows? </think> ", "<search>", ": What is the capital of France? </search>"
NAMES = ("Atlas-7B", "Atlas-7B-Instruct", "Borealis-70B", "Pico-1B")


def pool_of(*names: str, descriptor: str = "d") -> RoutingPool:
    common = {"descriptor": descriptor, "base_url": "http://127.0.0.1:9/v1", "price": Price(input=1, output=1)}
    return RoutingPool(name="p", candidates=tuple(Candidate(name=n, model=n.lower(), **common) for n in names))


POOL = pool_of(*NAMES)


def encode(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


class Writer:
    """Would write one text, asking `favourite`; goes on as well after another name. Every token has log-prob -0.5."""

    def __init__(self, favourite: str = "Atlas-7B", text: str | None = None, *, in_pieces: bool = False) -> None:
        self.favourite, self.text, self.in_pieces = favourite, text, in_pieces
        self.requests = 0

    async def generate(self, token_ids, *, max_tokens, stop, request_id):
        self.requests += 1
        written = TOKENIZER.decode(token_ids)
        if self.text is not None:
            rest = self.text
        elif not written:
            rest = f"{HEAD}{MARKER} {self.favourite}{TAIL}"
        elif written.endswith(MARKER):
            rest = f" {self.favourite}{TAIL}"
        else:
            rest = TAIL
        end = min((rest.index(s) + len(s) for s in stop if s in rest), default=len(rest))
        pieces = rest[:end] if self.in_pieces else [rest[:end]]
        ids = [i for piece in pieces for i in encode(piece)][:max_tokens]
        return Generation(ids, "length" if len(ids) == max_tokens else "stop", [-0.5] * len(ids))

    async def go_on(self, token_ids, written, *, max_tokens, stop, request_id):
        """Every token that was written for it has log-prob -2."""
        rest = await self.generate([*token_ids, *written], max_tokens=max_tokens, stop=stop, request_id=request_id)
        return Generation([*written, *rest.token_ids], rest.finish, [-2.0] * len(written) + rest.logprobs)


def explore(policy: Writer, deal: str | None, marker: str = MARKER, **settings) -> ExploringPolicy:
    given = {"pool": POOL, **settings}
    return ExploringPolicy(policy, tokenizer=TOKENIZER, marker=marker, dealt=deal, **given)


async def turn_of(policy: ExploringPolicy, max_tokens: int = 200) -> Generation:
    return await policy.generate([], max_tokens=max_tokens, stop=STOP_STRINGS, request_id="r")


# ---------------------------------------------------------------- one trajectory


async def test_a_dealt_name_stands_where_the_policy_would_have_chosen_and_the_rest_is_its_own():
    exploring = explore(writer := Writer(), "Borealis-70B")
    turn = await turn_of(exploring)
    assert TOKENIZER.decode(turn.token_ids) == f"{HEAD}{MARKER} Borealis-70B{TAIL}"
    assert len(turn.logprobs) == len(turn.token_ids)
    tokens = len(encode(" Borealis-70B"))
    assert exploring.choice == Choice("Borealis-70B", -2.0 * tokens, is_dealt=True)
    assert writer.requests == 2


@pytest.mark.parametrize("name", NAMES)
async def test_a_choice_that_is_not_dealt_is_watched(name):
    exploring = explore(writer := Writer(name), None)
    turn = await turn_of(exploring)
    assert TOKENIZER.decode(turn.token_ids) == f"{HEAD}{MARKER} {name}{TAIL}"
    assert writer.requests == 1
    assert exploring.choice == Choice(name, -0.5 * len(encode(f" {name}")), is_dealt=False)


async def test_only_the_first_turn_is_dealt():
    exploring = explore(writer := Writer(), "Pico-1B")
    await turn_of(exploring)
    second = await turn_of(exploring)
    assert TOKENIZER.decode(second.token_ids) == f"{HEAD}{MARKER} Atlas-7B{TAIL}"
    assert writer.requests == 3


@pytest.mark.parametrize("text", ["<think> I know. </think> <answer> Paris </answer>", "<think> hm", ""])
async def test_a_turn_without_a_choice_is_left_alone(text):
    exploring = explore(Writer(text=text), "Pico-1B")
    assert TOKENIZER.decode((await turn_of(exploring)).token_ids) == text
    assert exploring.choice is None


async def test_a_name_of_nobody_is_no_choice():
    exploring = explore(Writer("Zeus-9B"), None)
    await turn_of(exploring)
    assert exploring.choice is None


@pytest.mark.parametrize("max_tokens", range(1, 60))
async def test_no_budget_is_exceeded(max_tokens):
    for deal in (None, "Borealis-70B"):
        turn = await turn_of(explore(Writer(), deal), max_tokens)
        assert 1 <= len(turn.token_ids) <= max_tokens
        assert len(turn.logprobs) == len(turn.token_ids)


async def test_the_choice_may_come_before_the_search():
    """The tiny policy names the candidate in its thought."""
    exploring = explore(Writer(), "Pico-1B", marker=" </think>")
    turn = await turn_of(exploring)
    assert TOKENIZER.decode(turn.token_ids).startswith("<think> Who knows? </think> Pico-1B")


async def test_a_choice_is_found_whatever_tokens_it_is_written_in():
    exploring = explore(Writer("Atlas-7B", in_pieces=True), None)
    turn = await turn_of(exploring)
    assert len(turn.token_ids) > len(encode(f"{HEAD}{MARKER} Atlas-7B{TAIL}"))
    assert exploring.choice == Choice("Atlas-7B", -0.5 * len(" Atlas-7B"), is_dealt=False)


# ---------------------------------------------------------------- a choice of more than the name

DEALT = Deal(
    (Shown("Nova", "Pico-1B", "film"), Shown("Lyra", "Atlas-7B", "music and art"), Shown("No", "Borealis-70B"))
)
WITH_DESCRIPTORS = {"pool": DEALT.pool(pool_of(*NAMES, descriptor="all")), "form": "{descriptor} {name}"}


@pytest.mark.parametrize(("name", "text"), [("Nova", "film Nova"), ("Lyra", "music and art Lyra"), ("No", "all No")])
async def test_all_of_a_choice_is_forced_and_its_log_prob_is_the_sum_over_its_tokens(name, text):
    exploring = explore(Writer(), name, **WITH_DESCRIPTORS)
    turn = await turn_of(exploring)
    assert TOKENIZER.decode(turn.token_ids) == f"{HEAD}{MARKER} {text}{TAIL}"
    assert exploring.choice == Choice(name, -2.0 * len(encode(f" {text}")), is_dealt=True)


@pytest.mark.parametrize(("name", "text"), [("Nova", "film Nova"), ("Lyra", "music and art Lyra"), ("No", "all No")])
async def test_a_choice_of_its_own_is_found_by_all_of_its_text(name, text):
    exploring = explore(Writer(text), None, **WITH_DESCRIPTORS)
    await turn_of(exploring)
    assert exploring.choice == Choice(name, -0.5 * len(encode(f" {text}")), is_dealt=False)


@pytest.mark.parametrize("text", ["Nova", "music Nova", "film Pico-1B", "film Novas", "film"])
async def test_a_name_under_another_descriptor_or_without_one_is_no_choice(text):
    exploring = explore(Writer(text), None, **WITH_DESCRIPTORS)
    await turn_of(exploring)
    assert exploring.choice is None


def test_braces_in_a_descriptor_are_text():
    (candidate,) = pool_of("Nova", descriptor="{name} {x}").candidates
    assert choice_text("{descriptor}: {name}", candidate) == "{name} {x}: Nova"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("{descriptor}", r"must hold \{name\}"),
        ("name", r"must hold \{name\}"),
        ("{model} {name}", r"unknown placeholder \{model\}; known are \{name\}, \{descriptor\}"),
        ("{} {name}", r"unknown placeholder \{\}"),
    ],
)
def test_a_form_without_the_name_or_with_another_placeholder_is_refused(form, told):
    with pytest.raises(ValidationError, match=told):
        ExplorationConfig(choice=form)


# ---------------------------------------------------------------- a group, and a run


@given(st.text(max_size=5), st.integers(1, 9), st.integers(1, 40))
def test_a_group_is_dealt_every_candidate_in_turn(group, candidates, samples):
    pool = pool_of(*(f"C{i}" for i in range(candidates)))
    dealt = Counter(dealt_candidate(pool, group=group, place=i, share=1.0) for i in range(samples))
    assert None not in dealt
    assert max(dealt.values()) - min([*dealt.values(), *[0] * (len(dealt) < candidates)]) <= 1


def test_groups_begin_with_other_candidates_and_a_share_is_a_share():
    first = Counter(dealt_candidate(POOL, group=str(i), place=0, share=1.0) for i in range(400))
    assert set(first) == set(NAMES)
    own = sum(dealt_candidate(POOL, group=str(i), place=0, share=0.25) is None for i in range(1000))
    assert 680 < own < 820
    assert dealt_candidate(POOL, group="g", place=3, share=0.0) is None


def test_both_fade_out():
    config = ExplorationConfig(dealt=1.0, until=0.8, tau=0.1, tau_end=0.02)
    assert [config.dealt_at(p) for p in (0.0, 0.4, 0.8, 1.0)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert [config.tau_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, math.sqrt(0.002), 0.02])
    assert ExplorationConfig().tau_at(0.5) == 0.0
    assert not ExplorationConfig().is_on


def test_an_unlikely_choice_earns_up_to_a_bound():
    assert Choice("A", math.log(0.5), True).bonus(0.1) == pytest.approx(0.1 * math.log(2))
    assert Choice("A", -50.0, True).bonus(0.1) == pytest.approx(0.1 * math.log(1e4))
    assert Choice("A", -3.0, True).bonus(0.0) == 0.0


@pytest.mark.parametrize("wrong", [{"dealt": 1.5}, {"until": 0.0}, {"tau": -1.0}, {"choice_after": ""}, {"eps": 0.1}])
def test_a_setting_out_of_its_range_is_refused(wrong):
    with pytest.raises(ValidationError):
        ExplorationConfig(**wrong)
