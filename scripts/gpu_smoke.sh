#!/usr/bin/env bash
# Does a training work on this machine? Two steps of a small model, the trainer killed after the first one is saved, and resumed.
# About ten minutes on a GPU, and free of cost. Passes, or says what failed.
#
#   bash scripts/gpu_smoke.sh [key=value ...]       further overrides; platform=gpu unless another one is given
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export ROUTER_R1_VENV=${ROUTER_R1_VENV:-$root/.venv}
bash "$root/scripts/setup.sh" --quiet
exec "$ROUTER_R1_VENV/bin/python" "$root/scripts/gpu_smoke.py" "$@"
