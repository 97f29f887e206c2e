"""The tiny policy: its architecture and weights, and the warm start that teaches it the form."""

from pathlib import Path

SHIPPED_POLICY = Path(__file__).parent / "shipped_policy"
"""The tiny policy after its warm start, as a Hugging Face folder, so that a first run need not wait for it.

Made by the recipe of `warm_start` with seed 1; `router-r1 sim warm-start --out DIR` makes another one of the kind. Not
every seed's is as good: that of 0 copies half of what it should.
"""
