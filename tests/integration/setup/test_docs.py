"""The documentation site: what breaks in it fails the build, and reading it asks nothing of any other machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
CSS_REFERENCE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class Page(HTMLParser):
    """What a page loads by itself, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors.add(values.get("id", ""))
        self.loaded += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link" and values.get("rel") != "canonical":
            self.loaded.append(values.get("href", ""))


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(root / "scripts/build_docs.sh"), str(site)],
        env=os.environ | {"ROUTER_R1_VENV": sys.prefix},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def site(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(project_root, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(project_root: Path, tmp_path: Path) -> Path:
    """A copy whose pages may be broken."""
    for folder in ("docs", "scripts", "examples"):
        shutil.copytree(project_root / folder, tmp_path / folder)
    shutil.copy(project_root / "mkdocs.yml", tmp_path)
    (tmp_path / "router_r1").symlink_to(project_root / "router_r1")
    return tmp_path


@pytest.mark.slow
def test_every_page_of_docs_is_built(project_root: Path, site: Path) -> None:
    assert {path.stem for path in site.glob("*.html")} == {path.stem for path in project_root.glob("docs/*.md")} | {
        "404"
    }


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    loaded = {reference for page in pages for reference in Page(page).loaded}
    assert any(reference.endswith(".css") for reference in loaded)
    assert any(reference.endswith(".js") for reference in loaded)
    assert [reference for reference in loaded if ELSEWHERE.match(reference)] == []
    styles = [*pages, *site.rglob("*.css")]
    assert {style.name: found for style in styles if (found := CSS_REFERENCE.findall(style.read_text()))} == {}


@pytest.mark.slow
def test_what_the_readme_links_to_is_on_the_site(project_root: Path, site: Path) -> None:
    links = re.findall(r"\]\(docs/(\w+)\.md(?:#([\w.-]+))?\)", (project_root / "README.md").read_text())
    assert links
    for page, anchor in links:
        assert (anchor or "") in Page(site / f"{page}.html").anchors | {""}, f"{page}.md#{anchor}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        {"[x](nowhere.md)": "nowhere.md", "[x](training.md#nowhere)": "#nowhere", "[x](../README.md)": "../README.md"}
        | {"[x][router_r1.protocol.Absent]": "router_r1.protocol.Absent"},
        {"::: router_r1.protocol.Absent": "router_r1.protocol.Absent"},
    ],
    ids=["links", "object"],
)
def test_what_leads_nowhere_fails_the_build_and_is_named(project: Path, faults: dict[str, str]) -> None:
    with (project / "docs" / "index.md").open("a") as file:
        file.write("".join(f"\n{text}\n" for text in faults))
    (project / "docs" / "unlisted.md").write_text("# A page that the navigation does not name")
    done = build(project, project / "site")
    assert done.returncode != 0
    assert [named for named in faults.values() if named not in done.stderr] == []
    assert "unlisted.md" in done.stderr


def test_a_folder_with_something_else_in_it_is_not_overwritten(project_root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = build(project_root, tmp_path)
    assert done.returncode != 0
    assert "thesis.txt" in os.listdir(tmp_path)
    assert str(tmp_path) in done.stderr
