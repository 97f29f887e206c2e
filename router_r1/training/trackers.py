"""Where metrics go besides the run's folder: what `trainer.logger` asks for is here, and is told no secrets.

veRL imports a tracker when the trainer starts its first step, minutes after the run has begun
(`verl/utils/tracking.py`), and hands the whole configuration to it.
"""

from __future__ import annotations

import importlib.util
import netrc
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError

PACKAGES: dict[str, str | None] = {
    "console": None,
    "file": None,
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "trackio": "trackio",
    "clearml": "clearml",
}
"""Logger of veRL 0.9.1 -> the package that it imports; two that only their makers' platforms have are left out."""

_WORKERS_ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"
_SECRET_NAME = re.compile(
    r"(api_?key|access_?key|secret|password|passwd|(^|[._])(hf|hub|api|auth|access|github)_token)$", re.IGNORECASE
)
_WANDB_HOST = "api.wandb.ai"


def loggers(config: DictConfig) -> list[str]:
    given = config.trainer.logger
    return [given] if isinstance(given, str) else list(given)


def check_loggers(config: DictConfig) -> None:
    """Refuse a logger that there is not.

    Raises:
        ConfigError: with those there are.
    """
    for name in loggers(config):
        if name not in PACKAGES:
            raise ConfigError("configuration", "trainer.logger", name, f"is none of {', '.join(PACKAGES)}")


def missing_for_loggers(config: DictConfig) -> list[ConfigError]:
    """What the loggers need of this machine that is not there: packages, and for W&B whom to log in as."""
    faults = []
    for name in loggers(config):
        package = PACKAGES.get(name)
        if package is None:
            continue
        if importlib.util.find_spec(package) is None:
            install = f".venv/bin/python -m pip install {package}"
            remedy = f"the package {package} is not installed here: {install}, or leave {name} out"
            faults.append(ConfigError("configuration", "trainer.logger", name, remedy))
        elif name == "wandb" and not _wandb_is_logged_in():
            remedy = "is not set: export it, or run `wandb login`, or keep the curves here with WANDB_MODE=offline"
            faults.append(ConfigError("environment", "WANDB_API_KEY", None, remedy))
    return faults


def wandb_environment(config: DictConfig, run_dir: Path, run_id: str | None) -> dict[str, object]:
    """Keys of the workers' environment by which W&B goes on with the run that it was started as; {} without it.

    Args:
        run_id: of the earlier start; None for a new run.
    """
    if "wandb" not in loggers(config):
        return {}
    # Names come back, when a folder was deleted; W&B drops steps that a run of the same id already has.
    made = run_id or f"{re.sub(r'[^A-Za-z0-9_-]', '-', run_dir.name)}-{uuid.uuid4().hex[:6]}"
    values = {"WANDB_RUN_ID": made, "WANDB_RESUME": "allow", "WANDB_DIR": str(run_dir)}
    return {f"{_WORKERS_ENVIRONMENT}.{name}": value for name, value in values.items()}


def folders_environment(config: DictConfig, run_dir: Path) -> dict[str, object]:
    """Keys of the workers' environment by which trackers write into the run's folder, unless the shell says where.

    veRL would have MLflow write to `/tmp`, and SwanLab to the folder that a worker happens to start in.
    """
    asked, found = loggers(config), {}
    if "mlflow" in asked and not os.environ.get("MLFLOW_TRACKING_URI"):
        found["MLFLOW_TRACKING_URI"] = f"sqlite:///{run_dir}/mlflow.db"
    if "swanlab" in asked and not os.environ.get("SWANLAB_LOG_DIR"):
        found["SWANLAB_LOG_DIR"] = f"{run_dir}/swanlog"
    return {f"{_WORKERS_ENVIRONMENT}.{name}": value for name, value in found.items()}


def check_secrets(config: DictConfig) -> None:
    """Refuse a configuration that holds a secret: it is written to the run's folder, printed by Ray, sent to trackers.

    Raises:
        ConfigError: the key; its value is not shown.
    """
    for key, value in _texts(OmegaConf.to_container(config)):
        if _SECRET_NAME.search(key) and value:
            remedy = "the configuration is written down and logged: export the secret where the run is started instead"
            raise ConfigError("configuration", key, None, remedy)
        if "://" in value and "@" in value and _has_password(value):
            remedy = "holds a password in its address, and the configuration is written down and logged: take it out"
            raise ConfigError("configuration", key, None, remedy)


def _texts(node: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, str):
        yield key, node


def _has_password(address: str) -> bool:
    try:
        return bool(urlsplit(address).password)
    except ValueError:  # no address after all
        return False


def _wandb_is_logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE", "online") in ("offline", "disabled"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or _WANDB_HOST
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
