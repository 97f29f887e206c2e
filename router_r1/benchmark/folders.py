"""The folder of results that grows: what it depends on stands in it, so that nothing else is gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.errors import ConfigError
from router_r1.runs import SETTING_FILE


def open_folder(folder: Path, setting: dict[str, Any], *, kept: str, resume: bool) -> None:
    """Make the folder of a benchmark, or take up an earlier one.

    Args:
        setting: everything that its contents depend on, as JSON types; kept in the folder.
        kept: the name of what grows in it.
        resume: go on with what is there.

    Raises:
        ConfigError: it holds another benchmark, or one that nobody asked to go on with.
    """
    file, there = folder / SETTING_FILE, (folder / kept).exists()
    if not resume and ((folder / RESULTS_FILE).exists() or there):
        remedy = "already holds a benchmark; give another folder, or --resume to go on with it"
        raise ConfigError("command line", "--out", str(folder), remedy)
    if not resume or not file.exists():
        if there:
            raise ConfigError("command line", "--resume", str(folder), f"holds no {SETTING_FILE}; give another folder")
        try:
            write_text(file, json.dumps(setting, indent=2, ensure_ascii=False) + "\n")
        except OSError as fault:
            raise ConfigError("command line", "--out", str(folder), f"cannot be made: {fault.strerror}") from None
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    for key, value in json.loads(json.dumps(setting)).items():
        if before.get(key) != value:
            remedy = "differs from this command's; --resume goes on with the same questions and setting only"
            raise ConfigError(file, key, before.get(key), remedy)
