"""The tiny policy: its architecture and weights, and the warm start that teaches it the form."""

from pathlib import Path

SHIPPED_POLICY = Path(__file__).parent / "shipped_policy"
"""The tiny policy after its warm start (seed 0), as a Hugging Face folder, so that a first run need not wait for it.

Made by the recipe of `warm_start`; `router-r1 sim warm-start --out DIR` makes another one of the kind.
"""
