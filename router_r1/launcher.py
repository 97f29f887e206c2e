"""For the commands at the project's root: go on in the project's own environment, which is made first if need be.

Any Python from 3.8 on can read this.
"""

import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MARK = "ROUTER_R1_IN_VENV"


def enter(*needed: str) -> None:
    """Return if this Python has the modules; else start the same command in the environment's Python."""
    if sys.version_info >= (3, 11) and all(importlib.util.find_spec(name) is not None for name in needed):
        return
    if os.environ.get(MARK):
        sys.exit("error: the project's environment is incomplete; repair it with: bash scripts/setup.sh")
    venv = os.environ.get("ROUTER_R1_VENV") or os.path.join(ROOT, ".venv")
    setup = ["bash", os.path.join(ROOT, "scripts", "setup.sh"), "--quiet", "--venv", venv]
    made = subprocess.run(setup, stdout=sys.stderr)
    if made.returncode:
        sys.exit(made.returncode)
    python = os.path.join(venv, "bin", "python")
    os.execve(python, [python, os.path.abspath(sys.argv[0]), *sys.argv[1:]], dict(os.environ, **{MARK: "1"}))
