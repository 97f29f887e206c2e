"""Route service: asynchronous dispatch of routes to candidates, with limits, retries, cache and accounting."""

from router_r1.routing.adapters import Completion, OpenAIAdapter, ProviderAdapter
from router_r1.routing.config import BreakerPolicy, RetryPolicy, RoutingConfig
from router_r1.routing.service import RouteService

__all__ = [
    "BreakerPolicy",
    "Completion",
    "OpenAIAdapter",
    "ProviderAdapter",
    "RetryPolicy",
    "RouteService",
    "RoutingConfig",
]
