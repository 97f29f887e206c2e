"""What is loaded before the first request."""

from __future__ import annotations

import subprocess
import sys

LOAD_AND_COUNT = """
import gc
from router_r1.serving.process import settle_memory
loaded = [{} for _ in range(100_000)]
for number, one in enumerate(loaded):
    one["next"] = loaded[number - 1]
before = len(gc.get_objects())
settle_memory()
print(before, len(gc.get_objects()))
"""


def test_a_full_round_of_the_garbage_collector_leaves_alone_what_was_loaded_before():
    told = subprocess.run([sys.executable, "-c", LOAD_AND_COUNT], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert before > 100_000
    assert after < 1_000
