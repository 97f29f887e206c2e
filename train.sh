#!/usr/bin/env bash
# Train a router: the tiny policy in the simulated world where there is no GPU, a 3B model with the paper's settings where there is one.
#
#   bash train.sh [--dry-run] [key=value ...]      every key of verl/router_r1.yaml, and of veRL's own configuration
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export ROUTER_R1_VENV=${ROUTER_R1_VENV:-$root/.venv}
bash "$root/scripts/setup.sh" --quiet
exec "$ROUTER_R1_VENV/bin/python" -m router_r1 train "$@"
