"""scripts/setup.sh, run for real in a copy of the project, with an interpreter of the tests' own behind it.

That interpreter makes environments as `python -m venv` does (the directory, pyvenv.cfg, bin/python), and its
`-m pip install` writes down what it was asked: what the script decides shows without a network and in a moment.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

STAND_IN = r"""#!/usr/bin/env bash
# Answers as python3.11 does to the few things setup.sh asks of it. What pip is asked goes to $CALLS. The install with
# the text $PIP_FAILS_AT in it fails and says $PIP_SAYS; the one with $PIP_STOPS_AT hangs, as a download can.
metadata=$(cd "$(dirname "$0")" && pwd)/../lib/python3.11/site-packages/vllm-0.28.0+cpu.dist-info
case "$*" in
"-c import ensurepip") exit ${NO_ENSUREPIP:-0} ;;
"-m venv "*)
    venv=${!#}
    mkdir -p "$venv/bin" "$venv/lib/python3.11/site-packages"
    printf 'home = /usr/bin\nversion = 3.11.9\n' >"$venv/pyvenv.cfg"
    cp "$0" "$venv/bin/python"
    ;;
"-m pip "*install*)
    echo "$*" >>"$CALLS"
    if [ -n "${PIP_FAILS_AT:-}" ] && [[ "$*" == *"$PIP_FAILS_AT"* ]]; then
        [ -z "${PIP_SAYS:-}" ] || echo "$PIP_SAYS" >&2
        [[ "$*" == *--index-url* ]] || exit 1
    fi
    if [ -n "${PIP_STOPS_AT:-}" ] && [[ "$*" == *"$PIP_STOPS_AT"* ]]; then exec sleep 60; fi
    if [[ "$*" == *vllm_metadata* ]]; then
        mkdir -p "$metadata"
        touch "$metadata/METADATA" "$metadata/INSTALLER" "$metadata/RECORD"
    fi
    ;;
"-m router_r1.doctor.machine "*) exec "$REAL_PYTHON" "$@" ;;
*platform.python_version*) echo "stand-in (3.11.9)" ;;
esac
exit 0
"""


class Project:
    """A copy of what setup.sh reads, with an interpreter of its own."""

    def __init__(self, source: Path, root: Path) -> None:
        self.root, self.venv, self.calls_file = root, root / ".venv", root / "calls"
        for path in ("pyproject.toml", "scripts/setup.sh", "scripts/vllm_metadata/pyproject.toml", "requirements"):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source / path, target) if (source / path).is_dir() else shutil.copy(source / path, target)
        (root / "router_r1").symlink_to(source / "router_r1")  # of it the machine's checks
        self.python = root / "python3.11"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)

    def command(self, *arguments: str) -> list[str]:
        return ["bash", str(self.root / "scripts/setup.sh"), *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("ROUTER_R1_VENV", "PYTHON")}
        return kept | {"PYTHON": str(self.python), "CALLS": str(self.calls_file), "REAL_PYTHON": sys.executable} | more

    def setup(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        """What pip was asked since the last look."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def project(project_root: Path, tmp_path: Path) -> Project:
    return Project(project_root, tmp_path / "project")


@pytest.fixture
def nvidia_smi(tmp_path: Path) -> str:
    """A PATH on which a driver of CUDA 12 is found first."""
    file = tmp_path / "bin" / "nvidia-smi"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 535.129.03, 9.0'\n")
    file.chmod(0o755)
    return f"{file.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def installed(project: Project) -> Project:
    done = project.setup("--cpu")
    assert done.returncode == 0, done.stderr
    project.calls()
    return project


# ---------------------------------------------------------------- what is installed


