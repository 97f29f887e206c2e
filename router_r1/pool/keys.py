"""API keys: read from the environment when they are needed, and held nowhere else."""

from __future__ import annotations

import os
import re

from router_r1.errors import ConfigError
from router_r1.pool.schema import Candidate, Endpoint, RoutingPool


def read_api_key(owner: Candidate | Endpoint, *, source: str = "pool", key: str = "api_key_env") -> str | None:
    """The key of a candidate or of one of its endpoints; None if it takes none.

    Args:
        source: the pool file, and `key` the dotted key in it, for the error text.

    Raises:
        ConfigError: the variable is unset or empty, or its value cannot be sent in a header. The value is not shown.
    """
    variable = owner.api_key_env
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            source,
            key,
            variable,
            f"this environment variable is not set; export {variable}=<your key> first "
            "(or set api_key_env: null for an endpoint that takes no key)",
        )
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ConfigError(
            source,
            key,
            variable,
            "the value of this environment variable is no key: it holds spaces or characters outside ASCII",
        )
    return value


def check_api_keys(pool: RoutingPool) -> None:
    """See, before anything expensive starts, that every key the pool needs is there.

    Raises:
        ConfigError: for the first candidate whose variable is unset.
    """
    if faults := missing_api_keys(pool):
        raise faults[0]


def missing_api_keys(pool: RoutingPool) -> list[ConfigError]:
    """A fault for every variable that the pool names and that holds no key; each variable once."""
    faults: dict[object, ConfigError] = {}
    for index, candidate in enumerate(pool.candidates):
        for place, endpoint in enumerate(candidate.all_endpoints):
            where = f".endpoints[{place}]" if candidate.endpoints else ""
            key = f"candidates[{index}]{where}.api_key_env"
            try:
                read_api_key(endpoint, source=pool.source or f"pool {pool.name}", key=key)
            except ConfigError as fault:
                faults.setdefault(fault.value, fault)
    return list(faults.values())
