"""The tiny policy of the CPU profile: its tokenizer, and its network before any training.

A plain Qwen2 of about 0.9 M parameters that transformers, vLLM and veRL load like any other. Only its initial weights
are unusual: the attention heads that make up an induction head (Olsson et al. 2022, "In-context Learning and Induction
Heads") are placed by construction. Left to chance they take most of a warm start to appear, and a router that does not
copy questions and answers exactly has nothing to learn from.

Invariants:

- any text encodes, and decodes to exactly itself;
- a name of the world or of a candidate, with the space before it, is one token, and so is every tag;
- the same seed gives the same tokenizer and the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from router_r1.protocol import find_tags, render_answer, render_observation, render_search, render_think

if TYPE_CHECKING:
    from torch import Tensor

PAD, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

BPE_SIZE = 1500
"""Tokens before the added ones: 3 control tokens, 256 bytes, the rest merges."""

HIDDEN_SIZE = 128
NUM_LAYERS = 3
NUM_HEADS = 2
INTERMEDIATE_SIZE = 384
MAX_LENGTH = 4096
ROPE_THETA = 10_000.0

_EMBEDDING_STD = 0.1
_RELATEDNESS = 0.7
_GRADEDNESS = 1.0
"""How far the ends of a scale are from its middle, in lengths of an embedding."""
# Fast rotary frequencies tell neighbours apart; slow ones hardly turn within a prompt, so that content can be matched
# in them.
_SLOW_FREQUENCY = 0.1
_POSITION_BIAS = 4.0
_MATCH_GAIN = 1.7
_COPY_GAIN = 3.0


def build_tokenizer(corpus: Iterable[str], names: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer.

    Args:
        corpus: text to learn merges from; free of `names`, which would waste merges.
        names: ASCII words that become one token each, together with the space before them.

    Raises:
        ValueError: a name is not ASCII (the byte-level decoder would garble it).
    """
    spaced = [f" {name}" for name in dict.fromkeys(names)]
    if not all(name.isascii() for name in spaced):
        raise ValueError(f"names must be ASCII: {[name for name in spaced if not name.isascii()]}")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=BPE_SIZE,
            special_tokens=[PAD, START_OF_TURN, END_OF_TURN],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    # Without `normalized=False` a token would also match what a normaliser makes of the text.
    bpe.add_tokens([AddedToken(text, normalized=False, special=False) for text in (*_tag_tokens(), *spaced)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END_OF_TURN,
        additional_special_tokens=[START_OF_TURN],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _tag_tokens() -> list[str]:
    """The tags as the protocol renders them, the closing ones also with the space before them."""
    text = render_think("x") + render_search("x", "x") + render_observation("x") + render_answer("x")
    tags = find_tags(text)
    return [text[t.start : t.end] for t in tags] + [text[t.start - 1 : t.end] for t in tags if t.closes]


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    related_words: Iterable[Sequence[str]] = (),
    graded_words: Mapping[str, float] = MappingProxyType({}),
) -> Qwen2ForCausalLM:
    """The untrained policy, float32, on the CPU; the global random state is left as it was.

    Args:
        related_words: groups of words, each a token together with the space before it, whose embeddings start close to
            each other, as those of a pretrained model are. A word may be in several groups.
        graded_words: words that say how much, each with its place on a scale from -1 to 1. Their embeddings lie along
            a line in that order, so that what is learned of one can hold for its neighbours.

    Raises:
        KeyError: a related or graded word is no token.
    """
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=INTERMEDIATE_SIZE,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=NUM_HEADS,
        num_key_value_heads=NUM_HEADS,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
        with torch.no_grad():
            model.model.embed_tokens.weight.normal_(std=_EMBEDDING_STD)
            for words in related_words:
                shared = torch.randn(HIDDEN_SIZE) * _EMBEDDING_STD * _RELATEDNESS
                model.model.embed_tokens.weight[token_ids_of(tokenizer, words)] += shared
            _place_induction_head(model)
            line = torch.nn.functional.normalize(torch.randn(HIDDEN_SIZE), dim=0)
            places = torch.tensor([*graded_words.values()])[:, None]
            shift = _GRADEDNESS * _EMBEDDING_STD * math.sqrt(HIDDEN_SIZE) * places * line  # [words, hidden]
            model.model.embed_tokens.weight[token_ids_of(tokenizer, [*graded_words])] += shift
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True, temperature=1.0
    )
    return model


def _place_induction_head(model: Qwen2ForCausalLM) -> None:
    """Let layer 0 fetch the two previous tokens, and head 0 of layer 1 copy what followed this pair of tokens before.

    Layer 0 attends by position alone: query and key are constant (Qwen2's biases), turned such that the rotary
    embedding makes their product largest at distance 1 in head 0 and 2 in head 1. Each writes the token it finds to a
    subspace of its own. Layer 1 compares the current token with the earlier positions' previous token in half of its
    slow dimensions, and the current previous token with their token before that in the other half: one token alone
    recurs too often in real text.
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    frequencies = ROPE_THETA ** (-torch.arange(0, size, 2) / size)  # [size / 2]
    # A head's output has norm sqrt(size) at gain 1: bring it to the norm of an embedding.
    output_scale = _EMBEDDING_STD * math.sqrt(config.hidden_size / size)
    token, copied = _random_projection(size, config.hidden_size), _random_projection(size, config.hidden_size)
    previous, second_previous = _random_projection(2 * size, config.hidden_size).chunk(2)

    fetch = model.model.layers[0].self_attn
    for distance, target in ((1, previous), (2, second_previous)):
        head = slice((distance - 1) * size, distance * size)
        angles = distance * frequencies
        fetch.k_proj.bias[head] = _POSITION_BIAS * torch.cat([torch.ones(size // 2), torch.zeros(size // 2)])
        fetch.q_proj.bias[head] = _POSITION_BIAS * torch.cat([angles.cos(), -angles.sin()])
        fetch.q_proj.weight[head] *= 0.1
        fetch.k_proj.weight[head] *= 0.1
        fetch.v_proj.weight[head] = token
        fetch.o_proj.weight[:, head] = output_scale * target.T

    copy, head = model.model.layers[1].self_attn, slice(0, size)
    slow = frequencies < _SLOW_FREQUENCY  # [size / 2]
    even = torch.arange(size // 2) % 2 == 0
    first, second = ((slow & half).float().repeat(2)[:, None] for half in (even, ~even))  # [size, 1] each
    copy.q_proj.weight[head] = _MATCH_GAIN * (first * token + second * previous)
    copy.k_proj.weight[head] = _MATCH_GAIN * (first * previous + second * second_previous)
    copy.v_proj.weight[head] = copied
    copy.o_proj.weight[:, head] = _COPY_GAIN * output_scale * copied.T


def _random_projection(rows: int, columns: int) -> Tensor:
    """A random matrix with orthonormal rows. [rows, columns]"""
    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def token_ids_of(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> list[int]:
    """The id of each word's token, the space before it included. KeyError if a word is not a single token."""
    encoded = {word: tokenizer.encode(f" {word}", add_special_tokens=False) for word in words}
    if several := [word for word, ids in encoded.items() if len(ids) != 1]:
        raise KeyError(f"not single tokens: {several}")
    return [encoded[word][0] for word in words]
