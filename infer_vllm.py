#!/usr/bin/env python3
"""Ask a trained router: python infer_vllm.py [--question "Who wrote it?" | --questions FILE] [--help]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from router_r1 import launcher

if __name__ == "__main__":
    launcher.enter("numpy", "openai", "pydantic", "rich", "tenacity", "transformers", "vllm", "yaml")
    from router_r1.evaluation.ask import main

    sys.exit(main())
