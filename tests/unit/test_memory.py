"""What becomes of memory that is used once, before the work begins."""

from __future__ import annotations

import platform
import subprocess
import sys

import psutil
import pytest

from router_r1 import memory

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


def test_freed_memory_that_the_allocator_keeps_can_be_had_by_others():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc's allocator can be told")
    size, count = 2**20, 300
    blocks = [bytearray(size) for _ in range(2)]  # freed once, so that blocks of that size are no longer mapped alone
    del blocks
    blocks = [bytearray(size) for _ in range(count)]
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself
    kept = psutil.Process().memory_info().rss

    memory.give_back()

    given_back = kept - psutil.Process().memory_info().rss
    assert given_back > 0.9 * size * count