def test_the_cpu_plan_names_no_cuda_package_and_never_resolves(project: Project) -> None:
    plan = project.setup("--cpu", "--dev", "--dry-run")
    installs = [line for line in plan.stdout.splitlines() if " install " in line]
    assert plan.returncode == 0, plan.stderr
    assert all("--no-deps" in line for line in installs)
    assert any("torch==2.13.0+cpu" in line for line in installs)
    for word in ("nvidia", "cuda", "triton", "flash-attn"):
        assert all(word not in line for line in installs)


def test_a_dry_run_changes_nothing(project: Project) -> None:
    before = sorted(project.root.rglob("*"))
    assert project.setup("--cpu", "--dry-run").returncode == 0
    assert sorted(project.root.rglob("*")) == before


def test_the_gpu_plan_installs_the_lock_by_its_hashes_and_then_flash_attn(project: Project) -> None:
    installs = [line for line in project.setup("--gpu", "--dry-run").stdout.splitlines() if " install " in line]
    assert all("--no-deps" in line for line in installs)
    assert installs[0].endswith(" pip==26.3")
    assert installs[1].endswith("setuptools==80.10.2")
    assert "--require-hashes" in installs[2]
    assert installs[2].endswith("requirements/gpu.lock")
    assert "--require-hashes" in installs[3]
    assert installs[3].endswith("requirements/flash_attn_wheel.lock")


def test_a_driver_that_is_too_old_is_refused_before_anything_is_downloaded(project: Project, nvidia_smi: str) -> None:
    done = project.setup("--gpu", PATH=nvidia_smi)
    assert done.returncode == 1
    assert "failure: driver: 535.129.03; CUDA 13.0 of the GPU set wants 580 or newer" in done.stderr
    assert "--unchecked installs it all the same" in done.stderr
    assert project.calls() == []
    assert not project.venv.exists()


def test_a_machine_that_does_not_fit_gets_the_set_if_somebody_insists(project: Project, nvidia_smi: str) -> None:
    done = project.setup("--gpu", "--unchecked", PATH=nvidia_smi)
    assert done.returncode == 0, done.stderr
    assert any("gpu.lock" in call for call in project.calls())


@pytest.fixture
def nvcc(tmp_path: Path) -> Callable[[str], str]:
    """A PATH on which a CUDA compiler of the given release is found first."""

    def make(release: str) -> str:
        file = tmp_path / "cuda" / "nvcc"
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}'\n")
        file.chmod(0o755)
        return f"{file.parent}{os.pathsep}{os.environ['PATH']}"

    return make


def without_wheel(project: Project, path: str) -> subprocess.CompletedProcess[str]:
    return project.setup(
        "--gpu", "--unchecked", PIP_FAILS_AT="flash_attn_wheel.lock", CUDA_HOME="/nowhere", PATH=path
    )  # fmt: skip


def test_flash_attn_is_compiled_with_bounded_jobs_where_no_wheel_fits(project: Project, nvcc) -> None:
    done = without_wheel(project, nvcc("13.0"))
    assert done.returncode == 0, done.stderr
    assert any("flash_attn_source.lock" in call for call in project.calls())
    jobs = re.search(r"MAX_JOBS=(\d+)", Path(f"{project.venv}.log").read_text())
    assert jobs
    assert 1 <= int(jobs[1]) <= (os.cpu_count() or 1)


def test_without_flash_attn_the_set_is_whole_and_says_what_trainings_do_then(project: Project, nvcc) -> None:
    done = without_wheel(project, nvcc("12.8"))
    assert done.returncode == 0, done.stderr
    assert "no flash-attn" in done.stderr
    assert "sdpa" in done.stderr
    assert not any("flash_attn_source.lock" in call for call in project.calls())
    assert (project.venv / ".router-r1/gpu.stamp").exists()


def test_a_first_run_installs_the_locked_set_without_dependencies(project: Project) -> None:
    done = project.setup("--cpu")
    calls = project.calls()
    assert done.returncode == 0, done.stderr
    assert all("--no-deps" in call for call in calls)
    assert calls[0].endswith(" pip==26.3")
    assert any("-r " + str(project.root / "requirements/cpu.lock") in call for call in calls)
    assert not any("dev.lock" in call for call in calls)
    assert "cpu set" in done.stderr
    assert done.stdout == ""


