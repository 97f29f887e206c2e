r"""A policy back end of your own: here, one that follows a rule. It asks a candidate, and answers what it was told.

    router-r1 ask --backend examples/own_backend.py:open_scripted --model-path MODEL --pool sim --template tiny \
        "Who invented Bosen?"

Any model will do: nothing but its tokenizer is used. With the tiny policy that comes with the project:

    python examples/own_backend.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router_r1.cli import main
from router_r1.rollout.backends import OpenPolicy
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Generation
from router_r1.sim.tiny_policy import SHIPPED_POLICY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASKED = "Newton-8B"
REPLY = re.compile(r"<information>\s*(.*?)\s*</information>", re.DOTALL)
QUESTION = re.compile(r"Who [^?]+\?")


class ScriptedPolicy:
    """Reads its context as text, writes its turn as text, and speaks in the tokens of a model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        ids = self.tokenizer.encode(self.turn(self.tokenizer.decode(token_ids)), add_special_tokens=False)
        return Generation(ids[:max_tokens], "stop" if len(ids) <= max_tokens else "length")

    def turn(self, context: str) -> str:
        """What it writes next, up to a stop string."""
        told = REPLY.findall(context)
        if told:
            return f"<think> I was told. </think>\n<answer> {told[-1]} </answer>"
        question = QUESTION.findall(context)[-1]
        return f"<think> I ask {ASKED}. </think>\n<search> {ASKED}: {question} </search>"


@asynccontextmanager
async def open_scripted(model_path: str) -> AsyncIterator[OpenPolicy]:
    """Start it; what stands after the `yield` stops it. A back end asks by name for what it needs; here, the model."""
    yield OpenPolicy(ScriptedPolicy(load_tokenizer(model_path)), model_path)


if __name__ == "__main__":
    policy = ["--backend", f"{__file__}:open_scripted", "--model-path", str(SHIPPED_POLICY)]
    sys.exit(main(["ask", *policy, "--pool", "sim", "--template", "tiny", "Who invented Bosen?"]))
