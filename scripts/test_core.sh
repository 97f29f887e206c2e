#!/usr/bin/env bash
# The tests of the core, in an environment without torch, Ray or an engine, for each Python of 3.11, 3.12 and 3.13 that is there.
#
#   bash scripts/test_core.sh [PYTHON...]      an interpreter, instead of those that are found
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# = 0 ]; then
    for name in python3.11 python3.12 python3.13; do
        if command -v "$name" >/dev/null && "$name" -c '' 2>/dev/null; then set -- "$@" "$name"; fi
    done
fi
[ $# -gt 0 ] || { echo "test_core: error: no Python 3.11, 3.12 or 3.13 found; name one" >&2; exit 1; }

core=(tests/unit/api tests/unit/cli tests/unit/protocol tests/unit/prompts tests/unit/pool tests/unit/rewards tests/unit/routing tests/integration/routing)
pins=$(grep -E '^(pytest|pytest-asyncio|pytest-timeout|pytest-xdist|hypothesis)==' requirements/dev.lock)
for python in "$@"; do
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$python" -m venv "$folder"
    echo "test_core: $("$folder/bin/python" --version)" >&2
    # shellcheck disable=SC2086  # one word per pin
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check . $pins
    "$folder/bin/python" -m pytest -q -m "not slow" -n auto --maxprocesses=4 "${core[@]}" --ignore tests/integration/routing/test_restart.py
    rm -rf "$folder"
done
