"""Candidates of the simulated world that are as slow as one likes."""

from __future__ import annotations

import copy
import platform
from pathlib import Path

import psutil
import pytest

from router_r1.cli import sim
from router_r1.datasets import Question, drawn_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.training import configuration as cfg
from router_r1.training import simulation
from tests.doubles.memory import SIZE, use_and_free
from tests.doubles.recorded import sum_lines, write_recorded_pool


@pytest.fixture(scope="module")
def default():
    return cfg.compose_config(["platform=cpu", "experiment=world_cpu"])


@pytest.fixture
def slow(default):
    def make(latency: object, **values: object):
        config = copy.deepcopy(default)
        changed = {key.replace("__", "."): value for key, value in values.items()}
        cfg.set_values(config, {"name": "x", "run_dir": "/x", "router_r1.sim.latency": latency} | changed)
        return cfg.resolve(config)

    return make


def test_one_setting_makes_every_candidate_of_the_pool_equally_slow(slow):
    options = simulation.latency_options(slow({"median_ms": 3000, "sigma": 0.8}))

    names, given = cfg.pool_of(slow(None)).names, options[1::2]
    assert options[::2] == ["--latency"] * len(names)
    assert dict(sim._parse_latency(option) for option in given) == dict.fromkeys(names, (3000.0, 0.8))


def test_unless_it_is_given_each_is_as_slow_as_its_profile(slow):
    assert simulation.latency_options(slow(None)) == []


@pytest.mark.parametrize(
    "latency",
    [{"median_ms": 3000}, {"median_ms": -1, "sigma": 0.8}, {"median_ms": 3000, "sigma": "much"}, {"seconds": 3}],
)
def test_a_latency_that_is_none_is_refused_before_the_start(slow, latency):
    with pytest.raises(ConfigError, match=r"router_r1\.sim\.latency = .*must be \{median_ms: MILLISECONDS"):
        simulation.check(slow(latency))


@pytest.fixture
def building_on(tmp_path):
    def make(base: Path, *overrides: str, **values: object):
        config = cfg.compose_config(["platform=cpu", *overrides, f"router_r1.sim.build_on={base}"])
        cfg.set_values(config, {"name": "x", "run_dir": str(tmp_path)} | values)
        return cfg.resolve(config)

    return make


@pytest.fixture
def empty_base(tmp_path) -> Path:
    pytest.importorskip("torch")
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def test_a_warm_start_for_real_questions_is_built_on_the_model_that_is_named(building_on, empty_base, tmp_path):
    config = building_on(empty_base, "experiment=nq_hotpotqa_cpu", **{"router_r1.sim.qa_root": str(tmp_path)})
    row = drawn_row(
        Question("1", "who wrote it", ("Ann",)),
        data_source="nq",
        split="train",
        index=0,
        render=lambda question, **_: [{"role": "user", "content": question}],
    )
    (tmp_path / "data").mkdir()
    write_parquet([row], tmp_path / "data" / "train.parquet")

    with pytest.raises(ConfigError, match="cannot be loaded") as told:  # an empty folder: it was looked for there
        simulation.start_policy(config)
    assert str(empty_base) in str(told.value)


def test_so_is_one_for_recorded_replies(building_on, empty_base, tmp_path):
    pool = write_recorded_pool(tmp_path, sum_lines(30))
    config = building_on(empty_base, "experiment=smollm2_gsm8k", f"router_r1.pool={pool}")

    with pytest.raises(ConfigError, match="cannot be loaded") as told:
        simulation.start_policy(config)
    assert str(empty_base) in str(told.value)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_a_training_has_the_memory_that_its_warm_start_was_built_in(building_on, tmp_path, monkeypatch):
    tops = []

    def build(_: object, folder: Path) -> None:
        folder.mkdir()
        tops.append(use_and_free())

    monkeypatch.setattr(simulation, "_build_for_the_questions", build)
    config = building_on(tmp_path, "experiment=nq_hotpotqa_cpu", **{"router_r1.sim.qa_root": str(tmp_path)})
    before = psutil.Process().memory_info().rss

    assert simulation.start_policy(config) == tmp_path / "warm_start"

    assert psutil.Process().memory_info().rss - before < 0.1 * SIZE
