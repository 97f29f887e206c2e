"""The cascades by name. Nothing of them is imported before one is made."""

from __future__ import annotations

from router_r1.methods.cascades.cascade import Cascade, CascadeEntry


def _frugal() -> Cascade:
    from router_r1.methods.cascades.frugal import FrugalGPT

    return FrugalGPT()


def _consistency() -> Cascade:
    from router_r1.methods.cascades.consistency import AnswerConsistency

    return AnswerConsistency()


def _cascade_routing() -> Cascade:
    from router_r1.methods.cascades.cascade_routing import CascadeRouting

    return CascadeRouting()


def _blender() -> Cascade:
    from router_r1.methods.cascades.blender import Blender

    return Blender()


CASCADES: dict[str, CascadeEntry] = {
    "frugal-gpt": CascadeEntry("FrugalGPT", _frugal, "arXiv:2305.05176", needs=("sklearn",)),
    "answer-consistency": CascadeEntry("Answer consistency", _consistency, "arXiv:2310.03094"),
    "cascade-routing": CascadeEntry(
        "Cascade routing", _cascade_routing, "arXiv:2410.10347", needs=("sklearn",), reads_replies=False
    ),
    "blender": CascadeEntry("LLM-Blender", _blender, "arXiv:2306.02561", needs=("sklearn",)),
}
