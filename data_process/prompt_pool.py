#!/usr/bin/env python3
"""Descriptors and prompts of a pool: python data_process/prompt_pool.py describe|show --pool FILE [--help]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from router_r1 import launcher

if __name__ == "__main__":
    launcher.enter("cyclopts", "openai", "pyarrow", "pydantic", "rich", "tenacity", "transformers", "yaml")
    from router_r1.cli import main

    sys.exit(main(["pool", *sys.argv[1:]]))
