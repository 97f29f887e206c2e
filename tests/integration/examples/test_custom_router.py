"""The example of a single-round router does what the documentation says."""

from __future__ import annotations

import pytest

pytest.importorskip("safetensors")


def test_a_router_of_ones_own_weighs_quality_against_money(script):
    assert script("custom_router").splitlines() == [
        "alpha 0.0: Small, Small, Large, Large; mean score 1.00",
        "alpha 0.3: Small, Small, Large, Large; mean score 1.00",
        "alpha 0.9: Small, Small, Small, Small; mean score 0.50",
    ]
