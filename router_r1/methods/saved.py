"""What a fitted router has learned, as files without pickle: facts as JSON, arrays as safetensors, estimators of
scikit-learn as skops. Opening such a folder runs no code of its writer."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
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
        write_bytes(folder / f"{name}{ESTIMATOR_SUFFIX}", skops_io().dumps(estimator))
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
        content, skops = file.read_bytes(), skops_io()
        if foreign := skops.get_untrusted_types(data=content):
            raise ConfigError(file, "", ", ".join(foreign), "are types that a router does not have; fit it anew")
        estimators[file.stem] = skops.loads(content)
    return facts, arrays, estimators


def skops_io() -> ModuleType:
    """`skops.io`, imported where the aliases of transformers' modules are out of its sight.

    When it is imported (skops 0.16) it asks every loaded module for some hundred names. Where transformers is loaded
    (5.10), each of its aliases answers with a warning and an import: 47,000 lines, and 14 seconds.
    """
    aliases = [name for name in sys.modules if name.startswith("transformers.") and name.endswith("_fast")]
    hidden = {name: sys.modules.pop(name) for name in aliases}
    try:
        return importlib.import_module("skops.io")
    finally:
        sys.modules.update(hidden)
