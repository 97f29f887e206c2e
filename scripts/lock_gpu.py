#!/usr/bin/env python3
"""Write requirements/gpu.lock from two resolutions of the GPU set, one for each Python that it is for.

To move a pin: change it in pyproject.toml, or in the lock, and then, with uv (no GPU, and no wheel is downloaded):

    printf '%s\n' hatchling editables wheel ninja psutil >build.txt     # what the set-up builds with
    sed -n 's/ --hash.*//p' requirements/gpu.lock >kept.txt             # all other pins stay; take out what shall move
    for python in 3.11 3.12; do
        uv pip compile pyproject.toml --extra gpu build.txt --constraints kept.txt --python-version $python \
            --python-platform x86_64-manylinux_2_31 --format pylock.toml --output-file pylock.$python.toml
    done
    python scripts/lock_gpu.py pylock.3.11.toml pylock.3.12.toml >gpu.lock.new

The header of the lock is kept. tests/unit/setup/test_gpu_lock.py says what must hold of it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements" / "gpu.lock"
APART = {"flash-attn", "router-r1"}
"""Not in the lock: flash-attn has files of its own, and the project is installed from its folder."""


def main(files: list[str]) -> None:
    if not files:
        sys.exit(__doc__)
    resolutions = [_packages(Path(file)) for file in files]
    versions = [{name: package["version"] for name, package in found.items()} for found in resolutions]
    if any(other != versions[0] for other in versions):
        differing = {name for other in versions for name, _ in set(other.items()) ^ set(versions[0].items())}
        sys.exit(f"one lock is for both Pythons, and their versions differ: {', '.join(sorted(differing))}")
    for line in LOCK.read_text().splitlines():
        if line.startswith("#"):
            print(line)
    for name in sorted(versions[0]):
        hashes = dict.fromkeys(digest for found in resolutions for digest in _hashes(found[name]))
        print(f"{name}=={versions[0][name]} " + " ".join(f"--hash=sha256:{digest}" for digest in hashes))


def _packages(file: Path) -> dict[str, dict[str, Any]]:
    """Name -> its entry."""
    found = tomllib.loads(file.read_text())["packages"]
    return {package["name"]: package for package in found if package["name"] not in APART}


def _hashes(package: dict[str, Any]) -> list[str]:
    """Of the wheels that fit Linux on x86-64, and of the source where there are none."""
    wheels = [wheel for wheel in package.get("wheels", []) if re.search(r"-(any|.*x86_64)\.whl$", wheel["url"])]
    return [file["hashes"]["sha256"] for file in wheels or [package["sdist"]]]


if __name__ == "__main__":
    main(sys.argv[1:])
