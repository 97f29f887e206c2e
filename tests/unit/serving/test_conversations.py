"""The rule by which a conversation becomes a question."""

from __future__ import annotations

import pytest

from router_r1.serving.api_errors import ApiError
from router_r1.serving.chat_request import Message
from router_r1.serving.conversations import question_of


def messages(*said: tuple[str, str]) -> list[Message]:
    return [Message.model_validate({"role": role, "content": content}) for role, content in said]


def test_a_single_message_is_the_question_as_it_stands():
    assert question_of(messages(("user", "  Who\nis it?"))) == "  Who\nis it?"


def test_a_system_prompt_stands_before_it():
    assert question_of(messages(("system", "Be brief."), ("user", "Who?"))) == "Be brief.\n\nWho?"


def test_earlier_messages_are_labelled_and_the_last_one_is_the_last():
    said = messages(("user", "Who wrote Emma?"), ("assistant", "Austen."), ("user", "When?"))
    assert question_of(said) == "User: Who wrote Emma?\nAssistant: Austen.\nUser: When?"


def test_instructions_come_first_wherever_they_stand():
    said = messages(("system", "A"), ("user", "Q"), ("assistant", "R"), ("developer", "B"), ("user", "S"))
    assert question_of(said) == "A\n\nB\n\nUser: Q\nAssistant: R\nUser: S"


@pytest.mark.parametrize(
    "said",
    [[("user", " \n")], [("user", "Q"), ("assistant", "R")], [("system", "A")], [("user", "Q"), ("user", "")]],
)
def test_a_conversation_ends_with_a_user_who_says_something(said):
    with pytest.raises(ApiError, match=r"messages\[\d\]: the last message must be the user's, and say something"):
        question_of(messages(*said))
