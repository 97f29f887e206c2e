"""Small real byte-level BPE tokenizers, trained on the spot."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = [
    "<think> Who knows the capital of France? </think> <search> Atlas-7B: What is the capital of France? </search>",
    "\n<information> The capital of France is Paris. </information>\n<answer> Paris </answer>",
    "system user assistant im_start im_end endoftext tool_call Candidates: Question: a search needs a colon",
] * 4


def build_tokenizer(*, pad_is_eos: bool = False, tags_special: bool = False) -> PreTrainedTokenizerFast:
    """512 entries, control tokens as Qwen has them, one unflagged control token and one plain added name."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>" if pad_is_eos else "<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("Zorblax", special=False)])
    if tags_special:
        tags = [f"<{slash}{tag}>" for tag in ("think", "search", "information", "answer") for slash in ("", "/")]
        fast.add_tokens([AddedToken(tag, special=True) for tag in tags])
    fast.chat_template = CHAT_TEMPLATE
    return fast
