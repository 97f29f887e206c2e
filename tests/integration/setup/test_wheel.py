"""The package as it is installed: built, put into an environment of its own, and used in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.conftest import CAPITALS, question_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel; the wheel is built from the unpacked sdist, as an index would have it."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t"]
    subprocess.run([*build, "sdist"], cwd=project_root, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    subprocess.run([*build, "wheel"], cwd=source, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


class Installed:
    """The command in an environment that has the wheel and what its set `local` asks for, in an empty folder."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.bin, self.folder = environment / "bin", folder
        hidden = ("PYTHONPATH", "ROUTER_R1_VENV")
        self.variables = {name: value for name, value in os.environ.items() if name not in hidden}

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "router-r1"), *map(str, command)],
            cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def python(self, code: str) -> str:
        command = [str(self.bin / "python"), "-c", code]
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture(scope="module")
def environment(project_root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    # The locked versions, which are tried together, and which pip has in its cache.
    constraints = ["-c", str(project_root / "requirements" / "cpu.lock")]
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, *constraints, f"{wheel}[local]"], check=True, capture_output=True, timeout=900)
    return folder


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    (tmp_path / "empty").mkdir()
    return Installed(environment, tmp_path / "empty")


def test_wheel_and_sdist_hold_what_the_commands_need(project_root: Path, built: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for folder in ("configs", "verl"):
        files = [file.relative_to(project_root) for file in (project_root / folder).rglob("*.yaml")]
        assert files
        assert {f"router_r1/_project/{file}" for file in files} <= inside
    assert {"router_r1/py.typed", "router_r1/sim/tiny_policy/shipped_policy/model.safetensors"} <= inside
    pages = project_root / "router_r1" / "pages" / "static"
    files = [file.relative_to(project_root) for file in pages.rglob("*") if file.is_file()]
    assert {"index.html", "main.js", "parts.css", "preact.mjs", "preact.LICENSE"} <= {file.name for file in files}
    assert {str(file) for file in files} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "verl/", "configs/", "scripts/"))]
    (source,) = (built / "unpacked").iterdir()
    assert {"train.sh", "configs", "verl", "tests", "LICENSE"} <= {path.name for path in source.iterdir()}


def test_the_installed_package_is_used_and_not_the_repository(environment: Path, installed: Installed) -> None:
    place = Path(installed.python("import router_r1; print(router_r1.__file__)"))
    assert environment in place.parents
    root = Path(installed.python("from router_r1.project_files import project_root; print(project_root())"))
    assert environment in root.parents


def test_importing_it_is_quick_and_loads_no_heavy_library(installed: Installed) -> None:
    code = "import sys, router_r1; print(sorted({'torch', 'transformers', 'pydantic', 'aiohttp'} & set(sys.modules)))"
    assert installed.python(code) == "[]"


def test_a_dry_run_of_a_training_says_what_is_missing_and_leaves_nothing_behind(installed: Installed) -> None:
    done = installed.run("train", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "experiment world_cpu" in done.stdout
    assert str(installed.folder / "runs") in done.stdout, "runs go to the current folder"
    assert "missing: environment: verl: is not installed" in done.stdout
    assert not list(installed.folder.iterdir())


def test_a_training_without_verl_is_refused_with_what_to_install(installed: Installed) -> None:
    done = installed.run("train")
    assert done.returncode == 2
    assert "router-r1[cpu]" in done.stderr
    assert not list(installed.folder.iterdir())


def test_question_files_are_made_from_a_flashrag_folder(installed: Installed, tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": f"who sang song {i}?", "golden_answers": ["Ada"]} for i in range(8)]
    file = tmp_path / "flashrag" / "nq" / "train.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = installed.run("data", "train", "--data-root", tmp_path / "flashrag", "--data-sources", "nq", "--n", "5")
    assert done.returncode == 0, done.stderr
    assert (installed.folder / "data" / "train_nq_qwen.parquet").is_file()


def test_the_prompt_of_a_shipped_pool_is_shown(installed: Installed) -> None:
    done = installed.run("pool", "show", "--pool", "sim", "--model", "tiny", "--question", "Who sang it?")
    assert done.returncode == 0, done.stderr
    assert "specialist film expert CineMind-7B" in done.stdout
    assert "tokens: " in done.stdout


def test_a_served_policy_is_asked(installed: Installed, policy, pool_file) -> None:
    asked = ["ask", "--question", question_of("France"), "--base-url", policy.url]
    done = installed.run(*asked, "--pool", pool_file, "--template", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == CAPITALS["France"]


def test_what_needs_a_package_that_is_not_there_says_which_set_has_it(installed: Installed, model_folder) -> None:
    asked = ["ask", "--question", "Who?", "--model-path", model_folder, "--pool", "sim", "--template", "tiny"]
    done = installed.run(*asked)
    assert done.returncode == 2
    assert "router-r1[cpu]" in done.stderr.splitlines()[-1]
