"""Methods that may ask several candidates the same question: cascades and a blender, by the names that users write."""

from router_r1.methods.cascades.cascade import (
    Cascade,
    CascadeEntry,
    CascadeMethod,
    CascadeRoutes,
    Decision,
    Played,
    ReadyCascade,
    play,
)
from router_r1.methods.cascades.table import CASCADES

__all__ = [
    "CASCADES",
    "Cascade",
    "CascadeEntry",
    "CascadeMethod",
    "CascadeRoutes",
    "Decision",
    "Played",
    "ReadyCascade",
    "play",
]
