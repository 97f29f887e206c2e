"""A training on recorded replies, as far as it goes without a trainer: composed, checked, its questions written."""

from __future__ import annotations

import pytest

from router_r1.datasets import check_cost_weights, check_deals, check_parquet
from router_r1.errors import ConfigError
from router_r1.training import configuration as cfg
from router_r1.training import simulation
from router_r1.training.plan import make_plan
from tests.doubles.recorded import sum_lines, write_recorded_pool

pytest.importorskip("pyarrow")


def test_the_experiment_writes_the_questions_that_its_pool_knows(tmp_path):
    file = write_recorded_pool(tmp_path, sum_lines(30))
    plan = make_plan(["experiment=recorded_gsm8k", f"router_r1.pool={file}"], dry_run=True)
    config = cfg.resolve(plan.config)
    simulation.write_questions(config, tmp_path)
    for split in ("train", "val"):
        assert check_parquet(tmp_path / f"{split}.parquet") == {split}
        check_deals(tmp_path / f"{split}.parquet", cfg.pool_of(config))
        check_cost_weights(tmp_path / f"{split}.parquet")


def test_the_shipped_pool_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.delenv("RECORDED_ROOT", raising=False)
    with pytest.raises(ConfigError, match="environment variable RECORDED_ROOT is not set; export RECORDED_ROOT="):
        make_plan(["experiment=recorded_gsm8k"], dry_run=True)
    monkeypatch.setenv("RECORDED_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match=r"recorded.file = .*gsm8k.jsonl.gz': is no file"):
        make_plan(["experiment=recorded_gsm8k"], dry_run=True)
