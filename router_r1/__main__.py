"""`python -m router_r1 COMMAND`: the same as `router-r1 COMMAND`."""

import sys

from router_r1.cli import main

if __name__ == "__main__":  # the engine's processes import this module again
    sys.exit(main())
