#!/usr/bin/env bash
# A training on several nodes under Slurm: a Ray cluster for the job, the training on its first node, and once more after a preemption.
#
#   sbatch --nodes=2 --gpus-per-node=8 scripts/cluster/slurm.sh experiment=qwen2.5_3b name=my_run
#
# Start it from the project's folder, which must be on storage that all nodes share, with the keys of the candidates exported. Give
# the run a name: the job that is requeued goes on under it. docs/scaling.md#several-machines has the walk-through.
#SBATCH --job-name=router-r1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@900
set -euo pipefail

port=${RAY_PORT:-6379}
nodes=${SLURM_JOB_NUM_NODES:?start this with sbatch}
gpus=${SLURM_GPUS_ON_NODE:?ask for GPUs: sbatch --gpus-per-node=8}
venv=${ROUTER_R1_VENV:-$PWD/.venv}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1}')

bash scripts/setup.sh --gpu --quiet
# Ray lets in only who has this token; the home folder of many clusters is shared, and the environment reaches every node anyway.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$("$venv/bin/python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE RAY_AUTH_TOKEN

srun --nodes=1 --ntasks=1 --nodelist="$first" --overlap \
    "$venv/bin/ray" start --head --node-ip-address="$address" --port="$port" --num-gpus="$gpus" --disable-usage-stats --block &
if [ "$nodes" -gt 1 ]; then
    srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$first" --overlap \
        "$venv/bin/ray" start --address="$address:$port" --num-gpus="$gpus" --disable-usage-stats --block &
fi

# The training itself, on the first node: until all nodes have joined, it is refused in one line, and asked again.
export RAY_ADDRESS=$address:$port
srun --nodes=1 --ntasks=1 --nodelist="$first" --overlap "$venv/bin/python" - "$nodes" <<'PYTHON'
import sys, time, ray

deadline = time.monotonic() + 600
while True:
    try:
        ray.init(logging_level="ERROR", log_to_driver=False)
        joined = sum(node["Alive"] for node in ray.nodes())
        ray.shutdown()
        if joined >= int(sys.argv[1]):
            break
    except ConnectionError:
        joined = 0
    if time.monotonic() > deadline:
        sys.exit(f"error: {joined} of {sys.argv[1]} nodes joined the Ray cluster within ten minutes")
    time.sleep(5)
PYTHON

srun --nodes=1 --ntasks=1 --nodelist="$first" --overlap \
    "$venv/bin/python" -m router_r1 train --restarts 3 platform=gpu "trainer.nnodes=$nodes" "trainer.n_gpus_per_node=$gpus" resume=auto "$@" &
training=$!
trap 'kill -TERM "$training" 2>/dev/null || true' TERM # srun hands it on: finish the step, save, end with 75

code=0
wait "$training" || code=$?
while kill -0 "$training" 2>/dev/null; do # the wait was cut short by the signal
    code=0
    wait "$training" || code=$?
done
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
