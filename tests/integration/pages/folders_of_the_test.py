"""Folders as training and benchmark leave them, with few and known contents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from router_r1.benchmark.metrics import summarise, write_results
from router_r1.constant_routers import Asked, CandidateTable

CANDIDATES = ["Newton-8B", "Omni-72B"]


def step_line(step: int, *, reward: float, share: float = 0.25) -> str:
    """A line of veRL's metrics."""
    data = {
        "train/reward": reward,
        "train/em": 0.5,
        "train/raw_cost": 12.0,
        "actor/entropy": 0.1,
        "train/routes": 1.0,
        "train/top_share": max(share, 1 - share),
        "train/effective_candidates": 1.8,
        "train/candidate/Newton-8B": share,
        "train/candidate/Omni-72B": 1 - share,
        "timing_s/gen": 20.0,
        "timing_s/update_actor": 5.0,
        "timing_s/step": 26.0,
    }
    return json.dumps({"step": step, "data": data}) + "\n"


def make_run(folder: Path, *, steps: int = 3, lr: float = 0.0003) -> Path:
    """A run with its first steps logged, and the trajectories of one of them; the file of its metrics."""
    (folder / "metrics").mkdir(parents=True)
    (folder / "rollouts").mkdir()
    (folder / "run.json").write_text(json.dumps({"experiment": "world_cpu", "seed": 0}))
    (folder / "config.yaml").write_text(f"actor:\n  optim:\n    lr: {lr}\n  clip: 0.2\n")
    metrics = folder / "metrics" / "0.jsonl"
    metrics.write_text("".join(step_line(step, reward=step / 10) for step in range(1, steps + 1)))
    row = {
        "input": "user\nQuestion: Who sang?\nassistant\n",
        "output": "<think> I know. </think>\n<answer> Ada </answer>",
        "gts": {"target": ["Ada"]},
        "score": 1.0,
        "step": 1,
    }
    (folder / "rollouts" / "1.jsonl").write_text(json.dumps(row) + "\n")
    return metrics


def record(index: int, *, question: str = "", right: bool = True, candidate: str = "Newton-8B", **changes: Any) -> Any:
    """A line of a benchmark."""
    question = question or f"Who invented thing {index}?"
    route = {
        "candidate": candidate, "query": question, "reply": "It is Ada.", "failed": False, "error": "",
        "prompt_tokens": 7, "completion_tokens": 5, "raw_cost": 2.0, "spend_usd": 3e-6, "latency_s": 0.25,
        "cached": False,
    }  # fmt: skip
    asked = {
        "text": f"<think> Ask. </think>\n<search> {candidate}: {question} </search>",
        "action": "search", "invalid_reason": "", "route": route,
        "observation": "\n<information> It is Ada. </information>\n",
    }  # fmt: skip
    answered = {
        "text": "<think> I was told. </think>\n<answer> Ada </answer>",
        "action": "answer", "invalid_reason": "", "route": None, "observation": "",
    }  # fmt: skip
    return {
        "data_source": "world_1hop", "kind": "science", "cost_weight": 0.0, "id": str(index), "index": index,
        "sample": 0, "question": question, "candidates": None, "golden_answers": ["Ada" if right else "Bob"],
        "em": float(right), "f1": float(right), "format_error": "", "latency_s": 0.5, "answer": "Ada",
        "status": "answered", "routes": 1, "failed_routes": 0, "raw_cost": 2.0, "spend_usd": 3e-6,
        "policy_tokens": 30, "turns": [asked, answered], **changes,
    }  # fmt: skip


def make_benchmark(folder: Path, records: list[Any]) -> Path:
    """A benchmark's folder, with results as `bench` computes them."""
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(one) + "\n" for one in records)
    (folder / "trajectories.jsonl").write_text(lines)
    asked = [
        Asked((one["data_source"], one["index"]), one["kind"], name, em, cost)
        for one in records
        for name, em, cost in (("Newton-8B", 0.5, 1.0), ("Omni-72B", 0.8, 30.0))
    ]
    write_results(folder, summarise(records, CANDIDATES, CandidateTable.of(asked)), {})
    return folder
