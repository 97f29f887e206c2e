"""The single-round routers, by the names that `--methods` knows."""

from __future__ import annotations

from router_r1.methods.single_round import RouterEntry

ROUTERS: dict[str, RouterEntry] = {}
