"""What a fitted router has learned, as files without pickle: facts as JSON, arrays as safetensors, estimators of
scikit-learn as skops. Opening such a folder runs no code of its writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_r1.atomic import write_bytes, write_text
from router_r1.errors import ConfigError

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

FACTS_FILE, ARRAYS_FILE, ESTIMATOR_SUFFIX = "router.json", "arrays.safetensors", ".skops"


def write_fitted(
    folder: Path,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    estimators: Mapping[str, BaseEstimator] | None = None,
) -> None:
    """Write the folder; whole, or without the facts, which come last.

    Args:
        facts: JSON types.
        estimators: name -> a fitted estimator.
    """
    from safetensors.numpy import save

    write_bytes(folder / ARRAYS_FILE, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    for name, estimator in (estimators or {}).items():
        from skops.io import dumps

        write_bytes(folder / f"{name}{ESTIMATOR_SUFFIX}", dumps(estimator))
    write_text(folder / FACTS_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def read_fitted(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    """Facts, arrays and estimators of a folder.

    Raises:
        ConfigError: it is none, or holds an estimator with types that scikit-learn does not have.
    """
    from safetensors.numpy import load

    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        arrays = load((folder / ARRAYS_FILE).read_bytes())
    except (OSError, ValueError) as fault:
        raise ConfigError(folder, "", None, f"holds no fitted router: {fault}") from None
    estimators = {}
    for file in sorted(folder.glob(f"*{ESTIMATOR_SUFFIX}")):
        from skops.io import get_untrusted_types, loads

        content = file.read_bytes()
        if foreign := get_untrusted_types(data=content):
            raise ConfigError(file, "", ", ".join(foreign), "are types that a router does not have; fit it anew")
        estimators[file.stem] = loads(content)
    return facts, arrays, estimators
