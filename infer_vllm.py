#!/usr/bin/env python3
"""Ask a trained router one question: python infer_vllm.py --question "Who wrote it?" [--model_path DIR] [--help]

Any Python from 3.8 on may start this: it goes on in the project's own environment, which is made first if need be.
"""

import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
NEEDED = (
    "aiohttp",
    "numpy",
    "openai",
    "prometheus_client",
    "pydantic",
    "rich",
    "tenacity",
    "transformers",
    "vllm",
    "yaml",
)
MARK = "ROUTER_R1_IN_VENV"


def lacks_modules():
    return sys.version_info < (3, 11) or any(importlib.util.find_spec(name) is None for name in NEEDED)


def enter_environment():
    """Replace this process by the environment's Python, running this file with the same arguments."""
    if os.environ.get(MARK):
        sys.exit("error: the project's environment is incomplete; repair it with: bash scripts/setup.sh")
    venv = os.environ.get("ROUTER_R1_VENV") or os.path.join(ROOT, ".venv")
    setup = ["bash", os.path.join(ROOT, "scripts", "setup.sh"), "--quiet", "--venv", venv]
    made = subprocess.run(setup, stdout=sys.stderr)
    if made.returncode:
        sys.exit(made.returncode)
    python = os.path.join(venv, "bin", "python")
    os.execve(python, [python, os.path.abspath(__file__), *sys.argv[1:]], dict(os.environ, **{MARK: "1"}))


if __name__ == "__main__":
    if lacks_modules():
        enter_environment()
    sys.path.insert(0, ROOT)
    from router_r1.evaluation.ask import main

    sys.exit(main())
