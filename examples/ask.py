"""Ask a router: the one trained last in this folder, or, before any training, the tiny one that comes with the project.

    python examples/ask.py

A line for each candidate that it asked, then its answer.
"""

from pathlib import Path

from router_r1 import Router
from router_r1.sim.tiny_policy import SHIPPED_POLICY

if Path("runs/latest/hf").is_dir():
    options = {"run": "latest"}
else:
    options = {"model_path": str(SHIPPED_POLICY), "pool": "sim", "template": "tiny"}

with Router.open(**options) as router:
    trajectory = router.ask("Who composed the one who invented Bosen?")

for route in trajectory.routes:
    print(f"{route.candidate} was asked {route.query!r} and said {route.reply!r}")
print(f"answer: {trajectory.answer} (raw cost {trajectory.raw_cost:.3g}, {trajectory.status})")
