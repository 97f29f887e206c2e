"""Bodies of requests: whatever they hold, they are understood or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.serving.api_errors import ApiError
from router_r1.serving.chat_request import ChatRequest, read_chat_request

MESSAGES = [{"role": "user", "content": "Who?"}]


def read(**parameters: object) -> ChatRequest:
    return read_chat_request(json.dumps({"model": "router-r1", "messages": MESSAGES, **parameters}).encode())


def test_the_least_request_asks_for_nothing_special():
    request = read()
    assert (request.model, [message.text for message in request.messages]) == ("router-r1", ["Who?"])
    assert (request.stream, request.temperature, request.seed, request.stop) == (None, None, None, [])
    assert not request.wants_usage


def test_null_is_as_good_as_nothing():
    assert read(temperature=None, tools=None, stop=None, stream_options=None, n=None) == read()


def test_both_names_of_the_bound_on_tokens_are_known_and_the_newer_one_counts():
    assert read(max_tokens=5).max_completion_tokens == 5
    assert read(max_tokens=5, max_completion_tokens=6).max_completion_tokens == 6


def test_one_stop_string_may_stand_alone():
    assert read(stop="x").stop == read(stop=["x"]).stop == ["x"]


def test_content_may_come_in_parts():
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "is it?"}]
    assert read(messages=[{"role": "user", "content": parts}]).messages[0].text == "Who is it?"


def test_what_a_client_sends_back_of_an_earlier_reply_is_passed_over():
    earlier = {"role": "assistant", "content": "Paris", "reasoning_content": "...", "refusal": None, "tool_calls": None}
    assert read(messages=[earlier, *MESSAGES]).messages[0].text == "Paris"


@pytest.mark.parametrize("value", [True, 0, "1", 1.5, -1])
def test_a_number_is_not_taken_for_another_type(value):
    with pytest.raises(ApiError) as caught:
        read(max_tokens=value)
    assert (caught.value.status, caught.value.param) == (400, "max_completion_tokens")


@pytest.mark.parametrize("value", [1, 1.0])
def test_one_choice_is_what_there_is_however_it_is_written(value):
    assert read(n=value) == read()


@pytest.mark.parametrize("value", [True, "1", 0, 2])
def test_any_other_number_of_choices_is_refused(value):
    with pytest.raises(ApiError, match="unsupported parameter 'n'"):
        read(n=value)


@pytest.mark.parametrize("name", ["tool_calls", "function_call", "audio"])
def test_a_message_with_what_is_not_read_is_refused(name):
    with pytest.raises(ApiError, match=rf"messages\[0\]: {name} is not supported"):
        read(messages=[{"role": "assistant", "content": "x", name: {"id": "a"}}, *MESSAGES])


def test_a_text_is_never_repeated_in_a_refusal():
    with pytest.raises(ApiError) as caught:
        read(messages=[{"role": "user", "content": {"secret": "s3cret"}}])
    assert "s3cret" not in caught.value.message


def anything() -> st.SearchStrategy:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=8), scalars, max_size=3)


NAMES = st.sampled_from([*ChatRequest.model_fields, "max_tokens", "n", "tools", "logit_bias", "user", "other"])
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "name", "tool_calls"]), anything() | st.sampled_from(["user", "system"])
)


@settings(max_examples=50)
@given(st.dictionaries(NAMES, anything() | st.lists(MESSAGE, max_size=3)))
def test_any_json_object_is_understood_or_refused_with_400(parameters):
    try:
        read(**parameters)
        refusal = None
    except ApiError as fault:
        refusal = fault
    assert refusal is None or refusal.status == 400
    assert refusal is None or len(refusal.message) < 500


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_with_400(body):
    with pytest.raises(ApiError) as caught:
        read_chat_request(body)
    assert caught.value.status == 400