def test_a_python_without_ensurepip_fills_the_environment_with_its_own_pip(project: Project) -> None:
    done = project.setup("--cpu", NO_ENSUREPIP="1")
    assert done.returncode == 0, done.stderr
    assert project.calls()[0].startswith(f"-m pip --python {project.venv}/bin/python install pip==26.3")


def test_only_the_torch_line_ever_asks_pytorchs_own_index_and_only_when_nothing_else_has_it(project: Project) -> None:
    done = project.setup(
        "--cpu",
        PIP_FAILS_AT="torch==2.13.0+cpu",
        PIP_SAYS="ERROR: No matching distribution found for torch==2.13.0+cpu",
    )
    asked = [call for call in project.calls() if "index-url" in call]
    assert done.returncode == 0, done.stderr
    assert len(asked) == 1
    assert asked[0].endswith("/whl/cpu torch==2.13.0+cpu")


def test_a_failed_install_shows_the_end_of_pips_log_and_leaves_no_stamp(project: Project) -> None:
    done = project.setup("--cpu", PIP_FAILS_AT="cpu.lock", PIP_SAYS="ERROR: the disk is full")
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert list(project.venv.glob(".router-r1/*.stamp")) == []


# ---------------------------------------------------------------- the second run


def test_a_second_run_asks_pip_nothing_and_takes_a_moment(installed: Project) -> None:
    started = time.monotonic()
    done = installed.setup()
    assert done.returncode == 0
    assert time.monotonic() - started < 2
    assert installed.calls() == []
    assert "is ready" in done.stderr


