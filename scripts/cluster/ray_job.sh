#!/usr/bin/env bash
# A training on a Ray cluster that runs already (KubeRay, `ray up`, a colleague's), by `ray job submit`.
#
#   bash scripts/cluster/ray_job.sh http://HEAD:8265 2 8 experiment=qwen2.5_3b name=my_run      2 nodes of 8 GPUs
#
# The project, with its environment, must lie under the same path on all nodes ($ROUTER_R1_ROOT there, by default as here). The keys of
# the candidates must be in the environment of `ray start` on the head node: a submitted job's environment is shown on the dashboard.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,/^set -/{/^#/!d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
address=$1 nodes=$2 gpus=$3
shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
root=${ROUTER_R1_ROOT:-$here}
venv=${ROUTER_R1_VENV:-$here/.venv}

# On the head node RAY_ADDRESS is set by Ray itself, for the entrypoint. No working directory is sent along: the nodes would train what
# was copied then, and not what lies there.
exec "$venv/bin/ray" job submit --address "$address" -- \
    env --chdir="$root" "$root/.venv/bin/python" -m router_r1 train --restarts 3 platform=gpu \
    "trainer.nnodes=$nodes" "trainer.n_gpus_per_node=$gpus" "$@"
