"""Token ids of what the policy did not write: the prompt and the observations; and the text of what it did write.

Invariants:

- text from outside never becomes a control token: `<|im_start|>`, or the pad string, in a reply is encoded as plain
  characters;
- an observation keeps its opening and closing tag, however short it is cut, and holds no other: not even one that the
  tokenizer's normaliser makes of other characters (full-width brackets, say);
- no call changes the tokenizer's state (its `split_special_tokens` switch is a property of the shared object, so a
  prompt that another thread encodes meanwhile would lose its control tokens).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from router_r1.errors import ConfigError
from router_r1.protocol import OBSERVATION_PREFIX, OBSERVATION_SUFFIX, find_tags, is_observation, neutralise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens are not longer on average, so what lies beyond max_tokens times this is cut before any work is done on it.
_MAX_CHARS_PER_TOKEN = 32
_BROKEN_CHARACTER = "\ufffd"  # how a cut UTF-8 sequence decodes
_MAX_UTF8_BYTES = 4
# The second encoding does for a normaliser whose result it leaves alone; the others are for those that change it again.
_MAX_ROUNDS = 4
# Added tokens that are not flagged as special but steer a model all the same: `<tool_call>`, `[INST]`.
_CONTROL_MARKUP = re.compile(r"\s*(<[^\s<>]+>|\[/?[A-Z_]+\])\s*")


CHAT_TEMPLATE_VALUES = {"date_string": "26 Jul 2024"}
"""What chat templates are told. Llama's would write today's date into every prompt, so that a policy was evaluated on
another prompt than it was trained on; this is the date that it takes itself where it has no clock. The same stands in
`verl/router_r1.yaml` (`data.apply_chat_template_kwargs`)."""


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Chat messages to the ids of a prompt that ends where the policy's first token goes. [prompt_length]

    The same ids as veRL's agent loop builds for these messages.

    Raises:
        ConfigError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            tokenizer.name_or_path or "tokenizer", "chat_template", None, "missing; use an instruct model"
        )
    ids = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=True, **CHAT_TEMPLATE_VALUES
    )
    if isinstance(ids, Mapping):  # transformers 5 returns a BatchEncoding, 4 a list
        ids = ids["input_ids"]
    return [int(i) for i in ids]


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Policy ids to text. One special token at the very end (the end of sequence) is left out, any other is shown.

    A control token sampled in mid-turn must show: with `skip_special_tokens`, `</ans<|im_start|>wer>` would read as a
    tag. A tag that a tokenizer has as a special token is shown, too.
    """
    ended = bool(ids) and ids[-1] in _special_ids(tokenizer)
    return _raw_decode(tokenizer, ids[:-1] if ended else ids)


def encode_observation(tokenizer: PreTrainedTokenizerBase, body: str, max_tokens: int) -> tuple[list[int], str]:
    """Text from outside to an observation, as ids and as the text that they decode to.

    Args:
        body: a candidate's reply or a message of the environment; neutralised here. One that the tokenizer turns into
            tags again and again is dropped.
        max_tokens: bound on the ids, tags included; the body is cut on the right.

    Raises:
        ConfigError: `max_tokens` leaves no room for the tags and one token of text (`min_observation_tokens`), or the
            tokenizer cannot write the tags.
    """
    if max_tokens < min_observation_tokens(tokenizer):
        least = f"at least {min_observation_tokens(tokenizer)} tokens are needed for the tags and one token of text"
        raise ConfigError("rollout limits", "max_obs_length", max_tokens, least)
    text = neutralise(body[: max_tokens * _MAX_CHARS_PER_TOKEN])
    for _ in range(_MAX_ROUNDS):
        ids = _encode_within(tokenizer, text, max_tokens)
        shown = _raw_decode(tokenizer, ids)
        if is_observation(shown):
            return ids, shown
        tags = find_tags(shown)
        text = neutralise(shown[tags[0].end : tags[-1].start]) if tags else ""
    ids = _encode_within(tokenizer, "", max_tokens)
    return ids, _raw_decode(tokenizer, ids)


