"""`router-r1 compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError


def compare(
    *runs: Path, paper: Literal["qwen", "llama"] | None = None, out: Path = Path("results", "comparison")
) -> int:
    """Put several benchmarks side by side, in one table and one picture.

    Parameters
    ----------
    runs
        Folders of results of `bench`.
    paper
        Add the figures that the Router-R1 paper gives for this base model.
    out
        Folder for table and picture.
    """

    def run() -> None:
        from router_r1.benchmark.comparison import write_comparison

        if not runs:
            raise ConfigError("command line", "RUNS", None, "are needed: folders of results of bench")
        write_comparison(runs, out, paper=paper)

    return exit_code_of(run)
