"""What becomes of memory that is used once, before the work begins."""

from __future__ import annotations

import platform
import subprocess
import sys

import psutil
import pytest

from router_r1 import memory
from tests.doubles.memory import SIZE, use_and_free

LOAD_AND_COUNT = """
import gc
from router_r1 import memory
loaded = [{} for _ in range(100_000)]
for number, one in enumerate(loaded):
    one["next"] = loaded[number - 1]
before = len(gc.get_objects())
memory.settle()
print(before, len(gc.get_objects()))
"""


def test_a_full_round_of_the_garbage_collector_leaves_alone_what_was_loaded_before():
    told = subprocess.run([sys.executable, "-c", LOAD_AND_COUNT], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert before > 100_000
    assert after < 1_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_freed_memory_that_the_allocator_keeps_can_be_had_by_others():
    top = use_and_free()
    kept = psutil.Process().memory_info().rss

    memory.give_back()

    assert kept - psutil.Process().memory_info().rss > 0.9 * SIZE
    del top
