"""`router-r1 plan`: what a training would need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from router_r1.cli.running import exit_code_of


def plan(
    *overrides: Annotated[str, Parameter(help="key=value, as train takes them", show=True)],
    model: str | None = None,
    gpus: str | None = None,
    runs: Path | None = None,
) -> int:
    """Tell what a training needs, and which settings make it fit: memory, disk, routes, money, time.

    Nothing is started, downloaded or asked. docs/plan.md says what is counted; nothing of it was checked on a GPU.

    Parameters
    ----------
    model
        Policy: a folder with config.json, or a hub id (default: the experiment's).
    gpus
        4xH100-80, 2x8xA100-40 (nodes x GPUs), 1x24 (GB); default: those of this machine.
    runs
        Folder with earlier runs, whose times are taken (default: runs, in the current folder).
    """
    given = [*([f"runs_dir={runs}"] if runs else []), *([f"actor_rollout_ref.model.path={model}"] if model else [])]

    def tell() -> None:
        from router_r1.training import configuration as cfg
        from router_r1.training.plan import make_plan
        from router_r1.training.sizing import estimate as sizing
        from router_r1.training.sizing.gpus import parse_gpus
        from router_r1.training.sizing.telling import show

        cluster = parse_gpus(gpus) if gpus else None
        if cluster:
            count = [f"trainer.n_gpus_per_node={cluster.per_node}", f"trainer.nnodes={cluster.nodes}"]
            given.extend(["platform=gpu", *count])
        config = cfg.resolve(make_plan([*given, *overrides], dry_run=True).config)
        found = sizing.estimate(config, cfg.pool_of(config), overrides, cluster)
        show(found, Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120))
        if found.memory and not found.memory.chosen.fits:
            sizing.refuse_the_cluster(found.memory)

    return exit_code_of(tell)
