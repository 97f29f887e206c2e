"""Two processes exchange what those of a training do; a candidate is asked; the command as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from router_r1.doctor import candidates, processes
from router_r1.doctor.check import Status
from router_r1.pool import load_pool


@pytest.mark.slow
def test_two_processes_add_and_send_weights_as_verl_does():
    pytest.importorskip("verl")
    checks = processes.check_processes(0)
    assert [(check.name, check.status) for check in checks] == [
        ("all-reduce", Status.OK),
        ("weight exchange", Status.OK),
    ], checks
    assert checks[0].found == "gloo added 4 MB over 2 processes"


@pytest.mark.slow
@pytest.mark.parametrize("device", processes._PLATFORM)
def test_verl_has_a_platform_of_the_name_that_it_is_told(device):
    pytest.importorskip("verl")
    seen = "from verl.plugin.platform import get_platform; print(get_platform().device_name)"
    done = subprocess.run(
        [sys.executable, "-c", seen], env=os.environ | processes._PLATFORM[device], capture_output=True, text=True
    )
    assert done.stdout.split()[-1:] == [device], done.stderr


@pytest.mark.slow
def test_a_process_that_fails_is_told_and_the_others_do_not_wait_for_it():
    pytest.importorskip("torch")
    check = processes._check("no such exchange", 2, "cuda")  # no GPU here: torch refuses the device
    assert check.status is Status.FAILURE
    assert check.found


def test_each_candidate_is_asked_a_word_and_told_apart(pool_file):
    checks = candidates.check_answers(load_pool(pool_file), ask=True)
    assert {check.status for check in checks} <= {Status.OK, Status.SKIPPED}


def test_the_command_prints_one_report_without_secrets(project_root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    command = [sys.executable, "-m", "router_r1", "doctor", "--quick", "--json", "--pool", "paper", "--runs", "r"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["sound"]) == (1, False), done.stderr
    assert [c["name"] for c in report["checks"] if c["status"] == "failure"] == ["key NVIDIA_API_KEY"]
    assert "hf_abcdefgh" not in done.stdout
