#!/usr/bin/env python3
"""Training questions: python data_process/qa_train_merge.py --data-sources nq,hotpotqa --model qwen [--help]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from router_r1 import launcher

if __name__ == "__main__":
    launcher.enter("cyclopts", "openai", "pyarrow", "pydantic", "rich", "yaml")
    from router_r1.cli import main

    sys.exit(main(["data", "train", *sys.argv[1:]]))
