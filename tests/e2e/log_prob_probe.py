"""Adds the largest difference of log-probabilities to veRL's step metrics, which hold that of probabilities only.

Loaded into veRL's processes through VERL_USE_EXTERNAL_MODULES. A rare token can hide a large difference of
log-probabilities behind a small one of probabilities.
"""

from __future__ import annotations

from typing import Any

from verl.utils.debug import metrics

METRIC = "training/rollout_log_probs_diff_max"

_verls_own = metrics.calculate_debug_metrics


def calculate_debug_metrics(data: Any) -> dict[str, float]:
    difference = (data.batch["rollout_log_probs"] - data.batch["old_log_probs"]).abs()
    return {**_verls_own(data), METRIC: difference[data.batch["response_mask"].bool()].max().item()}


metrics.calculate_debug_metrics = calculate_debug_metrics
