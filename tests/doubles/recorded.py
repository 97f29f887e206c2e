"""Files of recorded replies: two candidates, sums that one of them gets wrong when they are large."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import yaml

from router_r1.pool import Price

PRICES = {"Small-7B": Price(input=0.5, output=1.0), "Large-70B": Price(input=5.0, output=20.0)}


def sum_question(a: int, b: int) -> str:
    return f"Ann has {a} marbles in a red box. Her brother gives her {b} more marbles. How many marbles has Ann now?"


def sum_lines(count: int) -> list[dict]:
    """`count` questions; Small-7B is wrong where the sum is 100 or more, Large-70B never."""
    lines = []
    for number in range(count):
        a, b = 7 * number + 1, 5 * number + 2
        small = a + b if a + b < 100 else a + b + 1
        lines.append(
            {
                "id": f"sum-{number}",
                "task": "sums",
                "question": sum_question(a, b),
                "golden_answers": [str(a + b)],
                "candidates": {
                    "Small-7B": {"score": float(small == a + b), "reply": f"{a} + {b} = {small}.\n#### {small}"},
                    "Large-70B": {"score": 1.0, "reply": f"Ann had {a} and got {b}. So she now has {a + b} marbles."},
                },
            }
        )
    return lines


def write_lines(file: Path, lines: list[dict]) -> Path:
    with gzip.open(file, "wt", encoding="utf-8") as sink:
        sink.writelines(json.dumps(line) + "\n" for line in lines)
    return file


def write_recorded_pool(folder: Path, lines: list[dict], **recorded: object) -> Path:
    """A pool file whose candidates say what the lines have, and the file of lines beside it."""
    write_lines(folder / "sums.jsonl.gz", lines)
    pool = {
        "name": "sums",
        "recorded": {"file": "sums.jsonl.gz", **recorded},
        "defaults": {"base_url": "http://127.0.0.1:1/v1"},
        "deals": {"sizes": [2, 2], "names": ["Amber", "Beacon", "Cedar"]},
        "candidates": [
            {
                "name": name,
                "model": f"vendor/{name.lower()}",
                "price": price.model_dump(),
                "descriptor": "generalist light",
            }
            for name, price in PRICES.items()
        ],
    }
    file = folder / "sums.yaml"
    file.write_text(yaml.safe_dump(pool))
    return file
