"""`python -m router_r1.evaluation`: see `benchmark`."""

import sys

from router_r1.evaluation.benchmark import main

if __name__ == "__main__":  # the engine's processes import this module again
    sys.exit(main())
