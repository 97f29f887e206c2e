"""Which policy is served when none is named: that of the newest run or, before any run, the shipped tiny one."""

from __future__ import annotations

from typing import Any

from router_r1.settings import RouterOptions, newest_run
from router_r1.sim.tiny_policy import SHIPPED_POLICY


def with_default_policy(options: RouterOptions) -> RouterOptions:
    """The options, with the shipped policy and its simulated pool where nothing is named and no run is there."""
    is_named = options.run or options.model_path or options.base_url
    if is_named or newest_run(options.runs) is not None:
        return options
    changes: dict[str, Any] = {
        "model_path": str(SHIPPED_POLICY),
        "pool": options.pool or "sim",
        "template": options.template or "tiny",
    }
    return options.model_copy(update=changes)
