"""A Ray cluster: can it be reached, do its nodes share a disk, and do keys reach the actor that routes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from router_r1.doctor.check import Check, Status, failure, ok, skipped
from router_r1.doctor.machine import check_cpus, check_files, check_shm

if TYPE_CHECKING:
    from ray.actor import ActorHandle

REACH_TIMEOUT_S = 60.0


class NodeReport(TypedDict):
    """What a process on a node found."""

    canary: bool
    checks: list[Check]
    keys: dict[str, bool]
    versions: dict[str, str]


def look(canary: str, variables: Sequence[str], gpus: int) -> NodeReport:
    """Runs on the node: is the canary there, what is the node like, which keys does a process of Ray have."""
    from router_r1.runs import package_versions

    return NodeReport(
        canary=Path(canary).is_file(),
        checks=[check_shm(), check_files(), check_cpus(gpus)],
        keys={variable: bool(os.environ.get(variable, "").strip()) for variable in variables},
        versions=package_versions(),
    )


def check_token() -> Check:
    """Where this process takes Ray's token from. Ray 2.60 wants the same one on every node; it is never shown."""
    for variable in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(variable):
            return ok("Ray token", f"there is one ({variable})")
    if Path.home().joinpath(".ray", "auth_token").is_file():
        return ok("Ray token", "there is one (~/.ray/auth_token)")
    return skipped("Ray token", "none", "only where a cluster wants one: the same RAY_AUTH_TOKEN on every node")


def check_cluster(address: str | None, shared: Path, variables: Sequence[str]) -> list[Check]:
    """Every node of a cluster; nothing if none is named.

    Args:
        address: Ray's; None for that of RAY_ADDRESS.
        shared: the folder that runs go to, which every node must see under the same path.
        variables: of keys, which must reach the actor that routes.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        return [skipped("Ray cluster", "none is named", "--ray-address HOST:PORT, or export RAY_ADDRESS")]
    import ray

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as fault:  # Ray raises half a dozen kinds, and each means that it cannot be reached
        first = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        remedy = "start it (ray start --head), and give every node the same RAY_AUTH_TOKEN"
        return [check_token(), failure("Ray cluster", f"{address}: {first}", remedy)]
    try:
        return [check_token(), *_check_nodes(ray, shared, variables)]
    finally:
        ray.shutdown()


def _check_nodes(ray: Any, shared: Path, variables: Sequence[str]) -> list[Check]:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
    checks = [ok("Ray cluster", f"{len(nodes)} nodes, {gpus} GPUs")]
    shared.mkdir(parents=True, exist_ok=True)
    canary = shared.absolute() / f".canary-{uuid.uuid4().hex}"
    canary.touch()
    try:
        reports = {node["NodeManagerAddress"]: _ask(ray, node, str(canary), variables) for node in nodes}
    finally:
        canary.unlink()
    for address, report in reports.items():
        checks += _of_node(f"node {address}", report, shared.absolute())
    checks.append(_same_versions({address: r["versions"] for address, r in reports.items() if isinstance(r, dict)}))
    return checks + _check_route_actor(ray, variables)


def _ask(ray: Any, node: dict[str, Any], canary: str, variables: Sequence[str]) -> NodeReport | str:
    """A node's report, or why there is none."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(num_cpus=0)(look).options(scheduling_strategy=strategy)
    gpus = int(node["Resources"].get("GPU", 0))
    try:
        report: NodeReport = ray.get(task.remote(canary, list(variables), gpus), timeout=REACH_TIMEOUT_S)
    except Exception as fault:  # a missing package, a dead node, a timeout: whatever it is, is told of this node
        return f"{type(fault).__name__}: {(str(fault).strip().splitlines() or [''])[-1]}"
    return report


def _of_node(name: str, report: NodeReport | str, shared: Path) -> list[Check]:
    if isinstance(report, str):
        return [failure(name, report, "the project's environment must be at the same path on every node")]
    checks = [Check(f"{name}: {c.name}", c.status, c.found, c.remedy) for c in report["checks"]]
    bad = [check for check in checks if check.status is not Status.OK]
    if report["canary"]:
        return [ok(f"{name}: shared storage", f"sees {shared}"), *bad]
    remedy = "runs must be on a disk that all nodes share, at the same path: name one with --runs"
    return [failure(f"{name}: shared storage", f"does not see what was written to {shared}", remedy), *bad]


def _same_versions(versions: dict[str, dict[str, str]]) -> Check:
    differing = sorted({name for found in versions.values() for name, _ in found.items() ^ _first(versions).items()})
    if differing:
        return failure("versions", f"nodes differ in {', '.join(differing)}", "bash scripts/setup.sh on every node")
    return ok("versions", "the same on all nodes")


def _first(versions: dict[str, dict[str, str]]) -> dict[str, str]:
    return next(iter(versions.values()), {})


def _check_route_actor(ray: Any, variables: Sequence[str]) -> list[Check]:
    """Which keys an actor like that of the routes has. It starts where the training does: on this process's node."""
    if not variables:
        return []
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class KeyHolder:
        def has(self, names: list[str]) -> dict[str, bool]:
            return {name: bool(os.environ.get(name, "").strip()) for name in names}

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: ActorHandle = ray.remote(num_cpus=0)(KeyHolder).options(scheduling_strategy=here).remote()
    found: dict[str, bool] = ray.get(actor.has.remote(list(variables)), timeout=REACH_TIMEOUT_S)
    remedy = "export it in the shell that runs `ray start` on this node: processes of Ray have that shell's environment"
    return [
        ok(f"route actor: {name}", "set") if is_set else failure(f"route actor: {name}", "not set", remedy)
        for name, is_set in found.items()
    ]
