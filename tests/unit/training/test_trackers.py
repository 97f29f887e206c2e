"""Trackers: what a logger needs is missing before the start or not at all, and no secret is told to one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError
from router_r1.training import trackers

ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"


def settings(*loggers: str, **changes: object) -> DictConfig:
    config = OmegaConf.create(
        {"trainer": {"logger": list(loggers)}, "ray_kwargs": {"ray_init": {"runtime_env": {"env_vars": {"A": "1"}}}}}
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


@pytest.fixture
def installed(tmp_path, monkeypatch) -> None:
    """A package called wandb can be found, and nobody is logged in."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_what_comes_with_the_project_needs_nothing():
    config = settings("console", "file")

    trackers.check_loggers(config)
    assert trackers.missing_for_loggers(config) == []
    assert trackers.wandb_environment(config, Path("/runs/x"), None) == {}


def test_an_unknown_logger_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"trainer\.logger = 'wanda': is none of console, file, .*wandb"):
        trackers.check_loggers(settings("console", "wanda"))


def test_every_logger_that_is_offered_is_one_of_verls():
    tracking = pytest.importorskip("verl.utils.tracking")
    assert set(trackers.PACKAGES) <= set(tracking.Tracking.supported_backend)


@pytest.mark.parametrize("logger", ["wandb", "swanlab"])
def test_a_logger_without_its_package_is_told_with_the_command_that_installs_it(logger):
    if importlib.util.find_spec(logger):
        pytest.skip(f"{logger} is installed")
    (fault,) = trackers.missing_for_loggers(settings("console", logger))

    assert str(fault) == (
        f"configuration: trainer.logger = '{logger}': the package {logger} is not installed here: "
        f".venv/bin/python -m pip install {logger}, or leave {logger} out"
    )


def test_wandb_without_a_login_is_told_and_the_ways_to_do_without(installed):
    (fault,) = trackers.missing_for_loggers(settings("wandb"))

    assert all(word in str(fault) for word in ("WANDB_API_KEY", "wandb login", "WANDB_MODE=offline"))


@pytest.mark.parametrize(("name", "value"), [("WANDB_API_KEY", "made-up"), ("WANDB_MODE", "offline")])
def test_a_key_or_staying_offline_will_do(installed, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert trackers.missing_for_loggers(settings("wandb")) == []


def test_an_earlier_login_will_do_for_the_server_that_it_is_for(installed, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password made-up\n")
    assert trackers.missing_for_loggers(settings("wandb"))

    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert trackers.missing_for_loggers(settings("wandb")) == []


def test_a_run_that_goes_on_is_the_same_run_of_wandb_and_a_new_one_of_the_same_name_is_another():
    config = settings("wandb")
    first, second = (trackers.wandb_environment(config, Path("/runs/my.run"), None) for _ in range(2))
    resumed = trackers.wandb_environment(config, Path("/runs/my.run"), str(first[f"{ENVIRONMENT}.WANDB_RUN_ID"]))

    assert resumed == first != second
    assert first[f"{ENVIRONMENT}.WANDB_RESUME"] == "allow"
    assert str(first[f"{ENVIRONMENT}.WANDB_RUN_ID"]).startswith("my-run-")
    assert first[f"{ENVIRONMENT}.WANDB_DIR"] == "/runs/my.run"


def test_mlflow_and_swanlab_write_into_the_runs_folder_unless_the_shell_says_where(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "SWANLAB_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    config = settings("mlflow", "swanlab")

    assert trackers.folders_environment(config, Path("/runs/x")) == {
        f"{ENVIRONMENT}.MLFLOW_TRACKING_URI": "sqlite:////runs/x/mlflow.db",
        f"{ENVIRONMENT}.SWANLAB_LOG_DIR": "/runs/x/swanlog",
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert f"{ENVIRONMENT}.MLFLOW_TRACKING_URI" not in trackers.folders_environment(config, Path("/runs/x"))
    assert trackers.folders_environment(settings("wandb"), Path("/runs/x")) == {}


@pytest.mark.parametrize(
    "key", [f"{ENVIRONMENT}.WANDB_API_KEY", f"{ENVIRONMENT}.HF_TOKEN", "trainer.password", "my.client_secret"]
)
def test_a_secret_in_the_configuration_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match="export the secret") as told:
        trackers.check_secrets(settings(**{key.replace(".", "__"): "hunter2"}))

    assert key in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match=r"trainer\.wandb_proxy: holds a password") as told:
        trackers.check_secrets(settings(trainer__wandb_proxy="http://me:hunter2@proxy:8080"))
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actor_rollout_ref.model.override_config.pad_token", "<pad>"),
        ("router_r1.pool_base_url", "http://127.0.0.1:8765/v1"),
        ("data.prompt_key", "prompt"),
        ("distillation.teacher_key", "data_source"),
        ("trainer.note", "mail me@example.org about http://"),
        ("my.api_key", ""),
        ("my.api_token", None),
    ],
)
def test_what_only_looks_like_one_is_let_through(key, value):
    trackers.check_secrets(settings(**{key.replace(".", "__"): value}))
