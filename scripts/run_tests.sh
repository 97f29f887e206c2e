#!/usr/bin/env bash
# The project's tests, in the project's own environment, which is made first if it is not there.
#
#   bash scripts/run_tests.sh [PYTEST ARGUMENT...]         everything: linters, types, quick tests, engines, training, end to end
#   bash scripts/run_tests.sh nightly                      the longest proofs, which the line above leaves out
#   bash scripts/run_tests.sh quick [PYTEST ARGUMENT...]   what to run while writing code: linters, types, the unit tests
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
export ROUTER_R1_VENV=${ROUTER_R1_VENV:-$root/.venv}

part=all
case ${1:-} in
quick | nightly)
    part=$1
    shift
    ;;
esac

bash scripts/setup.sh --dev
python=$ROUTER_R1_VENV/bin/python

# Tests use the small machines they run on better with one thread per process, and must not ask a model hub for anything.
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1

"$python" -m ruff check --quiet .
"$python" -m ruff format --check --quiet .
"$python" -m codespell_lib
"$python" -m mypy
quick=(-m "not slow" -n auto --maxprocesses=4 --dist loadfile)
if [ "$part" = quick ]; then
    exec "$python" -m pytest "${quick[@]}" --durations=10 tests/unit "$@"
fi
if [ "$part" = nightly ]; then
    exec "$python" -m pytest -m nightly -n 2 --dist loadfile --durations=5 "$@"
fi
if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi
"$python" -m pytest "${quick[@]}"
# Two at a time: an engine starts one process after another, and so keeps one core busy.
exec "$python" -m pytest -m "slow and not nightly" -n 2 --dist loadfile --durations=25
