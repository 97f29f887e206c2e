"""In what two runs differ: their resolved configurations, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from router_r1.serving.api_errors import ApiError

_MOST_BYTES = 2_000_000
_ABSENT = "(absent)"


def difference(first: Path, second: Path) -> list[dict[str, str]]:
    """The keys at which two runs' configurations differ: `key`, `first`, `second`, as text.

    Raises:
        ApiError: 404; a run has no configuration that can be read.
    """
    one, other = _configuration(first), _configuration(second)
    return [
        {"key": key, "first": one.get(key, _ABSENT), "second": other.get(key, _ABSENT)}
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]


def _configuration(run_dir: Path) -> dict[str, str]:
    """Dotted key -> value of `config.yaml`."""
    file = run_dir / "config.yaml"
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError
        loaded = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        raise ApiError(HTTPStatus.NOT_FOUND, f"{run_dir.name} has no config.yaml that can be read") from None
    return dict(_leaves(loaded))


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """A list is one value: what moved in it is seen best when it is seen whole."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, "null" if value is None else str(value)
