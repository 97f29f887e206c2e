"""`router-r1 doctor`: what this machine and this environment have."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

from router_r1.cli.running import exit_code_of
from router_r1.machine import accelerators, memory_gb
from router_r1.project_files import project_root
from router_r1.runs import package_versions

_SETS = {
    "for data and reports": ("datasets", "fastapi", "jinja2", "matplotlib", "pyarrow", "transformers", "uvicorn"),
    "for policies": ("torch", "vllm"),
    "for training": ("hydra", "ray", "verl", "tensordict"),
}


def doctor() -> int:
    """Show what this machine and this environment have, and what a missing package is needed for."""
    return exit_code_of(_report)


def _report() -> None:
    versions = package_versions()
    facts = {
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gb():.0f} GB",
        "free disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB in this folder",
        "NVIDIA GPUs": str(accelerators()),
        "pools, experiments": str(project_root() / "configs"),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    for purpose, modules in _SETS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        facts[purpose] = f"missing: {', '.join(missing)}" if missing else "all there"
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")