def min_observation_tokens(tokenizer: PreTrainedTokenizerBase, body_tokens: int = 1) -> int:
    """Tokens of an observation's tags plus `body_tokens`.

    Raises:
        ConfigError: the tokenizer cannot write the tags.
    """
    return _tag_tokens(tokenizer) + body_tokens


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that text from outside must never produce: special tokens, and added tokens spelled like markup.

    Plain added tokens, such as names, and our own tags are not control tokens.
    """
    return frozenset(_control_tokens(tokenizer).values())


def without_control(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with a space in each of the tokenizer's control strings, behind its first character.

    For what goes through the chat template, which encodes them as what they stand for.
    """
    return " ".join(_split_control(_control_pattern(tokenizer), text))


# One tokenizer object serves a whole run; it is never changed after loading.
@lru_cache(maxsize=8)
def _tag_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    written = _raw_decode(tokenizer, _encode(tokenizer, OBSERVATION_PREFIX + OBSERVATION_SUFFIX))
    if not is_observation(written):
        remedy = f"turns {OBSERVATION_PREFIX.strip()} into other characters; use a model whose tokenizer keeps them"
        raise ConfigError(tokenizer.name_or_path or "tokenizer", "", None, remedy)
    return len(_encode(tokenizer, OBSERVATION_PREFIX)) + len(_encode(tokenizer, OBSERVATION_SUFFIX))


@lru_cache(maxsize=8)
def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of the tokens flagged as special, our own tags excepted."""
    flagged = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = flagged | set(tokenizer.all_special_ids)
    return frozenset(i for i in ids if not find_tags(tokenizer.convert_ids_to_tokens(i)))


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    special = _special_ids(tokenizer)
    return {
        token: i
        for token, i in tokenizer.get_added_vocab().items()
        if i in special or (_CONTROL_MARKUP.fullmatch(token) and not find_tags(token))
    }


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    # Case-insensitive for the sake of normalisers that lower-case; the longest first, where two begin alike.
    tokens = sorted((t.strip() for t in _control_tokens(tokenizer)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, filter(None, tokens))), re.IGNORECASE) if tokens else None


def _raw_decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False) if text else []


def _encode_within(tokenizer: PreTrainedTokenizerBase, text: str, max_tokens: int) -> list[int]:
    """Ids of an observation whose neutralised body is `text`, cut on the right to `max_tokens`."""
    ids = _encode_around(tokenizer, OBSERVATION_PREFIX, text, OBSERVATION_SUFFIX)
    if len(ids) <= max_tokens:
        return ids
    suffix_ids = _encode(tokenizer, OBSERVATION_SUFFIX)
    kept = _encode_around(tokenizer, OBSERVATION_PREFIX, text, "")[: max_tokens - len(suffix_ids)]
    return _drop_broken_character(tokenizer, kept) + suffix_ids


def _encode_around(tokenizer: PreTrainedTokenizerBase, before: str, text: str, after: str) -> list[int]:
    """Ids of before + text + after, with the control tokens inside `text` as plain characters.

    The three are encoded together, so that words at the seams get the ids they have in running text.
    """
    pieces = _split_control(_control_pattern(tokenizer), text)
    pieces[0] = before + pieces[0]
    pieces[-1] += after
    control = control_ids(tokenizer)
    return [i for piece in pieces for i in _encode_plain(tokenizer, piece, control)]


def _split_control(pattern: re.Pattern[str] | None, text: str) -> list[str]:
    """Cut `text` inside every control string (behind its first character), so that no piece holds a whole one."""
    pieces, start, at = [], 0, 0
    while pattern is not None and (match := pattern.search(text, at)):
        at = match.start() + 1
        pieces.append(text[start:at])
        start = at
    return [*pieces, text[start:]]


def _encode_plain(tokenizer: PreTrainedTokenizerBase, text: str, control: frozenset[int]) -> list[int]:
    ids = _encode(tokenizer, text)
    if control.isdisjoint(ids):
        return ids
    # A normaliser made a control string of other characters (full-width brackets, say): encode ever smaller pieces.
    if len(text) == 1:
        return _encode(tokenizer, " ")
    middle = len(text) // 2
    return _encode_plain(tokenizer, text[:middle], control) + _encode_plain(tokenizer, text[middle:], control)


def _drop_broken_character(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Drop the last tokens if they are the beginning of a character whose rest was cut off."""
    for dropped in range(_MAX_UTF8_BYTES):
        kept = ids[: len(ids) - dropped]
        if not _raw_decode(tokenizer, kept[-2 * _MAX_UTF8_BYTES :]).endswith(_BROKEN_CHARACTER):
            return kept
    return ids
