"""Which ways of writing a name mean the same candidate, and which never do."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router_r1.pool import Candidate, Price, RoutingPool, load_pool
from router_r1.pool.names import canonical
from router_r1.protocol import letters_of

POOLS = Path(__file__).parents[3] / "configs" / "pools"

separators = st.text(
    st.sampled_from(" \t\u00a0-\u2010\u2011\u2013\u2014._\u203f\"'`´*“”‘’„‚«»‹›「」『』＂＇"), min_size=1, max_size=3
)
words = st.lists(
    st.sampled_from(["Qwen", "LLaMA", "v", "B", "x", "2", "5", "70", "Größe", "千问", "٣", "+", "/"]), min_size=1
)


def make(name: str, *aliases: str, **settings) -> Candidate:
    defaults = {"model": f"org/{name}", "descriptor": "words", "base_url": "http://h/v1"}
    return Candidate(name=name, aliases=aliases, price=Price(input=1.0, output=1.0), **(defaults | settings))


def pool_of(*candidates: Candidate) -> RoutingPool:
    return RoutingPool(name="p", candidates=candidates)


# ---------------------------------------------------------------- the canonical form


@given(words, st.data())
def test_whatever_separates_the_words_of_a_name_is_the_same(parts, data):
    one, other = ("".join(part + data.draw(separators) for part in parts) for _ in range(2))
    assert canonical(one) == canonical(other)


@given(words, separators)
def test_what_stands_around_a_name_does_not_count(parts, around):
    name = "-".join(parts)
    assert canonical(f"{around}{name}{around[::-1]}") == canonical(name)


@given(words, separators)
def test_between_digits_a_separator_counts_and_elsewhere_it_does_not(parts, separator):
    for left, right in pairwise(parts):
        both_digits = left[-1].isdigit() and right[0].isdigit()
        assert (canonical(left + separator + right) == canonical(left + right)) != both_digits


@given(st.text() | st.lists(separators | words.map("".join)).map("".join))
def test_letters_digits_and_the_numbers_they_form_are_kept(name):
    form = canonical(name)
    assert letters_of(form) == letters_of(name)
    assert re.findall(r"\d+", form) == re.findall(r"\d+", name.casefold())
    assert canonical(form) == form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TinyLlama-1.1B", "TinyLlama-11B"),
        ("Qwen2.5-7B", "Qwen25-7B"),
        ("llama-3.1-8b", "llama-3.18b"),
        ("mixtral-8x7b", "mixtral-8x22b"),
        ("Command-R", "Command-R+"),
        ("meta/llama", "metallama"),
        ("Qwen-7B", "Qwen-7B!"),
    ],
)
def test_names_that_differ_in_more_than_separators_stay_apart(one, other):
    assert canonical(one) != canonical(other)


# ---------------------------------------------------------------- in a pool


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Qwen 2.5 7B Instruct", "Qwen2.5-7B-Instruct"),
        ("`Qwen2.5-7B-Instruct`", "Qwen2.5-7B-Instruct"),
        ("**Qwen-2.5-7B**", "Qwen2.5-7B-Instruct"),
        ("LLaMA 3.1 70B Instruct", "LLaMA-3.1-70B-Instruct"),
        ("llama_3_1_8b", "LLaMA-3.1-8B-Instruct"),
        ("“Mistral 7B Instruct v0.3”", "Mistral-7B-Instruct"),
        ("gemma-2-27b-it", "Gemma-2-27B-Instruct"),
        ("google/gemma-2-27b-it", "Gemma-2-27B-Instruct"),
        ("Mixtral 8x22B", "Mixtral-8x22B-Instruct"),
        ("Mixtral 8x7B", None),
        ("LLaMA 3.1", None),
        ("LLaMA 3.170B Instruct", None),
        ("Qwen25 7B", None),
        ("Llama-3.1-70B-Instruct-Turbo", None),
        ("meta/gemma-2-27b-it", None),
        ("Qwen", None),
        ("**", None),
        ("", None),
    ],
)
def test_a_name_as_models_write_it_finds_its_candidate_of_the_papers_pool_or_none(written, name):
    found = load_pool(POOLS / "paper.yaml").resolve(written)
    assert (found and found.name) == name


@pytest.mark.parametrize("path", sorted(POOLS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_name_alias_and_model_id_of_a_shipped_pool_finds_its_own_candidate(path):
    pool = load_pool(path, base_url="http://127.0.0.1:1/v1")
    for candidate in pool.candidates:
        for written in (*candidate.names, *candidate.model_ids):
            assert pool.resolve(written) is candidate


def test_a_model_id_is_found_as_any_endpoint_knows_it():
    endpoints = ({"base_url": "http://a/v1", "model": "Org/Small-1B-fp8"}, {"base_url": "http://b/v1"})
    pool = pool_of(make("Small", model="small:1b", endpoints=endpoints), make("Large"))
    for written in ("small:1b", "org/small-1b-fp8", "Small 1B FP8"):
        assert pool.resolve(written) is pool.candidates[0]


def test_a_model_id_that_two_candidates_share_finds_neither():
    pool = pool_of(make("Cool", model="org/m-7b"), make("Hot", model="org/m-7b", temperature=1.0))
    assert pool.resolve("org/m-7b") is None
    assert pool.resolve("m-7b") is None
    assert pool.resolve("hot") is pool.candidates[1]


def test_of_two_model_ids_with_one_ending_only_the_whole_ones_find_a_candidate():
    pool = pool_of(make("First", model="a/m-7b"), make("Second", model="b/m-7b"))
    assert pool.resolve("m-7b") is None
    assert pool.resolve("B/m 7b") is pool.candidates[1]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_name_goes_before_another_candidates_model_id(swapped):
    named, served = make("M-7B", "m", model="org/other"), make("Second", model="org/m-7b")
    pool = pool_of(served, named) if swapped else pool_of(named, served)
    assert pool.resolve("m-7b") is named
    assert pool.resolve("org/m-7b") is served


@pytest.mark.parametrize("name", ["Qwen 2.5", "qwen-2-5", "`QWEN_2.5`"])
def test_names_that_read_alike_are_refused_with_both_candidates_and_the_remedy(name):
    with pytest.raises(ValidationError, match=r"already names candidate Qwen2\.5.*give Other another"):
        pool_of(make("Qwen2.5"), make("Other", name))


def test_aliases_that_repeat_their_own_candidates_name_are_harmless():
    assert pool_of(make("Qwen2.5", "qwen 2.5", "QWEN-2-5")).resolve("qwen2.5")


@pytest.mark.parametrize("name", ["...", "**", "-", "+"])
def test_a_name_without_a_letter_or_digit_is_refused(name):
    with pytest.raises(ValidationError, match="letter or digit"):
        make("Other", name)


@given(words, words)
def test_two_names_share_a_pool_exactly_if_both_can_be_found(one, other):
    one, other = "-".join(["a", *one]), " ".join(["a", *other])
    try:
        pool = pool_of(make(one, model="m"), make(other, model="m"))
    except ValidationError:
        assert canonical(one) == canonical(other)
    else:
        assert [pool.resolve(one), pool.resolve(other)] == list(pool.candidates)
