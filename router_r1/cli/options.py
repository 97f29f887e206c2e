"""The options of a router as commands take them: the fields of `settings.RouterOptions`, in groups."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from router_r1.routing.config import RoutingConfig
from router_r1.settings import CandidateOptions, PolicyOptions, RouterOptions

Policy = Annotated[PolicyOptions, Parameter(name="*", group="Policy")]
Candidates = Annotated[CandidateOptions, Parameter(name="*", group="Candidates")]
Routing = Annotated[RoutingConfig, Parameter(name="*", group="Routing (docs/routing.md)")]
SkipPreflight = Annotated[bool, Parameter(name=["--skip-preflight", "--skip-probe"])]


def router_options(policy: PolicyOptions, candidates: CandidateOptions, routing: RoutingConfig) -> RouterOptions:
    """All groups together."""
    given = {name: getattr(group, name) for group in (policy, candidates) for name in group.model_fields_set}
    return RouterOptions(**given, routing=routing)
