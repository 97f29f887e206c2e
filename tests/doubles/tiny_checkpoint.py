"""A checkpoint of 0.2 M parameters that has just learnt the form of a trajectory: think, search, read, answer."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from tests.doubles.bpe_tokenizers import build_tokenizer

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Austria": "Vienna", "Poland": "Warsaw"}
CANDIDATES = ("Atlas-7B", "Borealis-70B")
SEED = 0
_STEPS = 120


def prompt_of(country: str) -> str:
    """As the template `tiny` renders it for a pool whose descriptors are all "knows things"."""
    pool = "; ".join(f"knows things {name}" for name in CANDIDATES)
    question = f"What is the capital of {country}?"
    return f"Candidates: {pool}\nIn this question cost counts nothing.\nQuestion: {question}"


def save_tiny_checkpoint(folder: Path, *, steps: int = _STEPS) -> Path:
    """Train for some seconds and save in Hugging Face format, with sampling defaults that nobody may obey."""
    torch.manual_seed(SEED)
    draw = random.Random(SEED)
    tokenizer = build_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,  # of 32 dimensions, the fewest that vLLM computes on a CPU
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config).to(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        texts = [_trajectory(tokenizer, draw.choice(list(CAPITALS)), draw.choice(CANDIDATES)) for _ in range(8)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    # A server that took these as defaults would sample, and punish repetition.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.5,
        top_k=3,
        repetition_penalty=3.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _trajectory(tokenizer, country: str, candidate: str) -> str:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt_of(country)}], tokenize=False, add_generation_prompt=True
    )
    return (
        f"{prompt}<think> Ask {candidate}. </think> <search> {candidate}: What is the capital of {country}? </search>"
        f"\n<information> It is {CAPITALS[country]}. </information>\n"
        f"<think> It is said. </think> <answer> {CAPITALS[country]} </answer>{tokenizer.eos_token}"
    )
