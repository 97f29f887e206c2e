"""The simulated question world and the pool of candidates that answer it over real HTTP."""

from pathlib import Path

SHIPPED_POLICY = Path(__file__).parent / "shipped_policy"
"""The tiny policy after its warm start (seed 0), as a Hugging Face folder, so that a first run need not wait for it.

Made by the recipe of `warm_start`; `python -m router_r1.sim.warm_start --out DIR` makes another one of the kind.
"""
