"""Packages, kernels, tokens, keys and limits, each with its failure."""

from __future__ import annotations

import pytest

from router_r1.doctor import candidates, cluster, environment
from router_r1.doctor.check import Status
from router_r1.pool import load_pool
from router_r1.project_files import pool_file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder without tokens."""
    for variable in ("HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "HUGGING_FACE_HUB_TOKEN", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_missing_package_is_named_with_what_it_is_for(monkeypatch):
    monkeypatch.setitem(environment.NEEDED_FOR, "training", ("hydra", "no_such_module"))
    (training,) = [check for check in environment.check_packages() if check.name.endswith("training")]
    assert training.status is Status.WARNING
    assert training.found == "missing: no_such_module"


def test_without_a_gpu_no_kernel_is_run():
    assert {check.status for check in environment.check_kernels(0)} == {Status.SKIPPED}


def test_a_gated_model_wants_a_token_and_another_does_not():
    assert environment.check_hub_token("meta-llama/Llama-3.2-3B-Instruct").status is Status.FAILURE
    assert environment.check_hub_token("Qwen/Qwen2.5-3B-Instruct").status is Status.SKIPPED


def test_a_token_is_found_in_the_environment_or_its_file_and_never_shown(home, monkeypatch):
    file = home / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.write_text("hf_secret")
    assert environment.check_hub_token("meta-llama/x").status is Status.OK
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check = environment.check_hub_token("meta-llama/x")
    assert check.found.startswith("there is one (HF_TOKEN)")
    assert "hf_secret" not in str(check)


def test_keys_are_told_by_name_and_never_by_value(monkeypatch):
    pool = load_pool(pool_file("paper"))
    (unset,) = candidates.check_keys(pool)
    assert (unset.name, unset.status) == ("key NVIDIA_API_KEY", Status.FAILURE)
    monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-secret")
    (found,) = candidates.check_keys(pool)
    assert (found.status, found.found) == (Status.OK, "set, 12 characters")


def test_real_candidates_without_a_rate_are_a_warning():
    limits = candidates.check_limits(load_pool(pool_file("paper")))
    assert limits.status is Status.WARNING
    assert "rpm" in limits.found


def test_candidates_are_asked_only_when_somebody_wants_that():
    (asked,) = candidates.check_answers(load_pool(pool_file("paper")), ask=False)
    assert asked.status is Status.SKIPPED
    assert "--ask-candidates" in asked.remedy


def test_no_cluster_is_no_failure(tmp_path):
    (check,) = cluster.check_cluster(None, tmp_path, [])
    assert check.status is Status.SKIPPED


def test_the_token_of_ray_is_found_and_never_shown(home, monkeypatch):
    assert cluster.check_token().status is Status.SKIPPED
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("ray-secret")
    assert cluster.check_token().found == "there is one (~/.ray/auth_token)"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray-secret")
    assert cluster.check_token().found == "there is one (RAY_AUTH_TOKEN)"


def test_a_node_that_does_not_see_the_canary_is_a_failure(tmp_path):
    report = cluster.look(str(tmp_path / "absent"), ["NO_SUCH_KEY"], gpus=0)
    assert report["keys"] == {"NO_SUCH_KEY": False}
    first = cluster._of_node("node 10.0.0.2", report, tmp_path)[0]
    assert first.status is Status.FAILURE
    (tmp_path / "canary").touch()
    seen = cluster._of_node("node 10.0.0.2", cluster.look(str(tmp_path / "canary"), [], 0), tmp_path)[0]
    assert (seen.name, seen.status) == ("node 10.0.0.2: shared storage", Status.OK)


def test_nodes_of_different_versions_are_a_failure():
    assert cluster._same_versions({"a": {"ray": "2.60.0"}, "b": {"ray": "2.60.0"}}).status is Status.OK
    differing = cluster._same_versions({"a": {"ray": "2.60.0"}, "b": {"ray": "2.59.0"}})
    assert differing.status is Status.FAILURE
    assert "ray" in differing.found
