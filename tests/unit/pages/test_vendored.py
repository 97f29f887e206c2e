"""What was taken from others is what they published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path("router_r1/pages/static/vendor")


def test_every_vendored_script_is_listed_and_has_its_published_hash(project_root: Path) -> None:
    folder = project_root / VENDOR
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})`", (folder / "VENDORED.md").read_text(), re.MULTILINE))
    scripts = {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".js", ".mjs")}
    assert listed.keys() == scripts.keys()
    for name, content in scripts.items():
        published = content.replace(b'"./preact.mjs"', b'"preact"')
        assert hashlib.sha256(published).hexdigest() == listed[name], name


def test_every_licence_that_is_named_is_there(project_root: Path) -> None:
    folder = project_root / VENDOR
    for name in re.findall(r"`(\w+\.LICENSE)`", (folder / "VENDORED.md").read_text()):
        assert (folder / name).read_text().strip()
