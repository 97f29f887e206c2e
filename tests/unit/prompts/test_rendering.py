"""Prompt templates: what they need, and what they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1 import protocol
from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.prompts import Template, load_template, render_messages, template_names, with_question_mark
from router_r1.prompts.cost_words import LEVELS

POOL = RoutingPool(
    name="two",
    candidates=(
        Candidate(
            name="Small-1B",
            aliases=("small", "s1"),
            model="m",
            price=Price(input=0.1, output=0.25),
            descriptor="cheap {question}",
            base_url="http://h/v1",
        ),
        Candidate(
            name="Large-70B", model="m", price=Price(input=1, output=2), descriptor="wise", base_url="http://h/v1"
        ),
    ),
)


def content(template: Template, question: str) -> str:
    [message] = render_messages(template, POOL, question)
    assert message["role"] == "user"
    return message["content"]


def test_the_tiny_template_is_the_candidates_on_one_line_and_the_question():
    assert content(load_template("tiny"), "Who wrote Emma") == (
        "Candidates: cheap {question} Small-1B; wise Large-70B\n"
        "In this question cost counts nothing.\n"
        "Question: Who wrote Emma?"
    )


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_a_large_template_lists_each_candidate_with_aliases_price_and_descriptor(name):
    text = content(load_template(name), "Who wrote Emma?")
    assert (
        "- Small-1B (also small, s1; 0.1 input, 0.25 output): cheap {question}\n- Large-70B (1 input, 2 output): wise"
        in text
    )
    assert text.endswith("Question: Who wrote Emma?")


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_a_large_template_shows_every_tag_in_its_strict_form(name):
    text = load_template(name).text
    tags = {(tag.name, tag.closes) for tag in protocol.find_tags(text)}
    assert tags == {(name, closes) for name in protocol.TAGS for closes in (False, True)}


def test_the_shipped_templates_are_found_in_the_package():
    assert template_names() == ["llama", "qwen", "tiny"]


def test_a_template_of_the_user_is_read_from_its_path(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Ask {candidates}.\n{pool_inline}\n{question}\n")
    assert content(load_template(path), "Why?").startswith("Ask Small-1B, Large-70B.\nSmall-1B: cheap")


def test_the_lookup_form_has_descriptors_first_so_that_a_copy_of_one_leads_to_the_name():
    text = content(Template("t", "{pool_lookup}|{question}"), "Why?")
    assert text == "cheap {question} Small-1B; wise Large-70B|Why?"


@pytest.mark.parametrize(("weight", "word"), [(None, "nothing"), (0, "nothing"), (0.6, "much"), (1.0, "most")])
def test_a_prompt_says_how_much_cost_counts_where_its_template_wants_it(weight, word):
    template = Template("t", "{pool_inline}|{cost_weight}|{question}")
    [message] = render_messages(template, POOL, "Why?", cost_weight=weight)
    assert f"|{word}|" in message["content"]
    assert template.tells_cost_weight
    silent = Template("t", "{pool_inline}{question}")
    assert not silent.tells_cost_weight
    assert render_messages(silent, POOL, "Why?", cost_weight=weight) == render_messages(silent, POOL, "Why?")


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_a_large_template_explains_the_word_for_cost_by_the_scale_of_all_words(name):
    [message] = render_messages(load_template(name), POOL, "Why?", cost_weight=0.8)
    assert f"more (on the scale {', '.join(LEVELS.values())})" in message["content"]


@given(st.text())
def test_a_question_is_inserted_verbatim(question):
    template = Template("t", "{pool_inline}|{question}|")
    assert content(template, question).endswith(f"|{with_question_mark(question)}|")
    assert with_question_mark(question).removesuffix("?").strip() == question.strip().removesuffix("?").strip()


@pytest.mark.parametrize("question", ["{pool_list} and {nonsense} {0} {}?", "a \\1 \\g<0> backslash?"])
def test_braces_and_escapes_in_a_question_are_text(question):
    assert content(Template("t", "{pool_inline}|{question}"), question).endswith(f"|{question}")


@given(st.text())
def test_a_question_mark_is_added_once(question):
    once = with_question_mark(question)
    assert once.endswith(("?", "？"))
    assert with_question_mark(once) == once


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{pool_list} {Question}", r"t: \{Question\}: unknown placeholder; known are \{question\}"),
        ("{pool_list} {question} {}", r"t: \{\}: unknown placeholder"),
        ("{pool_list}", r"t: \{question\}: the placeholder is missing"),
        (
            "{question} {candidates}",
            r"no placeholder for the cand.*add one of \{pool_inline\}, \{pool_lookup\}, \{pool_list\}",
        ),
    ],
)
def test_a_wrong_or_missing_placeholder_is_refused(text, told):
    with pytest.raises(ConfigError, match=told):
        Template("t", text)


@pytest.mark.parametrize("name", ["qwem", "none/such.txt"])
def test_a_template_that_does_not_exist_is_refused_with_the_ones_that_do(name):
    with pytest.raises(ConfigError, match=f"{name}.*one of llama, qwen, tiny"):
        load_template(name)


def test_a_template_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_template(path)
