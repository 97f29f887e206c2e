"""requirements/gpu.lock: what veRL, vLLM, torch and flash-attn ask for, in versions that the tests run with."""

from __future__ import annotations

import json
import re
import tomllib
from collections import deque
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

METADATA: dict[str, list[str]] = json.loads(Path(__file__).with_name("gpu_metadata.json").read_text())["requirements"]

DECIDED_BY_VERL = {"torch", "transformers", "xgrammar", "apache-tvm-ffi", "setuptools"}
"""Versions that veRL's own pins of torch, vLLM and transformers decide: they are not those of the CPU set."""


def pins(file: Path) -> dict[str, Version]:
    """Canonical name -> version."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", file.read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


@pytest.fixture(scope="module")
def gpu(project_root: Path) -> dict[str, Version]:
    return pins(project_root / "requirements/gpu.lock") | pins(project_root / "requirements/flash_attn_source.lock")


@pytest.fixture(scope="module")
def cpu(project_root: Path) -> dict[str, Version]:
    return pins(project_root / "requirements/cpu.lock")


def linux(python: str, extra: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": extra,
    }


def unmet(wanted: list[Requirement], has: dict[str, Version], python: str) -> list[str]:
    """What the requirements, and those of the packages whose metadata is recorded, lack in a set."""
    faults, queue, seen = [], deque((requirement, "") for requirement in wanted), set()
    while queue:
        requirement, extra = queue.popleft()
        if requirement.marker and not requirement.marker.evaluate(linux(python, extra)):
            continue
        name = canonicalize_name(requirement.name)
        version = has.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement} (has {version})")
        for wanted_extra in {"", *requirement.extras} - {e for n, e in seen if n == name}:
            seen.add((name, wanted_extra))
            queue += [(Requirement(text), wanted_extra) for text in METADATA.get(f"{name}=={version}", [])]
    return faults


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_lock_satisfies_what_the_project_verl_vllm_torch_and_flash_attn_ask_for(project_root, gpu, python):
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    asked = (
        project["dependencies"] + project["optional-dependencies"]["local"] + project["optional-dependencies"]["gpu"]
    )
    wanted = [Requirement(text) for text in asked if not text.startswith("router-r1")]
    assert unmet(wanted, gpu, python) == []


@pytest.mark.parametrize("package", ["torch", "vllm", "flash-attn", "verl"])
def test_the_recorded_metadata_is_of_the_locked_version(gpu, package):
    assert f"{package}=={gpu[package]}" in METADATA


@pytest.mark.parametrize(
    ("package", "version", "asks"),
    [("torch", "2.12.0", "torch==2.11.0"), ("numba", "0.66", "numba==0.65.0"), ("einops", None, "einops")],
)
def test_a_pin_that_breaks_a_requirement_is_found(gpu, package, version, asks):
    broken = {name: pin for name, pin in gpu.items() if name != package}
    if version:
        broken[package] = Version(version)
    faults = unmet([Requirement("verl[vllm,fsdp]==0.9.1")], broken, "3.12")
    assert any(fault.startswith(asks) for fault in faults), faults


def test_what_both_sets_have_is_of_the_same_version_but_for_what_verl_decides(gpu, cpu):
    differing = {name for name in gpu.keys() & cpu.keys() if gpu[name] != cpu[name]}
    assert differing == DECIDED_BY_VERL
    for package in ("verl", "ray", "transferqueue", "tensordict", "peft", "torchdata", "numpy", "hydra-core"):
        assert gpu[package] == cpu[package]


def test_every_line_has_a_hash_and_names_no_index(project_root):
    for name in ("gpu", "flash_attn_wheel", "flash_attn_source"):
        lines = [x for x in (project_root / f"requirements/{name}.lock").read_text().splitlines() if x[:1] not in "#"]
        assert lines
        assert [x for x in lines if not re.search(r"--hash=sha256:[0-9a-f]{64}", x)] == []
        assert [x for x in lines if "index-url" in x or "find-links" in x] == []


def test_the_flash_attn_wheel_is_of_the_locked_versions_and_of_python_3_12(project_root, gpu):
    text = (project_root / "requirements/flash_attn_wheel.lock").read_text()
    torch = ".".join(str(gpu["torch"]).split(".")[:2])
    assert f"flash_attn-{gpu['flash-attn']}%2Bcu130torch{torch}-cp312-cp312-linux_x86_64.whl" in text
