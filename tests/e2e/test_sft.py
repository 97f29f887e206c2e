"""Supervised fine-tuning by veRL's own trainer, from the command line to a policy that answers."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from router_r1.checkpoints import find_policy
from router_r1.methods.first_turns import ANSWER_AT_ONCE
from router_r1.rollout.tokens import encode_prompt
from router_r1.runs import read_metrics
from router_r1.training.sft_process import answering_turn
from tests.doubles.tiny_checkpoint import CAPITALS, prompt_of, save_tiny_checkpoint
from tests.e2e import runner
from tests.integration.conftest import write_questions

pytestmark = pytest.mark.slow

STEPS = 80
SETTINGS = (
    "data.train_batch_size=10",
    f"trainer.total_epochs={STEPS}",
    "optim.lr=5e-3",
    "optim.lr_scheduler_type=constant",
    "trainer.max_ckpt_to_keep=2",
)


def command(data: Path, model: Path, out: Path) -> list[str | Path]:
    parts = ["-m", "router_r1", "sft", "--data", data, "--model-path", model, "--out", out]
    return [sys.executable, *parts, *SETTINGS]


def rows(data: Path) -> list[dict]:
    return pq.read_table(data).to_pylist()


@pytest.fixture
def questions(tmp_path) -> Path:
    file = write_questions(tmp_path / "train.parquet", {"a": CAPITALS, "b": CAPITALS})
    table = rows(file)
    for row in table:
        row["extra_info"]["split"] = "train"
    pq.write_table(pq.read_table(file).from_pylist(table), file)
    return file


def loss_of(model_path: Path, data: Path) -> float:
    """The mean loss of the answering turns' tokens, by transformers alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_path), AutoTokenizer.from_pretrained(model_path)
    losses = []
    for row in rows(data):
        prompt = encode_prompt(tokenizer, row["prompt"])
        turn = answering_turn(tokenizer, row["reward_model"]["ground_truth"]["target"][0])
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *turn]])).logits[0, len(prompt) - 1 : -1]
        losses.append(cross_entropy(logits, torch.tensor(turn), reduction="none"))
    return float(torch.cat(losses).mean())


def said(policy: str, country: str) -> str:
    """What it answers at once, greedily, up to the closing tag."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy), AutoTokenizer.from_pretrained(policy)
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": prompt_of(country)}])
    begun = [*prompt, *tokenizer.encode(ANSWER_AT_ONCE.text, add_special_tokens=False)]
    made = model.generate(torch.tensor([begun]), max_new_tokens=12, do_sample=False, repetition_penalty=1.0)
    return tokenizer.decode(made[0, len(begun) :]).partition("</answer>")[0]


@pytest.mark.nightly
def test_it_learns_the_answers_survives_ctrl_c_and_goes_on_from_the_last_epoch(tmp_path, questions):
    # Half trained, so that every token counts in its loss.
    model, out = save_tiny_checkpoint(tmp_path / "model", steps=40), tmp_path / "out"
    process = runner.start(command(questions, model, out))
    runner.wait_until(lambda: (out / "checkpoints" / "global_step_5").exists(), process, timeout=300)
    process.send_signal(signal.SIGINT)
    stopped = runner.finish(process, timeout=60)
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    assert not (out / "huggingface").exists(), "not finished"
    first = read_metrics(out)[1]["train/loss"]
    assert first == pytest.approx(loss_of(model, questions), rel=1e-3), "ten rows: the first step has all of them"

    done = runner.run(command(questions, model, out), timeout=300)
    assert done.code == 0, done.out + done.err + (out / "sft.log").read_text()[-3000:]
    resumed = max(int(file.stem) for file in (out / "metrics").glob("*.jsonl"))
    assert 0 < resumed < STEPS
    lines = [json.loads(line)["step"] for line in (out / "metrics" / f"{resumed}.jsonl").read_text().splitlines()]
    assert lines == list(range(resumed + 1, STEPS + 1)), "what was trained is not trained again"
    assert [said(find_policy("", "", str(out)), country) for country in CAPITALS] == [
        f" {capital} " for capital in CAPITALS.values()
    ]
    again = runner.run(command(questions, model, out), timeout=60)
    assert (again.code, again.out.split()[0]) == (0, "finished")


def test_a_row_that_cannot_be_learned_is_told_in_one_line(tmp_path, questions):
    model, out = save_tiny_checkpoint(tmp_path / "model", steps=0), tmp_path / "out"
    done = runner.run([*command(questions, model, out), "data.max_length=8"], timeout=120)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].endswith("over data.max_length=8; raise it")
