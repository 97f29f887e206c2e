"""What the doctor, and the set-up before it downloads, say of hardware and system; nvidia-smi is the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from router_r1.doctor import machine
from router_r1.doctor.check import Check, Status

H100 = "NVIDIA H100 80GB HBM3, 81559, 580.95.05, 9.0"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an nvidia-smi that says the given lines in front of all others."""

    def make(*lines: str, code: int = 0) -> None:
        file = tmp_path / "bin" / "nvidia-smi"
        file.parent.mkdir(exist_ok=True)
        text = "\n".join(lines)
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")

    return make


def told(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_driver_that_runs_the_sets_cuda_is_sound(nvidia_smi):
    nvidia_smi(H100, H100)
    checks = machine.check_gpus()
    assert {check.status for check in checks} == {Status.OK}
    assert told(checks, "GPUs").found.startswith("2 x NVIDIA H100 80GB HBM3 80 GiB")
    assert told(checks, "driver").found == "580.95.05, which runs CUDA 13.0"


def test_an_older_driver_is_a_failure_that_says_which_is_wanted(nvidia_smi):
    nvidia_smi(H100.replace("580.95.05", "535.129.03"))
    driver = told(machine.check_gpus(), "driver")
    assert (driver.status, driver.found) == (Status.FAILURE, "535.129.03")
    assert "580 or newer" in driver.remedy


def test_a_gpu_without_bfloat16_is_a_failure(nvidia_smi):
    nvidia_smi("Tesla V100-SXM2-32GB, 32768, 580.95.05, 7.0")
    assert told(machine.check_gpus(), "compute capability").status is Status.FAILURE


def test_a_driver_that_does_not_answer_is_told_in_its_own_words(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "more", code=9)
    (driver,) = machine.check_gpus()
    assert (driver.status, driver.name) == (Status.FAILURE, "driver")
    assert driver.found.startswith("NVIDIA-SMI has failed")


def test_a_driver_without_gpus_is_a_failure(nvidia_smi):
    nvidia_smi("")
    (gpus,) = machine.check_gpus()
    assert gpus.status is Status.FAILURE
    assert "--gpus all" in gpus.remedy


def test_no_driver_is_no_failure_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (gpus,) = machine.check_gpus()
    assert gpus.status is Status.SKIPPED


def test_a_disk_is_measured_where_the_folder_will_be(tmp_path):
    assert machine.check_disk(tmp_path / "not" / "yet", 0.0).status is Status.OK
    full = machine.check_disk(tmp_path, 1e9)
    assert full.status is Status.FAILURE
    assert str(tmp_path) in full.found


def test_shared_memory_that_is_not_there_is_a_failure(tmp_path):
    assert machine.check_shm(tmp_path / "shm").status is Status.FAILURE


@pytest.mark.parametrize(
    ("limit", "status"), [(512, Status.FAILURE), (4096, Status.WARNING), (65_536, Status.OK), (-1, Status.OK)]
)
def test_open_files(limit, status):
    assert machine.check_files(limit).status is status


def test_too_few_cpus_for_the_gpus_is_a_failure_that_says_how_many_gpus_would_do():
    cpus = machine.usable_cpus()
    assert machine.check_cpus(0).status is Status.OK
    short = machine.check_cpus(cpus)  # three a GPU are wanted
    assert short.status is Status.FAILURE
    assert f"ask for {3 * cpus} CPUs" in short.remedy


def test_too_little_memory_names_the_command_that_plans():
    assert machine.check_memory(0.0).status is Status.OK
    assert "router-r1 plan" in machine.check_memory(1e6).remedy


def test_a_python_that_no_set_is_for_is_a_failure():
    system = told(machine.check_system(minors=(5,)), "system")
    assert system.status is Status.FAILURE
    assert "PYTHON=" in system.remedy


def test_as_a_command_it_says_what_is_amiss_and_fails(nvidia_smi, project_root, tmp_path):
    nvidia_smi(H100.replace("580.95.05", "535.129.03"))
    done = subprocess.run(
        [sys.executable, "-m", "router_r1.doctor.machine", str(tmp_path)],
        cwd=project_root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failure: driver: 535.129.03; CUDA 13.0 of the GPU set wants 580 or newer" in done.stdout
