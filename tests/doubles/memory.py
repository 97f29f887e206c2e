"""Memory as a computation leaves it: freed, and kept by the allocator."""

from __future__ import annotations

BLOCK, COUNT = 2**20, 300
SIZE = BLOCK * COUNT


def use_and_free() -> bytearray:
    """Use `SIZE` bytes; what is returned keeps the heap from shrinking by itself."""
    blocks = [bytearray(BLOCK) for _ in range(2)]
    del blocks  # freed once, so that blocks of that size are no longer mapped one by one
    blocks = [bytearray(BLOCK) for _ in range(COUNT)]
    return blocks[-1]
