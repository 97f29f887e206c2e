"""What the policy is told, in place of a reply, when a search could not be dispatched or its route failed.

These are bodies: `protocol.render_observation` puts the tags around them. They are short, because an observation is cut
to `max_obs_length` tokens, and the fault comes first, because the cut is at the end.
"""

from __future__ import annotations

from collections.abc import Iterable


def invalid_search(reason: str, names: Iterable[str]) -> str:
    """For a search that was not dispatched.

    Args:
        reason: what is wrong with it, as a clause.
        names: canonical names of the candidates that may be asked.
    """
    return f"Invalid search: {reason}. Write a candidate's name, a colon and a query. Candidates: {', '.join(names)}"


def failed_route(candidate: str) -> str:
    """For a route that failed after its retries; `candidate` is the canonical name."""
    return f"No information could be had from {candidate}. Ask another candidate or answer."
