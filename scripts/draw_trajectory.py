r"""Draw one trajectory as an SVG picture (`router_r1.benchmark.drawing`).

    router-r1 ask --json "Who composed the one who invented Bosen?" > trajectory.json
    python scripts/draw_trajectory.py trajectory.json --out trajectory.svg

Without arguments it draws `docs/images/trajectory.svg` from the record that is kept beside it. That one is real: the
router that `bash train.sh` trains (seed 1) was asked

    router-r1 ask --json --cost-weight 0.8 "Who owns the one who sang Bavir?"
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from router_r1.benchmark.drawing import draw

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a file that holds no record."""
    parser = argparse.ArgumentParser(description="Draw one trajectory as an SVG picture.")
    parser.add_argument("record", nargs="?", type=Path, default=IMAGES / "trajectory.json")
    parser.add_argument("--out", type=Path, help="default: beside the record, with .svg")
    arguments = parser.parse_args(argv)
    try:
        picture = draw(json.loads(arguments.record.read_text(encoding="utf-8")))
    except OSError as fault:
        print(f"error: {arguments.record}: cannot be read: {fault.strerror}", file=sys.stderr)
        return 2
    except (ValueError, KeyError, TypeError, IndexError) as fault:
        print(f"error: {arguments.record}: is not one object of router-r1 ask --json: {fault!r}", file=sys.stderr)
        return 2
    (arguments.out or arguments.record.with_suffix(".svg")).write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
