"""A ridge regression among the routers, vectors without scikit-learn, and a cache of one's own."""

from __future__ import annotations

import pytest

from router_r1.methods.cascades import CASCADES
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import RouterEntry
from router_r1.offline import benchmark
from tests.doubles.score_tables import LeastSquares, WordCounts


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    """Stands where `--encoder words` would."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one = WordCounts()
    monkeypatch.setattr(benchmark, "load_encoder", lambda written: one)
    return one


@pytest.fixture
def routers(monkeypatch):
    """Only these are known; what the package brings is tested where it is."""
    for known in (ROUTERS, CASCADES):
        for name in list(known):
            monkeypatch.delitem(known, name)
    monkeypatch.setitem(ROUTERS, "ridge", RouterEntry("Ridge", LeastSquares, "closed form"))
    monkeypatch.setattr(LeastSquares, "fits", 0)
    return ROUTERS
