"""Pool files: YAML, validated as a whole, every fault told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from router_r1.errors import ConfigError, config_error
from router_r1.pool.schema import (
    BaseUrl,
    CallSettings,
    Candidate,
    Deals,
    Endpoint,
    EndpointLimits,
    Price,
    Record,
    Recorded,
    RoutingPool,
    Text,
)

NO_ADDRESS = "http://127.0.0.1:1/v1"
"""Stands for the simulated server's while its port is not known, and where the address plays no part."""


class _PoolFile(Record):
    """The file's outline; its candidates are validated once the defaults are merged in."""

    name: Text
    simulated: bool = False
    recorded: Recorded | None = None
    defaults: CallSettings = CallSettings()
    endpoint_limits: list[dict[str, Any]] = Field(default_factory=list)
    deals: Deals | None = None
    candidates: list[dict[str, Any]] = Field(min_length=1)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Plain data only, and a key given twice is a fault instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def load_pool(path: str | Path, *, base_url: str | None = None) -> RoutingPool:
    """Read a routing pool.

    Args:
        path: a pool file (YAML): `name`, `candidates`, and optionally `simulated`, `recorded`,
            `defaults`, `endpoint_limits`, `deals`.
        base_url: the endpoint of every candidate, instead of what the file says.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or something in it is wrong.
    """
    raw = _read_yaml(Path(path))
    if base_url is not None:
        base_url = _validated_base_url(base_url)
    try:
        outline = _PoolFile.model_validate(raw)
    except ValidationError as fault:
        raise config_error(path, fault, _remedy) from None
    defaults = outline.defaults.model_dump(exclude_unset=True)
    override: dict[str, Any] = {} if base_url is None else {"base_url": base_url, "endpoints": ()}
    candidates = [{**defaults, **_first_address(entry), **override} for entry in outline.candidates]
    for index, entry in enumerate(candidates):
        if entry.get("base_url") is None:
            raise ConfigError(
                path,
                f"candidates[{index}].base_url",
                None,
                "has no value; set it here or under defaults, or give the endpoint's address when starting",
            )
    try:
        return RoutingPool.model_validate(
            {
                "name": outline.name,
                "simulated": outline.simulated,
                "recorded": outline.recorded,
                "candidates": candidates,
                "endpoint_limits": outline.endpoint_limits if base_url is None else (),
                "deals": outline.deals,
                "source": str(path),
            }
        )
    except ValidationError as fault:
        raise config_error(path, fault, _remedy) from None


def _first_address(entry: dict[str, Any]) -> dict[str, Any]:
    """A candidate with several endpoints needs no `base_url` of its own."""
    match entry:
        case {"base_url": _}:
            return entry
        case {"endpoints": [{"base_url": address}, *_]}:
            return {**entry, "base_url": address}
    return entry


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError(path, "", None, f"cannot be read: {fault.strerror}; give the path of a pool file") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(path, "", None, f"is not UTF-8 text: byte {fault.start} cannot be decoded") from fault
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as fault:
        raise ConfigError(path, "", None, f"is not valid YAML: {_yaml_fault(fault)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(path, "", None, "must be a mapping with name, defaults and candidates")
    return raw


def _yaml_fault(fault: yaml.YAMLError) -> str:
    """The fault in one line, without the snippet: a line of the file may hold a secret."""
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or "it cannot be parsed"
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


def _validated_base_url(base_url: str) -> str:
    try:
        return TypeAdapter(BaseUrl).validate_python(base_url)
    except ValidationError as fault:
        raise config_error("base_url", fault) from None


_NUMBERS = {"float_type", "int_type"}


def _remedy(error: ErrorDetails) -> str | None:
    kind, location = error["type"], error["loc"]
    if kind == "missing":
        unit = " (USD per 1M tokens)" if "price" in location else ""
        return f"is missing; every {_owner(location)} needs it{unit}"
    if kind == "extra_forbidden":
        return f"unknown key; {_nearest(str(location[-1]), _model_at(location).model_fields)}"
    if kind in _NUMBERS:
        return f"must be {'a whole number' if kind == 'int_type' else 'a number'}, unquoted (1e-3 is written 1.0e-3)"
    if kind == "too_short" and location[-1] == "candidates":
        return "must hold at least one candidate"
    return None


def _owner(location: tuple[int | str, ...]) -> str:
    if location[0] in ("deals", "recorded") and len(location) > 1:
        return f"section {location[0]}"
    return "candidate" if location[0] == "candidates" and len(location) > 1 else "pool file"


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose keys may stand at this place."""
    if "price" in location[:-1]:
        return Price
    if location[0] == "endpoint_limits":
        return EndpointLimits
    if "endpoints" in location[:-1]:
        return Endpoint
    if location[0] == "candidates" and len(location) > 1:
        return Candidate
    if location[0] == "deals" and len(location) > 1:
        return Deals
    if location[0] == "recorded" and len(location) > 1:
        return Recorded
    return CallSettings if location[0] == "defaults" and len(location) > 1 else _PoolFile


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
