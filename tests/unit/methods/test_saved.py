"""Fitted routers as files without pickle."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.saved import FACTS_FILE, read_fitted, skops_io, write_fitted

linear_model = pytest.importorskip("sklearn.linear_model")


def test_what_was_written_is_read_back(tmp_path):
    inputs, targets = np.eye(3), np.arange(3.0)
    ridge = linear_model.Ridge().fit(inputs, targets)
    write_fitted(tmp_path / "router", {"k": 5}, {"weights": np.eye(2, dtype=np.float32)}, {"ridge": ridge})
    facts, arrays, estimators = read_fitted(tmp_path / "router")
    assert facts == {"k": 5}
    assert arrays["weights"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert estimators["ridge"].predict(inputs) == pytest.approx(ridge.predict(inputs))


def test_a_folder_that_is_no_router_is_told(tmp_path):
    with pytest.raises(ConfigError, match="holds no fitted router"):
        read_fitted(tmp_path)
    (tmp_path / FACTS_FILE).write_text("{")
    with pytest.raises(ConfigError, match="holds no fitted router"):
        read_fitted(tmp_path)


def test_a_file_with_foreign_types_is_not_opened(tmp_path):
    write_fitted(tmp_path, {}, {})
    (tmp_path / "evil.skops").write_bytes(skops_io().dumps({"run": open}))
    with pytest.raises(ConfigError, match="are types that a router does not have"):
        read_fitted(tmp_path)


@pytest.mark.slow  # importing transformers
def test_an_estimator_is_written_without_a_word_where_transformers_is_loaded(tmp_path):
    pytest.importorskip("transformers")
    program = (
        "import sys, transformers\n"
        "from pathlib import Path\n"
        "from sklearn.linear_model import Ridge\n"
        "from router_r1.methods.saved import write_fitted\n"
        "aliases = [name for name in sys.modules if name.endswith('_fast')]\n"
        "write_fitted(Path(sys.argv[1]), {}, {}, {'ridge': Ridge().fit([[0.0], [1.0]], [0.0, 1.0])})\n"
        "print(bool(aliases), all(name in sys.modules for name in aliases))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
    assert "Accessing" not in done.stderr
