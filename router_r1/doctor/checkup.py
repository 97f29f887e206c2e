"""All checks, in the order in which a person would mend what they find."""

from __future__ import annotations

from pathlib import Path

from router_r1.doctor import candidates, cluster, environment, machine
from router_r1.doctor.check import Check, ok, skipped
from router_r1.doctor.processes import check_processes
from router_r1.machine import accelerators, memory_gb
from router_r1.pool import NO_ADDRESS, RoutingPool, load_pool
from router_r1.project_files import pool_file
from router_r1.runs import package_versions

RUNS_GB = 20.0
"""Of a small model two checkpoints and their logs; `router-r1 plan` tells what a larger one needs."""


def checkup(
    pool: str | None,
    model: str | None,
    runs: Path,
    ray_address: str | None,
    *,
    quick: bool = False,
    ask_candidates: bool = False,
) -> list[Check]:
    """Run all checks.

    Args:
        pool: name or file; None for no check of keys and limits.
        model: hub id that is to be trained.
        runs: where runs go.
        ray_address: of a cluster; None for RAY_ADDRESS.
        quick: start no other process.
        ask_candidates: ask every candidate a word.

    Raises:
        ConfigError: the pool's file.
    """
    loaded = _load(pool) if pool else None
    gpus = accelerators()
    checks = [
        *machine.check_system((11, 12, 13) if not gpus else (12, 11)),
        *machine.check_gpus(),
        machine.check_disk(runs.absolute(), RUNS_GB, "disk", "for checkpoints"),
        machine.check_memory() if gpus else ok("memory", f"{memory_gb():.0f} GB"),
        machine.check_shm(),
        machine.check_cpus(gpus),
        machine.check_files(),
        ok("packages", ", ".join(f"{name} {version}" for name, version in package_versions().items())),
        *environment.check_packages(),
    ]
    if quick:
        checks.append(skipped("kernels, all-reduce, weight exchange", "--quick leaves them out"))
    else:
        checks += [*environment.check_kernels(gpus), *check_processes(gpus)]
    checks.append(environment.check_hub_token(model))
    if loaded:
        checks += candidates.check_keys(loaded)
        checks += [candidates.check_limits(loaded), *candidates.check_answers(loaded, ask=ask_candidates)]
    else:
        checks.append(skipped("candidates", "no pool is named", "--pool paper looks at keys and limits"))
    variables = candidates.key_variables(loaded) if loaded else []
    return checks + cluster.check_cluster(ray_address, runs, variables)


def _load(pool: str) -> RoutingPool:
    """The pool; a simulated one has no address before a training serves it."""
    file = pool_file(pool)
    loaded = load_pool(file, base_url=NO_ADDRESS)
    return loaded if loaded.served_here else load_pool(file)
