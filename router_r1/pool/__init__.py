"""Routing pool: the candidates, their names, prices and descriptors, and the file they are read from."""

from router_r1.pool.dealing import Deal, Dealer, Shown, dealer_of, draw_deal, offered, offered_names
from router_r1.pool.keys import check_api_keys, missing_api_keys, read_api_key
from router_r1.pool.loading import NO_ADDRESS, load_pool
from router_r1.pool.messages import Message
from router_r1.pool.pricing import exact_usd, raw_cost, spend, spend_usd
from router_r1.pool.schema import CallSettings, Candidate, Deals, Endpoint, EndpointLimits, Price, Recorded, RoutingPool

__all__ = [
    "NO_ADDRESS",
    "CallSettings",
    "Candidate",
    "Deal",
    "Dealer",
    "Deals",
    "Endpoint",
    "EndpointLimits",
    "Message",
    "Price",
    "Recorded",
    "RoutingPool",
    "Shown",
    "check_api_keys",
    "dealer_of",
    "draw_deal",
    "exact_usd",
    "load_pool",
    "missing_api_keys",
    "offered",
    "offered_names",
    "raw_cost",
    "read_api_key",
    "spend",
    "spend_usd",
]