def test_a_quiet_second_run_says_nothing(installed: Project) -> None:
    done = installed.setup("--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tools_for_tests_are_added_once_to_an_environment_that_lacks_them(installed: Project) -> None:
    assert installed.setup("--dev").returncode == 0
    calls = installed.calls()
    assert len(calls) == 1
    assert "dev.lock" in calls[0]
    assert installed.setup("--dev").returncode == 0
    assert installed.setup().returncode == 0
    assert installed.calls() == []


@pytest.mark.parametrize("changed", ["requirements/cpu.lock", "pyproject.toml", "scripts/vllm_metadata/pyproject.toml"])
def test_a_changed_dependency_file_is_installed_again(installed: Project, changed: str) -> None:
    with (installed.root / changed).open("a") as file:
        file.write("# changed\n")
    assert installed.setup().returncode == 0
    assert installed.calls() != []


def test_missing_vllm_metadata_is_made_again(installed: Project) -> None:
    metadata = installed.venv / "lib/python3.11/site-packages/vllm-0.28.0+cpu.dist-info"
    shutil.rmtree(metadata)
    assert installed.setup().returncode == 0
    assert (metadata / "METADATA").exists()


# ---------------------------------------------------------------- interruptions


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


def stuck_at(project: Project, text: str, times: int = 1) -> subprocess.Popen[bytes]:
    """setup.sh in a process group of its own, once so many of its pips hang at what has this text."""
    process = subprocess.Popen(
        project.command("--cpu"),
        env=project.environment(PIP_STOPS_AT=text),
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    wait_for(lambda: project.calls_file.exists() and project.calls_file.read_text().count(text) == times)
    return process


@pytest.fixture
def killed_in_mid_install(project: Project) -> Project:
    """setup.sh and its pip, killed while the lock file was being installed."""
    process = stuck_at(project, "cpu.lock")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.calls()
    return project


def test_ctrl_c_ends_both_of_the_pips_that_share_the_lock_between_them(project: Project) -> None:
    process = stuck_at(project, "half", times=2)
    os.killpg(process.pid, signal.SIGINT)

    def is_gone() -> bool:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(is_gone)
    project.calls()
    assert project.setup("--cpu").returncode == 0
    assert any("cpu.lock" in call for call in project.calls())


def test_the_pips_that_share_the_lock_have_every_package_of_it_between_them(installed: Project) -> None:
    halves = [(installed.venv / f".router-r1/half{half}.txt").read_text().splitlines() for half in (0, 1)]
    lock = (installed.root / "requirements/cpu.lock").read_text().splitlines()
    assert sorted(halves[0] + halves[1]) == sorted(line for line in lock if "==" in line)
    assert abs(len(halves[0]) - len(halves[1])) <= 1


def test_an_interrupted_install_is_resumed_in_the_same_environment(killed_in_mid_install: Project) -> None:
    project = killed_in_mid_install
    (project.venv / "kept").touch()
    done = project.setup("--cpu")
    assert done.returncode == 0, done.stderr
    assert any("cpu.lock" in call for call in project.calls())
    assert (project.venv / "kept").exists()
    project.setup()
    assert project.calls() == []


def test_a_package_cut_off_in_the_middle_is_installed_again(killed_in_mid_install: Project) -> None:
    packages = killed_in_mid_install.venv / "lib/python3.11/site-packages"
    for name, files in {"whole-1.0": ("METADATA", "INSTALLER", "RECORD"), "half-1.0": ("METADATA", "RECORD")}.items():
        (packages / f"{name}.dist-info").mkdir()
        for file in files:
            (packages / f"{name}.dist-info" / file).touch()
    (packages / "~alf").mkdir()
    assert killed_in_mid_install.setup().returncode == 0
    assert {path.name for path in packages.glob("*-1.0.dist-info")} == {"whole-1.0.dist-info"}
    assert not (packages / "~alf").exists()


def test_an_environment_without_an_interpreter_is_made_anew(installed: Project) -> None:
    (installed.venv / "bin/python").unlink()
    assert installed.setup().returncode == 0
    assert (installed.venv / "bin/python").exists()


def test_runs_at_the_same_time_take_turns(project: Project) -> None:
    first, second = (
        subprocess.Popen(project.command("--cpu"), env=project.environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    messages = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), messages
    assert sum("cpu.lock" in call for call in project.calls()) == 1


# ---------------------------------------------------------------- environments and sets


def test_the_set_of_an_environment_stays_until_a_flag_says_otherwise(installed: Project) -> None:
    (installed.venv / ".router-r1/set").write_text("gpu\n")
    plan = installed.setup("--dry-run").stdout
    assert "requirements/gpu.lock" in plan


def test_another_set_means_another_environment(installed: Project) -> None:
    (installed.venv / "left over").touch()
    done = installed.setup("--gpu", "--unchecked")
    assert done.returncode == 0, done.stderr
    assert "anew for the gpu set" in done.stderr
    assert not (installed.venv / "left over").exists()


def test_another_environment_is_used_when_the_variable_names_one(installed: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert installed.setup("--cpu", ROUTER_R1_VENV=str(other)).returncode == 0
    assert (other / ".router-r1/cpu.stamp").exists()


def test_a_directory_that_the_script_did_not_make_is_never_removed(project: Project, tmp_path: Path) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    done = project.setup("--cpu", "--venv", str(precious))
    assert done.returncode == 1
    assert "name an empty or a new directory" in done.stderr
    assert (precious / "thesis.tex").exists()


# ---------------------------------------------------------------- wrong input


def test_an_unknown_option_is_refused_by_name(project: Project) -> None:
    done = project.setup("--cuda")
    assert done.returncode == 1
    assert "--cuda: unknown option" in done.stderr


def test_a_python_of_another_version_is_refused_by_name(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "python3.8"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    done = project.setup("--cpu", PYTHON=str(other))
    assert done.returncode == 1
    assert f"PYTHON = {other}: not a Python 3.11" in done.stderr
    assert not project.venv.exists()
