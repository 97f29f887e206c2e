"""What a route costs, in the two units that are reported (prices are USD per 1M tokens).

Money that is added up is `Decimal`: a price is taken as it is written in the pool file, so that a sum of any number of
routes is exact to the last digit. One route's spend may be kept as a float: with at most 15 significant digits its
shortest decimal form is the exact amount again (`exact_usd`).
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from router_r1.pool.schema import Candidate, Price

_PER_TOKEN = Decimal("1e-6")


def raw_cost(candidate: Candidate, completion_tokens: int) -> float:
    """Completion tokens x output price, i.e. micro-USD of output: the cost unit of the paper (arXiv:2506.09033)."""
    return raw_cost_at(candidate.price, completion_tokens)


def raw_cost_at(price: Price, completion_tokens: int) -> float:
    """The same, of whoever has this price."""
    return completion_tokens * price.output


def spend(candidate: Candidate, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """Real money in USD: prompt and completion tokens, each at its own price; exact."""
    return _exactly(candidate.price, prompt_tokens, completion_tokens)


def spend_at(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """The same as a float, of whoever has this price."""
    return float(_exactly(price, prompt_tokens, completion_tokens))


def _exactly(price: Price, prompt_tokens: int, completion_tokens: int) -> Decimal:
    return (prompt_tokens * exact_usd(price.input) + completion_tokens * exact_usd(price.output)) * _PER_TOKEN


def spend_usd(candidate: Candidate, prompt_tokens: int, completion_tokens: int) -> float:
    """`spend`, as a float."""
    return spend_at(candidate.price, prompt_tokens, completion_tokens)


@lru_cache(maxsize=1024)  # a pool has few prices, and this is called for every reply
def exact_usd(amount: float) -> Decimal:
    """The amount that was written, not the binary fraction next to it: 0.1 is 1/10."""
    return Decimal(repr(amount))
