"""The single-round routers, by the names that `--methods` knows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from router_r1.methods.single_round import RouterEntry, SingleRoundRouter

NETWORKS = ("safetensors", "torch")
"""What networks need to be fitted and saved."""


def made_by(module: str, name: str, *arguments: Any) -> Callable[[], SingleRoundRouter]:
    """A function that makes a router of a class of `router_r1.methods`, and imports it only then."""

    def make() -> SingleRoundRouter:
        router: SingleRoundRouter = getattr(importlib.import_module(f"router_r1.methods.{module}"), name)(*arguments)
        return router

    return make


ROUTERS: dict[str, RouterEntry] = {
    # networks
    "mf-routellm": RouterEntry(
        "MF (RouteLLM)",
        made_by("matrix_factorisation", "MatrixFactorisation", "routellm"),
        "arXiv:2406.18665",
        NETWORKS,
    ),
    "mf-embedllm": RouterEntry(
        "MF (EmbedLLM)",
        made_by("matrix_factorisation", "MatrixFactorisation", "embedllm"),
        "arXiv:2410.02223",
        NETWORKS,
    ),
    "bert": RouterEntry("BERT", made_by("bert", "BertRouter"), "arXiv:2406.18665", NETWORKS),
    "hybrid-llm-deterministic": RouterEntry(
        "Hybrid-LLM (det)", made_by("hybrid_llm", "HybridLlm", "deterministic"), "arXiv:2404.14618", NETWORKS
    ),
    "hybrid-llm-probabilistic": RouterEntry(
        "Hybrid-LLM (prob)", made_by("hybrid_llm", "HybridLlm", "probabilistic"), "arXiv:2404.14618", NETWORKS
    ),
    "hybrid-llm": RouterEntry(
        "Hybrid-LLM (trans)", made_by("hybrid_llm", "HybridLlm", "transformed"), "arXiv:2404.14618", NETWORKS
    ),
    "routerdc": RouterEntry("RouterDC", made_by("routerdc", "RouterDC"), "arXiv:2409.19886", (*NETWORKS, "sklearn")),
    "routerdc-sharp": RouterEntry(
        "RouterDC (t 0.1)", made_by("routerdc", "RouterDC", 5e-4, 0.1), "arXiv:2409.19886", (*NETWORKS, "sklearn")
    ),
    "graphrouter": RouterEntry("GraphRouter", made_by("graph_router", "GraphRouter"), "arXiv:2410.03834", NETWORKS),
    "irt-router": RouterEntry("IRT-Router", made_by("irt", "IrtRouter"), "arXiv:2506.01048", NETWORKS),
    "llm-bandit": RouterEntry(
        "LLM Bandit", made_by("bandit", "BanditRouter"), "arXiv:2502.02743, arXiv:2510.07429", NETWORKS
    ),
}
