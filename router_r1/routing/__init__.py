"""Route service: asynchronous dispatch of routes to candidates, with limits, retries and accounting."""

from router_r1.routing.retries import RetryPolicy
from router_r1.routing.service import RouteService

__all__ = ["RetryPolicy", "RouteService"]
