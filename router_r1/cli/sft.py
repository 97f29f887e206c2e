"""`router-r1 sft`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from router_r1.cli.running import exit_code_of


def sft(
    *overrides: Annotated[str, Parameter(help="key=value, of verl/sft.yaml", show=True)],
    data: tuple[Path, ...],
    out: Path,
    model_path: str | None = None,
    dry_run: bool = False,
) -> int:
    """Fine-tune a model to answer at once, from questions and their golden answers: the baseline SFT, by veRL's SFT
    trainer. `bench --methods sft:DIR` compares it.

    The same command goes on where it was stopped.

    Parameters
    ----------
    data
        Question files, parquet, of training questions alone.
    out
        Folder for it; --model-path takes it, too.
    model_path
        Hugging Face folder, hub id, run or checkpoint that it goes on from (default: the shipped tiny policy).
    dry_run
        Check everything, print the configuration, start nothing.
    """

    def run() -> None:
        from omegaconf import OmegaConf
        from rich.console import Console

        from router_r1.sim.tiny_policy import SHIPPED_POLICY
        from router_r1.training.sft import fine_tune, plan_sft

        plan = plan_sft(data, model_path or str(SHIPPED_POLICY), out, overrides)
        if dry_run:
            print(OmegaConf.to_yaml(plan.config))
            return
        fine_tune(plan, Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120))

    return exit_code_of(run, how_to_go_on=lambda: "the same command goes on")
