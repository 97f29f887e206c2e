"""The candidates of a pool: their keys, their limits, and, only if it is asked for, one word from each."""

from __future__ import annotations

import asyncio
import os

from router_r1.doctor.check import Check, failure, ok, skipped, warning
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, missing_api_keys
from router_r1.routing.preflight import preflight


def key_variables(pool: RoutingPool) -> list[str]:
    """The environment variables that the pool's keys are read from, each once."""
    endpoints = [endpoint for candidate in pool.candidates for endpoint in candidate.all_endpoints]
    return list(dict.fromkeys(endpoint.api_key_env for endpoint in endpoints if endpoint.api_key_env))


def check_keys(pool: RoutingPool) -> list[Check]:
    """Whether every key is there, in this process; never what it is."""
    missing = {fault.value: fault for fault in missing_api_keys(pool)}
    checks = []
    for variable in key_variables(pool):
        name = f"key {variable}"
        if variable in missing:
            checks.append(failure(name, "unset, or no key", missing[variable].remedy))
        else:
            checks.append(ok(name, f"set, {len(os.environ[variable].strip())} characters"))
    return checks or [ok("keys", f"pool {pool.name} takes none")]


def check_limits(pool: RoutingPool) -> Check:
    """Whether the pool file says how fast its candidates may be asked. A simulated one has no need to."""
    limited = {limits.base_url for limits in pool.endpoint_limits if limits.rpm is not None}
    unlimited = [
        candidate.name
        for candidate in pool.candidates
        if candidate.rpm is None and any(endpoint.base_url not in limited for endpoint in candidate.all_endpoints)
    ]
    if pool.served_here or not unlimited:
        return ok("candidates' limits", f"{len(pool.candidates)} candidates, as the pool file has them")
    remedy = "write the provider's requests per minute as `rpm` beside the candidate (docs/routing.md)"
    return warning("candidates' limits", f"no rpm for {', '.join(unlimited)}", remedy)


def check_answers(pool: RoutingPool, *, ask: bool) -> list[Check]:
    """One small request to every candidate, each told apart. Costs some tokens.

    Args:
        ask: whether somebody wants that.
    """
    if pool.served_here:
        return [skipped("candidates' answers", f"pool {pool.name} is served by the training itself")]
    if not ask:
        return [skipped("candidates' answers", "costs some tokens", "--ask-candidates asks each of them for one word")]
    return asyncio.run(_ask_all(pool))


async def _ask_all(pool: RoutingPool) -> list[Check]:
    async def ask(index: int) -> Check:
        candidate = pool.candidates[index]
        try:
            await preflight(pool.model_copy(update={"candidates": [candidate]}))
        except ConfigError as fault:
            return failure(f"candidate {candidate.name}", fault.remedy, "docs/routing.md says what each refusal means")
        return ok(f"candidate {candidate.name}", "answers")

    return await asyncio.gather(*(ask(index) for index in range(len(pool.candidates))))
