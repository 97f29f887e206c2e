"""Prometheus metrics of a route service. Labels hold names of candidates and hosts; never a text, never a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4)


class RouteMetrics:
    """The metrics of one service, in a registry of their own so that two services never mix.

    Args:
        port: serve them on this port of the loopback interface; 0 takes a free one, None serves none.
    """

    def __init__(self, port: int | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        self._routes = Counter("router_r1_routes", "Routes by outcome", ["candidate", "outcome"], registry=registry)
        self._requests = Counter(
            "router_r1_requests", "HTTP requests by outcome", ["candidate", "endpoint", "outcome"], registry=registry
        )
        self._tokens = Counter("router_r1_tokens", "Tokens charged", ["candidate", "kind"], registry=registry)
        self._spend = Counter("router_r1_spend_usd", "USD charged", ["candidate"], registry=registry)
        self._route_seconds = Histogram(
            "router_r1_route_seconds", "Wall time of a route", ["candidate"], registry=registry, buckets=_SECONDS
        )
        self._request_seconds = Histogram(
            "router_r1_request_seconds", "Wall time of a reply", ["candidate"], registry=registry, buckets=_SECONDS
        )
        self._in_flight = Gauge("router_r1_in_flight", "Requests in flight", ["candidate"], registry=registry)
        self._server: tuple[WSGIServer, Thread] | None = None
        if port is not None:
            self._server = start_http_server(port, addr="127.0.0.1", registry=registry)

    @property
    def port(self) -> int | None:
        """Where they are served; None if they are not."""
        return self._server[0].server_port if self._server else None

    def route(self, candidate: str, outcome: str, latency_s: float) -> None:
        """A route has ended: finished, cached, shared, failed or cancelled."""
        self._routes.labels(candidate, outcome).inc()
        self._route_seconds.labels(candidate).observe(latency_s)

    def request(self, candidate: str, endpoint: str, outcome: str, latency_s: float | None = None) -> None:
        """A request has ended: ok, or the kind of its fault."""
        self._requests.labels(candidate, endpoint, outcome).inc()
        if latency_s is not None:
            self._request_seconds.labels(candidate).observe(latency_s)

    def charged(self, candidate: str, prompt_tokens: int, completion_tokens: int, usd: float) -> None:
        self._tokens.labels(candidate, "prompt").inc(prompt_tokens)
        self._tokens.labels(candidate, "completion").inc(completion_tokens)
        self._spend.labels(candidate).inc(usd)

    @contextmanager
    def request_in_flight(self, candidate: str) -> Iterator[None]:
        gauge = self._in_flight.labels(candidate)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def close(self) -> None:
        """Stop serving."""
        if self._server:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
