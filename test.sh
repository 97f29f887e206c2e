#!/usr/bin/env bash
# Benchmark a trained router on test sets: EM, F1, cost and routes per data set and over all, greedy by default.
#
#   bash test.sh [--run NAME | --model-path DIR | --base-url URL...] [--data FILE...] [--pool FILE] [--out DIR] [--resume] [--help]
#   bash test.sh compare RUN RUN... [--paper qwen]
#   bash test.sh --methods all|NAME,NAME,... [--scores FILE] [--alphas 0,0.4] [...]    several methods (docs/comparing.md)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export ROUTER_R1_VENV=${ROUTER_R1_VENV:-$root/.venv}
bash "$root/scripts/setup.sh" --quiet
[ "${1:-}" = compare ] || set -- bench "$@"
exec "$ROUTER_R1_VENV/bin/python" -m router_r1 "$@"
