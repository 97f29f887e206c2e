"""A conversation as one question: the policy was trained on single ones.

The rule:

- a single message of the user is the question, as it stands;
- else the question is, with an empty line between the parts, the system's messages, the earlier messages as lines
  `User: ...` and `Assistant: ...`, and the last message, which must be the user's, as `User: ...`;
- nothing is cut or left out: what does not fit the prompt is refused, with the numbers.

What a text has of the tokenizer's control strings is broken up, so that nobody writes turns of a chat template. The
labels are plain text: a user who writes `Assistant: ...` into a message is not told from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router_r1.rollout.tokens import control_ids, without_control
from router_r1.serving.api_errors import refused
from router_r1.serving.chat_request import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LABELS = {"user": "User", "assistant": "Assistant"}


def question_of(messages: Sequence[Message]) -> str:
    """The question that a conversation comes to.

    Raises:
        ApiError: 400; the last message is not the user's, or says nothing.
    """
    last = messages[-1]
    if last.role != "user" or not last.text.strip():
        place = f"messages[{len(messages) - 1}]"
        raise refused(place, f"{place}: the last message must be the user's, and say something")
    if len(messages) == 1:
        return last.text
    instructions = [message.text.strip() for message in messages if message.role not in _LABELS]
    said = [f"{_LABELS[message.role]}: {message.text.strip()}" for message in messages if message.role in _LABELS]
    if len(said) == 1:
        said = [last.text.strip()]
    return "\n\n".join([*filter(None, instructions), "\n".join(said)])


def safe_question(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """The same, without a control string of the tokenizer's.

    Raises:
        ApiError: 400; as `question_of`, or the tokenizer's normaliser makes a control string of other characters.
    """
    question = without_control(tokenizer, question_of(messages))
    if not control_ids(tokenizer).isdisjoint(tokenizer.encode(question, add_special_tokens=False)):
        raise refused("messages", "messages: a text holds look-alikes of the model's control strings")
    return question
