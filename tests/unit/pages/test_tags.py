"""The front end knows the tags of a trajectory by their own names."""

from __future__ import annotations

import json
import re
from importlib import resources

from router_r1.protocol import TAGS


def test_the_front_end_has_the_tags_of_the_protocol_in_one_file_alone():
    static = resources.files("router_r1.pages").joinpath("static")
    scripts = {file.name: file.read_text(encoding="utf-8") for file in static.iterdir() if file.name.endswith(".js")}
    written = re.search(r"NAMES = (\[[^]]*\])", scripts["tags.js"])
    assert written is not None
    assert tuple(json.loads(written[1])) == TAGS
    spelled = [name for name, text in scripts.items() if re.search(r"\|information\||\binformation\|", text)]
    assert spelled == []
