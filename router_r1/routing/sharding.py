"""Dividing a pool's candidates between several route services so that every limit stays exact."""

from __future__ import annotations

from router_r1.pool import RoutingPool


def shard_candidates(pool: RoutingPool, num_shards: int) -> dict[str, int]:
    """Candidate -> number of the service that asks it, in [0, num_shards).

    A candidate's own limits are exact because only one service asks it. Candidates that share the limits of an endpoint
    (`endpoint_limits`) are asked by the same one. Groups are dealt out largest first, each to the emptiest service.
    """
    limited = {limits.base_url for limits in pool.endpoint_limits}
    groups: list[tuple[set[str], list[str]]] = []  # limited endpoints, candidates
    for candidate in pool.candidates:
        endpoints = {endpoint.base_url for endpoint in candidate.all_endpoints} & limited
        names = [candidate.name]
        for other in [group for group in groups if group[0] & endpoints]:
            groups.remove(other)
            endpoints, names = endpoints | other[0], other[1] + names
        groups.append((endpoints, names))
    loads = [0] * num_shards
    shard_of: dict[str, int] = {}
    for _, names in sorted(groups, key=lambda group: -len(group[1])):
        emptiest = loads.index(min(loads))
        loads[emptiest] += len(names)
        shard_of |= dict.fromkeys(names, emptiest)
    return shard_of
