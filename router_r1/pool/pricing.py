"""What a route costs, in the two units that are reported (prices are USD per 1M tokens)."""

from __future__ import annotations

from router_r1.pool.schema import Candidate


def raw_cost(candidate: Candidate, completion_tokens: int) -> float:
    """Completion tokens x output price, i.e. micro-USD of output: the cost unit of the paper (arXiv:2506.09033)."""
    return completion_tokens * candidate.price.output


def spend_usd(candidate: Candidate, prompt_tokens: int, completion_tokens: int) -> float:
    """Real money in USD: prompt and completion tokens, each at its own price."""
    return (prompt_tokens * candidate.price.input + completion_tokens * candidate.price.output) / 1e6
