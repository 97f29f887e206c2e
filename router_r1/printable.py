"""Text from outside, for people's eyes: what a policy, a candidate, a file or a server wrote."""

from __future__ import annotations

import re

# Control characters but tab and newline, what changes the direction of writing, and halves of surrogate pairs.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text without characters that a terminal would obey, or that would reorder what a reader sees."""
    return _UNSAFE.sub("\ufffd", text)
