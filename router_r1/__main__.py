"""`router_r1 COMMAND`, or `python -m router_r1 COMMAND`: what is neither training nor evaluation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from router_r1.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. What a user wrote wrong is told in one line."""
    from router_r1.cli.cache import add_cache_commands

    parser = argparse.ArgumentParser(prog="router_r1", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_cache_commands(commands.add_parser("cache", help="the replies of candidates that are kept on disk"))
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ConfigError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
