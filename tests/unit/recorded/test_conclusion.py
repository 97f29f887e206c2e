"""The number that a reply comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.recorded import conclusion_of


@pytest.mark.parametrize(
    ("reply", "conclusion"),
    [
        ("9 * $2 = $<<9*2=18>>18.\n#### 18", "18"),
        ("#### 3\n\n", "3"),
        ("So she makes 9 * $2 = $18 every day.", "18"),
        ("Her annual salary is $57,500.", "57500"),
        ("It comes to $12.50.", "12.5"),
        ("It comes to 18.00 in all", "18"),
        ("He is at -54 miles.\n#### -54", "-54"),
        ("#### 18 eggs, of which 3 are eaten", "18"),
        ("It took 3 steps.\n#### none", "3"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_it_stands_behind_the_mark_or_else_last(reply, conclusion):
    assert conclusion_of(reply) == conclusion


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc $=.\n", max_size=40))
def test_a_marked_whole_number_is_found_however_it_is_written(number, before):
    assert conclusion_of(f"{before} 4 #### {number:,}") == str(number)
    assert conclusion_of(f"{before} 4 #### {number:,}.00") == str(number)
