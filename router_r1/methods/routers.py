"""The single-round routers, by the names that `--methods` knows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from router_r1.methods.single_round import RouterEntry, SingleRoundRouter

CLASSICAL = ("safetensors", "sklearn", "skops")
"""What classical models need to be fitted and saved."""
NETWORKS = ("safetensors", "torch")
"""What networks need to be fitted and saved."""


def made_by(module: str, name: str, *arguments: Any) -> Callable[[], SingleRoundRouter]:
    """A function that makes a router of a class of `router_r1.methods`, and imports it only then."""

    def make() -> SingleRoundRouter:
        router: SingleRoundRouter = getattr(importlib.import_module(f"router_r1.methods.{module}"), name)(*arguments)
        return router

    return make


ROUTERS: dict[str, RouterEntry] = {
    # bounds
    "random": RouterEntry("Random", made_by("bounds", "Random"), "each candidate alike"),
    "best-constant": RouterEntry("Best constant", made_by("bounds", "BestConstant"), "one candidate for all"),
    "cheapest": RouterEntry("Cheapest", made_by("bounds", "FixedOrder", "cheapest"), "one candidate for all"),
    "dearest": RouterEntry("Largest LLM", made_by("bounds", "FixedOrder", "dearest"), "one candidate for all"),
    "per-data-set": RouterEntry(
        "Constant per data set", made_by("bounds", "PerDataSet"), "one candidate per data set", CLASSICAL
    ),
    # classical models
    "tfidf-ridge": RouterEntry("TF-IDF ridge", made_by("ridge", "TfidfRidge"), "scikit-learn", CLASSICAL),
    "ridge": RouterEntry("Ridge", made_by("ridge", "EncoderRidge"), "scikit-learn", CLASSICAL),
    "knn": RouterEntry("kNN", made_by("knn", "NearestNeighbours", 5), "LLMRouter", CLASSICAL),
    "knn-cv": RouterEntry(
        "kNN, k by cross-validation", made_by("knn", "NearestNeighbours", None), "arXiv:2505.12601", CLASSICAL
    ),
    "mlp": RouterEntry("MLP", made_by("mlp", "Perceptron"), "LLMRouter", CLASSICAL),
    "svm": RouterEntry("SVM", made_by("svm", "SupportVectors"), "LLMRouter", CLASSICAL),
    # published methods
    "similarity-ranking": RouterEntry(
        "Similarity-weighted ranking", made_by("similarity_ranking", "SimilarityRanking"), "arXiv:2406.18665", CLASSICAL
    ),
    "avengers-pro": RouterEntry("Avengers-Pro", made_by("avengers_pro", "AvengersPro"), "arXiv:2508.12631", CLASSICAL),
    "carrot-knn": RouterEntry("CARROT (kNN)", made_by("carrot", "CarrotNeighbours"), "arXiv:2502.03261", CLASSICAL),
    "carrot-ridge": RouterEntry("CARROT (ridge)", made_by("carrot", "CarrotRidge"), "arXiv:2502.03261", CLASSICAL),
    "llmrank": RouterEntry("LLMRank", made_by("llmrank", "LlmRank"), "arXiv:2510.01234", CLASSICAL),
    "routoo": RouterEntry("Routoo", made_by("routoo", "Routoo"), "arXiv:2401.13979", CLASSICAL),
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
