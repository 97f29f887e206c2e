"""A copy of the examples outside the checkout, as files of a user's own; and the commands of the documentation."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from router_r1.cli import main
from router_r1.sim.tiny_policy import SHIPPED_POLICY


@pytest.fixture
def folder(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are given: it holds `examples/` and nothing else."""
    shutil.copytree(project_root / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # modules of the current folder are found
    return tmp_path


@pytest.fixture
def script(project_root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run an example as a script; its standard output."""
    monkeypatch.setenv("PYTHONPATH", str(project_root))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def run(name: str) -> str:
        command = [sys.executable, f"examples/{name}.py"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def documented(page: Path) -> list[list[str]]:
    """The commands of a page, each as its words."""
    text = page.read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    (router-r1 .*)$", text, re.MULTILINE)]


@pytest.fixture
def command(project_root: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give the command of docs/extending.md that has all of some words in it, and others behind it; what it prints."""

    def run(*words: str, more: tuple[str, ...] = ()) -> str:
        found = [given for given in documented(project_root / "docs" / "extending.md") if set(words) <= set(given)]
        assert len(found) == 1, (words, found)
        given = [str(SHIPPED_POLICY) if word == "MODEL" else word for word in found[0][1:]]
        code = main([*given, *more])
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run
