"""Scripts for clusters: none can be run here, so they are read, and started with a stand-in for what they start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def folder(project_root) -> Path:
    return project_root / "scripts" / "cluster"


@pytest.mark.parametrize("script", ["slurm.sh", "ray_job.sh"])
def test_a_script_is_sound_bash(folder, script):
    assert subprocess.run(["bash", "-n", folder / script]).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", folder / script]).returncode == 0


def test_slurm_warns_early_enough_to_save_and_takes_the_job_up_again(folder):
    text = (folder / "slurm.sh").read_text()
    asked = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]

    assert {"--requeue", "--signal=B:TERM@900"} <= set(asked)
    assert "resume=auto" in text, "the job that is taken up again goes on"
    assert "-eq 75 ]" in text


def test_a_submitted_job_trains_in_the_projects_folder_on_that_many_gpus(folder, tmp_path):
    ray = tmp_path / "bin" / "ray"
    ray.parent.mkdir()
    ray.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ray.chmod(0o755)
    environment = os.environ | {"ROUTER_R1_VENV": str(tmp_path), "ROUTER_R1_ROOT": "/shared/router-r1"}

    done = subprocess.run(
        ["bash", folder / "ray_job.sh", "http://head:8265", "2", "8", "name=my_run"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    words = done.stdout.splitlines()
    assert words[:5] == ["job", "submit", "--address", "http://head:8265", "--"]
    assert words[5:8] == ["env", "--chdir=/shared/router-r1", "/shared/router-r1/.venv/bin/python"]
    assert words[-3:] == ["trainer.nnodes=2", "trainer.n_gpus_per_node=8", "name=my_run"]
    assert not any(" " in word for word in words), "Ray joins the words by spaces, and a shell reads them"


def test_a_job_without_a_size_is_told_how_to_call_it(folder):
    done = subprocess.run(["bash", folder / "ray_job.sh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "bash scripts/cluster/ray_job.sh http://HEAD:8265 2 8" in done.stderr


def test_kuberay_starts_as_many_nodes_as_the_training_wants(folder):
    job = yaml.safe_load((folder / "kuberay.yaml").read_text())["spec"]
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]

    assert f"trainer.nnodes={group['replicas']} " in job["entrypoint"]
    assert f"trainer.n_gpus_per_node={container['resources']['limits']['nvidia.com/gpu']} " in job["entrypoint"]
    assert "resume=auto" in job["entrypoint"]
    assert container["envFrom"], "keys are in the pods' own environment"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/shared", "/dev/shm"}
