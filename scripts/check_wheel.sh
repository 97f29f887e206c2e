#!/usr/bin/env bash
# Build sdist and wheel, install the wheel into an environment of its own, and try the commands there in an empty folder.
#
#   bash scripts/check_wheel.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec bash scripts/run_tests.sh tests/integration/setup/test_wheel.py
