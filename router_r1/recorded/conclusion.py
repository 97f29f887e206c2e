"""The answer that a reply comes to, where it is worked out step by step and ends with a number.

GSM8K's own form ends with `#### 18` (Cobbe et al. 2021, arXiv:2110.14168); models that were not asked for it end with a
sentence, and its last number is taken, as most evaluation harnesses do.
"""

from __future__ import annotations

import re

_MARK = "####"
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def conclusion_of(reply: str) -> str | None:
    """The first number behind the last `####`, or else the last number of the reply; None if there is none.

    Separators of thousands and zeros at the end of a decimal fraction are left out: 57,500.00 is 57500.
    """
    _, _, behind = reply.rpartition(_MARK) if _MARK in reply else ("", "", "")
    if marked := _NUMBER.search(behind):
        return _plain(marked[0])
    numbers = _NUMBER.findall(reply)
    return _plain(numbers[-1]) if numbers else None


def _plain(number: str) -> str:
    number = number.replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number
