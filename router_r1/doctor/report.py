"""All checks together: for a terminal, and as one JSON object that can be attached to an issue."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from router_r1.doctor.check import Check, Status
from router_r1.printable import printable
from router_r1.runs import provenance

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=//)[^/@\s]+@")
_SHORTEST_SECRET = 6
"""A shorter value of a variable with such a name is no secret, and would be found inside ordinary words."""


def without_secrets(text: str) -> str:
    """The text without what variables with a secret's name hold, without passwords in URLs, and with ~ for the home."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value.strip()) >= _SHORTEST_SECRET and not Path(value).exists():
            text = text.replace(value.strip(), f"<{name}>")
    text = _USER_INFO.sub("<login>@", text)
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=/|$|\s)", "~", text) if home != "/" else text


def as_json(checks: Sequence[Check]) -> str:
    """The report: versions, and every check."""
    failed = any(check.status is Status.FAILURE for check in checks)
    facts = {"sound": not failed, **provenance(), "checks": [asdict(check) for check in checks]}
    return without_secrets(json.dumps(facts, indent=2))


def as_lines(checks: Sequence[Check]) -> list[str]:
    """A line for each check: how it ended, what was found, what to do."""
    width = max(len(check.name) for check in checks)
    return [
        printable(without_secrets(f"{c.status:7}  {c.name:{width}}  {c.found}" + (f"; {c.remedy}" if c.remedy else "")))
        for c in checks
    ]
