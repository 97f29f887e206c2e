"""`import router_r1`: every public name is there, and none of them is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import router_r1

HEAVY = ("numpy", "openai", "pydantic", "ray", "torch", "transformers", "verl", "vllm")
MOST_S = 0.2

_TIMED = """
import sys, time
before = time.process_time()
import router_r1
print(time.process_time() - before, *sys.modules)
"""


@pytest.fixture(scope="module")
def imported() -> list[list[str]]:
    """CPU seconds of `import router_r1`, and the modules loaded then, in three processes."""
    command = [sys.executable, "-c", _TIMED]
    return [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]


def test_importing_the_package_takes_no_time(imported):
    assert min(float(seconds) for seconds, *_ in imported) < MOST_S


def test_importing_the_package_loads_nothing_heavy(imported):
    _, *modules = imported[0]
    assert "router_r1" in modules
    assert sorted(set(modules) & set(HEAVY)) == []


@pytest.mark.parametrize("name", router_r1.__all__)
def test_every_public_name_is_there(name):
    assert getattr(router_r1, name).__module__.startswith("router_r1.")
    assert name in dir(router_r1)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Ruter'"):
        _ = router_r1.Ruter
