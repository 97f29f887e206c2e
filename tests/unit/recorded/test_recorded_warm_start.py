"""The warm start for recorded questions: what is shown, and that it trains."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from router_r1.pool import load_pool
from router_r1.prompts import load_template
from router_r1.recorded.warm_start import RATE, build_recorded_warm_start, learning_rate, varied
from tests.doubles.recorded import sum_lines, sum_question, write_recorded_pool


def test_a_question_is_shown_with_other_numbers_of_the_same_form():
    text = sum_question(123, 4567)
    shown = [varied(text, ["word"], random.Random(seed)) for seed in range(50)]
    assert len({*shown}) == 50
    for one in shown:
        assert len(one.split()) == len(text.split())
        assert one.split()[2].isdigit()
        assert len(one.split()[2]) == 3
    assert sum(one.split()[2] != "123" for one in shown) > 25


def test_the_rate_rises_and_falls():
    rates = [learning_rate(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(RATE, rel=0.02)
    assert rates[0] < rates[4] > rates[50] > rates[99] > 0.04 * RATE


@pytest.mark.slow
def test_it_goes_on_from_the_shipped_policy_and_is_the_same_for_the_same_seed(tmp_path):
    from transformers import AutoModelForCausalLM

    from router_r1.sim.tiny_policy import SHIPPED_POLICY

    pool, template = load_pool(write_recorded_pool(tmp_path, sum_lines(30))), load_template("tiny")
    for name in ("one", "other"):
        build_recorded_warm_start(tmp_path / name, pool, template, seed=0, steps=2, quiet=True)
    folders = (tmp_path / "one", tmp_path / "other", SHIPPED_POLICY)
    one, other, shipped = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in folders)
    assert all((one[name] == other[name]).all() for name in one)
    assert any((one[name] != shipped[name]).any() for name in one)
