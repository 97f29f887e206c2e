"""The notebook: stored as it was executed, without traces of the machine, and it still does what is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

MACHINE = re.compile(
    r"/(?:home|root|tmp|opt|usr|var|mnt|work|Users|site-packages)/|[A-Z]:\\\\|https?://(?!www\.w3\.org/)"
)
LATENCY = re.compile(r"latency_s=[\d.e-]+|\d+\.\d\d s\b")


@pytest.fixture
def stored(project_root: Path) -> dict:
    return json.loads((project_root / "examples" / "notebook.ipynb").read_text())


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def texts(cell: dict) -> list[str]:
    """What a cell prints and returns as text, without times; not what is written to standard error."""
    outputs = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    found = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return [LATENCY.sub("", "".join(text)) for text in found]


def test_it_is_stored_as_it_was_executed_from_top_to_bottom(stored):
    assert [cell["execution_count"] for cell in code_cells(stored)] == list(range(1, len(code_cells(stored)) + 1))
    kinds = {kind for cell in code_cells(stored) for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"text/plain", "image/svg+xml", "image/png"} <= kinds
    assert not any(output["output_type"] == "error" for cell in code_cells(stored) for output in cell["outputs"])


def test_it_tells_nothing_of_the_machine_that_executed_it(stored):
    assert MACHINE.findall(re.sub(r'"image/png": "[^"]*"', "", json.dumps(stored))) == []
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    assert not any(cell["metadata"] for cell in stored["cells"])


def test_its_picture_of_the_trajectory_is_whole(stored):
    (picture,) = [
        output["data"]["image/svg+xml"]
        for cell in code_cells(stored)
        for output in cell["outputs"]
        if "image/svg+xml" in output.get("data", {})
    ]
    assert ElementTree.fromstring("".join(picture)).tag.endswith("svg")


@pytest.mark.slow
def test_it_does_what_is_stored(stored, folder, project_root, monkeypatch):
    """In a kernel, where an event loop is running already: opening, asking, closing and a benchmark."""
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(project_root))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(folder / "jupyter"))

    notebook = nbformat.read(folder / "examples" / "notebook.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder / "examples")}}
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()

    executed = json.loads(nbformat.writes(notebook))
    assert [texts(cell) for cell in code_cells(executed)] == [texts(cell) for cell in code_cells(stored)]
    assert not list((folder / "examples").glob("results*"))
