"""On which machines a training's processes run, and what these must share.

The trainer, the route services with their keys, cache, traces and metrics port, and the cost window are on the node of
the command that starts the training: there the keys are exported, and there a person looks. Training processes and
engines are where the GPUs are; veRL spreads its rollout workers over all nodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from router_r1.errors import ConfigError
from router_r1.project_files import project_root
from router_r1.training.batches import Cluster
from router_r1.training.shared_storage import refuse_unshared

_REMEDY = (
    "project, environment, model and runs_dir must be on storage that all nodes share, under the same path "
    "(docs/scaling.md#several-machines)"
)


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Where an actor is started: on the node of the process that calls this, or not at all."""
    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)


class TaskRunnerHere:
    """veRL's task runner class for `run_ppo`, which initialises Ray and then calls `remote`.

    The nodes are looked at first, so that nothing is loaded or asked on a cluster that cannot train; then the runner
    starts on this node, whose resources it does not count: a head node may offer none.
    """

    def __init__(self, task_runner: Any, config: DictConfig, options: dict[str, Any] | None = None) -> None:
        self._task_runner, self._config, self._options = task_runner, config, options or {}

    def options(self, **options: Any) -> TaskRunnerHere:
        return TaskRunnerHere(self._task_runner, self._config, {**self._options, **options})

    def remote(self) -> Any:
        check_nodes(self._config)
        return self._task_runner.options(num_cpus=0, scheduling_strategy=on_this_node(), **self._options).remote()


def check_nodes(config: DictConfig) -> None:
    """Refuse a cluster with too few GPUs, or whose nodes do not share what the run reads and writes.

    Raises:
        ConfigError: what is missing, and where.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = [(str(node["NodeManagerAddress"]), int(node["Resources"].get("GPU", 0))) for node in nodes]
    check_gpus(Cluster.of(config), sorted(gpus))
    if len(nodes) > 1:
        refuse_unshared(Path(config.run_dir), read_everywhere(config), remedy=_REMEDY)


def check_gpus(wanted: Cluster, found: list[tuple[str, int]]) -> None:
    """Refuse a cluster that has not `wanted.nodes` nodes of `wanted.per_node` GPUs: Ray would wait for them for ever.

    Args:
        found: address and number of GPUs of every node.

    Raises:
        ConfigError: with what the cluster has.
    """
    enough = sum(gpus // wanted.per_node for _, gpus in found)
    if enough >= wanted.nodes:
        return
    there = ", ".join(f"{node}: {gpus}" for node, gpus in found)
    remedy = f"the Ray cluster has not so many nodes of {wanted.per_node} GPUs each (GPUs by node: {there})"
    raise ConfigError("configuration", "trainer.nnodes", wanted.nodes, remedy)


def read_everywhere(config: DictConfig) -> list[Path]:
    """What the processes of every node read: the project, the user's terms of the reward, models that are on no hub."""
    models = {OmegaConf.select(config, key) for key in ("actor_rollout_ref.model.path", "critic.model.path")}
    folders = [Path(model) for model in sorted(filter(None, models)) if Path(model).is_dir()]
    terms = OmegaConf.select(config, "router_r1.reward.terms") or {}
    files = [Path(term.rpartition(":")[0]) for term in terms.values() if ".py:" in str(term)]
    return [project_root() / "verl" / "agent_loop.yaml", *folders, *files]
