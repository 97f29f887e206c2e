"""`router-r1 train`, which `bash train.sh` calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from router_r1.cli.options import SkipPreflight
from router_r1.cli.running import exit_code_of
from router_r1.exit_codes import ExitCode


def train(
    *overrides: Annotated[str, Parameter(help="key=value", show=True)],
    dry_run: bool = False,
    skip_preflight: SkipPreflight = False,
    runs: Path | None = None,
    restarts: int = 0,
) -> int:
    """Train a router: the paper's setting on GPUs, the tiny policy in a simulated world without.

    Any key of verl/router_r1.yaml and of veRL's own configuration is an override, as Hydra writes it:
    experiment=nq_hotpotqa_cpu algorithm.adv_estimator=grpo router_r1.reward.cost_coe=0.6. With resume=auto it goes on
    from the last whole checkpoint.

    Parameters
    ----------
    dry_run
        Compose and check everything, print the plan, start nothing.
    skip_preflight
        Start without asking every candidate of the pool a word first.
    runs
        Folder for the runs (default: runs, in the current folder).
    restarts
        How often to start again, from the newest checkpoint, when the training fails; a new checkpoint counts anew.
    """
    given = [*([f"runs_dir={runs}"] if runs else []), *overrides]
    codes: list[int] = []

    def run() -> None:
        from router_r1.runs import latest_checkpoint, step_of
        from router_r1.training.plan import dry_run as show
        from router_r1.training.plan import make_plan
        from router_r1.training.restarts import with_restarts
        from router_r1.training.stopping import notice_file
        from router_r1.training.supervision import run as start

        # A table in a log file or a pipe is not cut to the 80 columns of a terminal that is not there.
        console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
        plan = make_plan(given, dry_run=dry_run)
        if dry_run:
            show(plan, console)
            return

        def start_once(resumes: bool) -> int:
            again = ["resume=auto", f"name={plan.run_dir.name}", f"runs_dir={plan.run_dir.parent}"]
            return start(make_plan(again) if resumes else plan, console, skip_preflight=skip_preflight)

        code = with_restarts(
            start_once,
            restarts=restarts,
            saved_step=lambda: step_of(latest_checkpoint(plan.run_dir)),
            asked_to_stop=lambda: notice_file(plan.run_dir).exists(),
            tell=lambda words: console.print(words, markup=False),
        )
        codes.append(code)

    return exit_code_of(run) or (codes[0] if codes else ExitCode.DONE)
