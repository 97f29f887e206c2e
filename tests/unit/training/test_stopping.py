"""A notice to stop: written by the supervisor, seen by the trainer, answered when a checkpoint is whole."""

from __future__ import annotations

import signal
import time

import pytest
from omegaconf import DictConfig, OmegaConf

from router_r1.exit_codes import ExitCode
from router_r1.training import supervision, trainer
from router_r1.training.stopping import StopNotice, StopRequested, ask_to_stop, notice_file
from router_r1.training.verl_reads import keys_read


@pytest.fixture
def config(tmp_path) -> DictConfig:
    return OmegaConf.create({"run_dir": str(tmp_path), "trainer": {"save_freq": 30}})


def test_without_a_notice_the_run_saves_when_it_would_and_goes_on(config):
    notice = StopNotice(config)

    notice.after_saving(30)
    assert config.trainer.save_freq == 30


def test_after_a_notice_the_step_under_way_is_saved_and_then_the_run_ends(config, tmp_path):
    notice = StopNotice(config)
    ask_to_stop(tmp_path)

    patience = time.monotonic() + 20
    while config.trainer.save_freq != 1 and time.monotonic() < patience:
        time.sleep(0.05)
    assert config.trainer.save_freq == 1, "veRL divides the step by it, after every step"
    with pytest.raises(StopRequested, match=r"saved after step 7; go on with resume=auto"):
        notice.after_saving(7)


def test_verl_still_asks_after_every_step_whether_to_save():
    pytest.importorskip("verl")
    assert keys_read()["trainer.save_freq"].startswith("trainer/ppo/v1/trainer_base.py")


def test_the_end_has_an_exit_code_of_its_own():
    assert trainer._EXIT_BY_ERROR[StopRequested.__name__] == ExitCode.PREEMPTED == 75


def test_the_first_sigterm_asks_to_stop_and_the_second_ends_the_run_now(tmp_path):
    ask_to_stop(tmp_path)  # of an earlier start
    notice = supervision.Notice(tmp_path)
    assert not notice_file(tmp_path).exists()
    assert notice.news() == ""

    notice(signal.SIGTERM, None)

    assert notice_file(tmp_path).exists()
    assert "saved first" in notice.news()
    assert notice.news() == "", "it is told once"
    with pytest.raises(KeyboardInterrupt):
        notice(signal.SIGTERM, None)
