"""`router-r1 doctor`: what this machine and this environment have."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from router_r1.cli.running import exit_code_of
from router_r1.machine import accelerators, memory_gb
from router_r1.project_files import project_root
from router_r1.runs import package_versions

_SETS = {
    "questions, simulated pool, reports": ("datasets", "fastapi", "jinja2", "matplotlib", "pyarrow", "uvicorn"),
    "policies": ("torch", "transformers", "vllm"),
    "training": ("hydra", "ray", "verl", "tensordict"),
}


def doctor() -> int:
    """Show what this machine and this environment have, and what a missing package is needed for."""
    return exit_code_of(_report)


def _report() -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    table.add_row("cores, memory", f"{os.cpu_count()}, {memory_gb():.0f} GB")
    table.add_row("free disk here", f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB")
    table.add_row("NVIDIA GPUs", str(accelerators()))
    table.add_row("project files", str(project_root()))
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in package_versions().items()))
    for purpose, modules in _SETS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        table.add_row(purpose, f"missing: {', '.join(missing)}" if missing else "all there")
    Console(highlight=False, soft_wrap=True).print(table)
