"""Names, prices and keys of a pool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, RoutingPool, check_api_keys, raw_cost, read_api_key, spend_usd

KEY = "ROUTER_R1_TEST_KEY"


def make(name: str, *aliases: str, **settings) -> Candidate:
    defaults = {
        "model": f"org/{name}",
        "price": Price(input=0.5, output=2.0),
        "descriptor": "words",
        "base_url": "http://h/v1",
    }
    return Candidate(name=name, aliases=aliases, **(defaults | settings))


@pytest.fixture
def pool() -> RoutingPool:
    return RoutingPool(
        name="p",
        candidates=(
            make("Mixtral-8x22B-Instruct", "mixtral-8x22b"),
            make("Qwen2.5-7B-Instruct", "qwen"),
            make("DeepSeek-R1-Distill-Qwen-32B"),
        ),
    )


@pytest.mark.parametrize("written", ["Mixtral-8x22B-Instruct", "MIXTRAL-8X22B-INSTRUCT", " mixtral-8x22b\n"])
def test_a_name_or_alias_is_found_whatever_its_case_and_surrounding_space(pool, written):
    assert pool.resolve(written) is pool.candidates[0]
    assert pool.candidate(written) is pool.candidates[0]


@pytest.mark.parametrize(
    "written", ["mixtral-8x7b", "mixtral", "8x22b", "Mixtral-8x22B", "deepseek-r1-distill-qwen", "qwen 7b", "", "  "]
)
def test_a_name_is_never_found_by_a_part_of_it(pool, written):
    expected = pool.candidates[0] if written == "Mixtral-8x22B" else None
    assert pool.resolve(written) is expected


def test_a_name_that_contains_another_finds_its_own_candidate(pool):
    assert pool.candidate("deepseek-r1-distill-qwen-32b").name == "DeepSeek-R1-Distill-Qwen-32B"


def test_an_unknown_name_that_must_be_known_raises_with_the_names_there_are(pool):
    with pytest.raises(KeyError, match="Mixtral-8x22B-Instruct, Qwen"):
        pool.candidate("gpt")


def test_an_alias_that_repeats_its_own_candidates_name_is_harmless():
    assert RoutingPool(name="p", candidates=(make("Qwen", "QWEN", "qwen"),)).resolve("qwen")


def test_a_pool_built_in_code_refuses_a_name_that_is_taken():
    with pytest.raises(ValueError, match="already names candidate Qwen"):
        RoutingPool(name="p", candidates=(make("Qwen"), make("Other", "qwen")))


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_raw_cost_is_output_only_and_spend_charges_the_prompt_too(prompt, completion):
    candidate = make("Qwen", price=Price(input=0.5, output=2.0))
    assert raw_cost(candidate, completion) == pytest.approx(2.0 * completion)
    assert spend_usd(candidate, prompt, completion) == pytest.approx((0.5 * prompt + 2.0 * completion) / 1_000_000)


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "schlüssel-verysecret"])
def test_a_key_that_is_unset_or_unusable_is_told_by_its_variable_only(monkeypatch, value):
    monkeypatch.delenv(KEY, raising=False)
    if value is not None:
        monkeypatch.setenv(KEY, value)
    pool = RoutingPool(name="p", candidates=(make("Free"), make("Paid", api_key_env=KEY)), source="p.yaml")
    with pytest.raises(ConfigError, match=rf"p.yaml: candidates\[1\].api_key_env = '{KEY}'") as caught:
        check_api_keys(pool)
    assert "verysecret" not in str(caught.value)


def test_a_key_that_is_set_passes_and_is_not_kept_in_the_pool(monkeypatch):
    monkeypatch.setenv(KEY, " nvapi-verysecret\n")
    pool = RoutingPool(name="p", candidates=(make("Free"), make("Paid", api_key_env=KEY)))
    check_api_keys(pool)
    assert [read_api_key(c) for c in pool.candidates] == [None, "nvapi-verysecret"]
    assert "verysecret" not in repr(pool) + pool.model_dump_json()
