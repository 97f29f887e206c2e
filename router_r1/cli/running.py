"""What all commands have in common: one line for an error, and a standard output that holds results only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from router_r1.errors import BudgetSpent, ConfigError
from router_r1.exit_codes import ExitCode
from router_r1.printable import printable
from router_r1.runs import SETTING_FILE

_OPTIONAL = {
    **dict.fromkeys(("datasets", "fastapi", "jinja2", "matplotlib", "pyarrow", "sqlalchemy"), "local"),
    **dict.fromkeys(("transformers", "uvicorn"), "local"),
    **dict.fromkeys(("ray", "torch", "verl", "vllm"), "cpu"),
    **dict.fromkeys(("safetensors", "scipy", "sklearn", "skops"), "methods"),
}
"""Module -> the set that has it."""


def exit_code_of(command: Callable[[], object], *, how_to_go_on: Callable[[], str] = str) -> int:
    """Run a command; its exit code. What went wrong is told on standard error in one line.

    Args:
        how_to_go_on: what to say after Ctrl-C, a failure or a spent budget; by default nothing.
    """
    try:
        command()
    except ConfigError as fault:
        print(printable(f"error: {fault}"), file=sys.stderr)
        return ExitCode.REFUSED
    except RuntimeError as fault:
        print(printable("; ".join(filter(None, [f"error: {fault}", how_to_go_on()]))), file=sys.stderr)
        return ExitCode.BUDGET_SPENT if isinstance(fault, BudgetSpent) else ExitCode.FAILED
    except ModuleNotFoundError as fault:
        if fault.name not in _OPTIONAL:
            raise
        needs = f"{fault.name} is not installed; this needs it: pip install 'router-r1[{_OPTIONAL[fault.name]}]'"
        print(f"error: {needs}", file=sys.stderr)
        return ExitCode.REFUSED
    except KeyboardInterrupt:
        print("; ".join(filter(None, ["interrupted", how_to_go_on()])), file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


def how_to_resume(folder: Sequence[Path]) -> str:
    """For `exit_code_of`, of a command whose results go on growing in a folder.

    Args:
        folder: the one, or none as long as it is not known; only one that has been begun can be gone on with.
    """
    begun = folder and (folder[0] / SETTING_FILE).exists()
    return f"go on with --resume --out {folder[0]}" if begun else ""


@contextmanager
def results_only() -> Iterator[IO[str]]:
    """The real standard output, while everything else that writes to it, child processes included, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(os.dup(kept), "w", encoding="utf-8", errors="replace") as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
