#!/usr/bin/env python3
"""Ask a trained router: python infer_vllm.py [--question "Who wrote it?" | --questions FILE] [--help]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from router_r1 import launcher

if __name__ == "__main__":
    core = ("aiohttp", "cyclopts", "numpy", "openai", "prometheus_client", "pydantic", "rich", "tenacity", "yaml")
    launcher.enter(*core, "transformers", "vllm")
    from router_r1.cli import main

    sys.exit(main(["ask", *sys.argv[1:]]))
