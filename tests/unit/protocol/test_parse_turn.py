"""How the text of one turn becomes an action."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.protocol import (
    STOP_STRINGS,
    TAGS,
    Answer,
    InvalidSearch,
    NoAction,
    Search,
    Tag,
    find_tags,
    is_placeholder,
    parse_turn,
    render_answer,
    render_search,
    render_think,
)

tag_free = st.text().map(str.strip).filter(lambda text: not find_tags(text))
names = tag_free.filter(lambda text: text and ":" not in text)
queries = tag_free.filter(lambda text: text and not is_placeholder(text))
# Text in which tags are frequent, whole, loose and in pieces.
pieces = st.sampled_from(
    ["<", ">", "/", " ", "\n", ":", "A", *TAGS, *[f"<{t}>" for t in TAGS], *[f"</{t}>" for t in TAGS]]
)
taggy = st.lists(pieces | st.text(max_size=3)).map("".join)


def test_the_stop_strings_are_the_closing_tags_of_search_and_answer():
    assert STOP_STRINGS == ("</search>", "</answer>")


@given(names, queries)
def test_a_rendered_search_parses_back_to_its_candidate_and_query(name, query):
    assert parse_turn(render_search(name, query)) == Search(name, query)


@given(tag_free, names, queries)
def test_a_thought_before_a_search_changes_nothing(thought, name, query):
    assert parse_turn(render_think(thought) + "\n" + render_search(name, query)) == Search(name, query)


@given(tag_free)
def test_a_rendered_answer_parses_back_to_its_text(answer):
    assert parse_turn(render_answer(answer)) == Answer(answer)


def test_a_query_keeps_its_colons():
    text = "<search> Qwen2.5-7B-Instruct: What does 3:1 mean at 12:30? </search>"
    assert parse_turn(text) == Search("Qwen2.5-7B-Instruct", "What does 3:1 mean at 12:30?")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<search> Qwen what is it </search>", "colon"),
        ("<search> : what is it </search>", "no candidate"),
        ("<search> Qwen: </search>", "empty"),
        ("<search> Qwen: \n\t </search>", "empty"),
        ("<search> Qwen: [your sub-query] </search>", "placeholder"),
        ("<search> Qwen: ... </search>", "placeholder"),
        ("<search> Qwen: <query> </search>", "placeholder"),
        ("Qwen: what is it </search>", "before"),
        ("<search></search>", "colon"),
    ],
)
def test_a_malformed_search_says_what_is_wrong(text, reason):
    action = parse_turn(text)
    assert isinstance(action, InvalidSearch)
    assert reason in action.reason


@pytest.mark.parametrize(
    "query", ["query", "Query?", "YOUR SUB-QUERY", "{text}", "…", "?!", "。。。", "\u200b", "sub_query"]
)
def test_the_prompts_form_repeated_is_a_placeholder(query):
    assert is_placeholder(query)


@pytest.mark.parametrize("query", ["What is a query?", "7", "法国的首都是哪里", "Ist ß ein Buchstabe?"])
def test_a_question_is_no_placeholder(query):
    assert not is_placeholder(query)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<think> hm </think>",
        "<search> Qwen: what",
        "<answer> Paris",
        "so </answer>",
        "<search> A: b <search>",
        "< /answer >",
    ],
)
def test_an_incomplete_turn_is_no_action(text):
    assert parse_turn(text) == NoAction()


def test_a_tag_mentioned_in_a_thought_does_not_begin_the_action():
    assert parse_turn("<think> I may <search> or <answer> now </think><search> A: b </search>") == Search("A", "b")
    assert parse_turn("<think> I may <answer> now </think><answer> b </answer>") == Answer("b")


def test_the_first_closing_tag_decides():
    assert parse_turn("<search> A: b </search> <answer> c </answer>") == Search("A", "b")
    assert parse_turn("<answer> c </answer> <search> A: b </search>") == Answer("c")


def test_spelling_of_tags_is_exact():
    assert parse_turn("<Search> A: b </Search>") == NoAction()
    assert parse_turn("<search > A: b </search >") == NoAction()


def test_tags_are_found_with_their_places():
    assert find_tags("a<think>b</answer>") == [Tag("think", False, 1, 8), Tag("answer", True, 9, 18)]


@given(taggy)
def test_any_text_parses_and_acts_only_on_a_stop_string(text):
    action = parse_turn(text)
    if not any(stop in text for stop in STOP_STRINGS):
        assert action == NoAction()
    if isinstance(action, Search):
        assert action.candidate
        assert ":" not in action.candidate
        assert not is_placeholder(action.query)


@given(taggy, st.sampled_from(STOP_STRINGS), taggy)
def test_what_follows_the_first_stop_string_changes_nothing(before, stop, rest):
    text = before + stop
    turn = text[: min(text.index(s) + len(s) for s in STOP_STRINGS if s in text)]
    assert parse_turn(turn + rest) == parse_turn(turn)
