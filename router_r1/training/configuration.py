"""A training run's configuration: composed of veRL's, this project's and the experiment's; checked before any start."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from router_r1.atomic import write_text
from router_r1.datasets import check_cost_weights, check_deals, check_parquet
from router_r1.errors import ConfigError, validated
from router_r1.machine import accelerators, is_ray_node
from router_r1.pool import NO_ADDRESS, RoutingPool, load_pool, missing_api_keys
from router_r1.project_files import experiment_names, project_root
from router_r1.prompts import load_template
from router_r1.rewards.rubric import RewardConfig, Rubric
from router_r1.rollout.exploration import ExplorationConfig
from router_r1.rollout.loop import RolloutLimits
from router_r1.rollout.model_folder import check_model_path
from router_r1.routing import RoutingConfig
from router_r1.sim.world.facts import Shares
from router_r1.training import attention
from router_r1.training.adapters import check_lora
from router_r1.training.batches import check_batches
from router_r1.training.constants import constants_settings
from router_r1.training.modes import MODES, SEPARATE, SYNC, check_mode
from router_r1.training.paths import make_absolute

_KEYS_OF_VERL = {
    "actor_rollout_ref": {
        "model": {"path": None},
        "rollout": {"val_kwargs": {"n": 1}, "nnodes": 0, "n_gpus_per_node": 8},
    },
    "algorithm": {"filter_groups": {"enable": False}},
    "distillation": {"nnodes": 0, "n_gpus_per_node": 8},
    "trainer": {"v1": {"sampler": {"sync_refill_failed_groups": False}}},
}
"""What is read here of veRL's own configuration and set by nothing of ours: enough for a dry run without veRL."""

REFERENCE, TEACHER = "reference", "teacher"
ANCHORS = (REFERENCE, TEACHER)
"""What holds the policy to its start (`verl/anchor/`)."""

DEFAULT_EXPERIMENT = {"cpu": "world_cpu", "gpu": "qwen2.5_3b"}


def response_length(max_turns: int, max_turn_tokens: int, max_obs_length: int) -> int:
    """Tokens after the prompt in the longest trajectory: every turn, the last one included, and every observation."""
    return RolloutLimits(
        max_turns=max_turns, max_turn_tokens=max_turn_tokens, max_obs_length=max_obs_length
    ).response_budget


OmegaConf.register_new_resolver("project_root", lambda: str(project_root()), replace=True)
OmegaConf.register_new_resolver("response_length", response_length, replace=True)
# The one source of the keys under `router_r1.routing`, so that each of them can be overridden.
ConfigStore.instance().store("defaults", RoutingConfig().model_dump(), group="routing", package="router_r1.routing")
OmegaConf.register_new_resolver("sum", lambda *terms: sum(terms), replace=True)
OmegaConf.register_new_resolver("product", lambda *factors: math.prod(factors), replace=True)
OmegaConf.register_new_resolver("quotient", lambda whole, part: max(1, int(whole) // int(part)), replace=True)


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose `verl/router_r1.yaml` with command-line overrides. Interpolations are not resolved yet.

    The platform and its default experiment follow from the machine unless they are given.

    Raises:
        ConfigError: an override that Hydra refuses, an experiment that there is not, or more GPUs than there are.
    """
    experiment = _value(overrides, "experiment")
    if experiment is not None and experiment not in experiment_names():
        remedy = f"is no experiment; there are {', '.join(experiment_names())}"
        raise ConfigError("command line", "experiment", experiment, remedy)
    mode = _value(overrides, "mode") or SYNC
    if mode not in MODES:
        raise ConfigError("command line", "mode", mode, f"is no mode; there are {', '.join(sorted(MODES))}")
    anchor = _value(overrides, "anchor") or REFERENCE
    if anchor not in ANCHORS:
        raise ConfigError("command line", "anchor", anchor, f"is no anchor; there are {', '.join(ANCHORS)}")
    given = {o.split("=", 1)[0].lstrip("+~") for o in overrides}
    gpus = accelerators()
    platform = _value(overrides, "platform") or ("gpu" if gpus else "cpu")
    chosen = [] if "platform" in given else [f"platform={platform}"]
    if "experiment" not in given and platform in DEFAULT_EXPERIMENT:
        chosen.append(f"experiment={DEFAULT_EXPERIMENT[platform]}")
    if gpus and platform == "gpu" and "trainer.n_gpus_per_node" not in given:
        chosen.append(f"trainer.n_gpus_per_node={_gpus_to_train_on(gpus, mode, anchor)}")
    chosen += attention.substitute(platform, given)
    return compose_file("router_r1", [*chosen, *overrides])


def _gpus_to_train_on(gpus: int, mode: str, anchor: str) -> int:
    """Of a machine's; the others are the teacher's, and in `separate` those of the engines that write."""
    left = gpus - (anchor == TEACHER)
    if left == 0:
        remedy = "needs 2 GPUs at least, one for the teacher, and there is 1; anchor=reference shares it"
        raise ConfigError("command line", "anchor", anchor, remedy)
    if mode != SEPARATE:
        return left
    if left == 1:
        there_are = "there is 1" if left == gpus else "there are 2, one of them for the teacher"
        remedy = f"needs 2 GPUs at least, and {there_are}; mode=async shares it"
        raise ConfigError("command line", "mode", mode, remedy)
    return left // 2


def compose_file(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose `verl/NAME.yaml`, which finds veRL's own configuration and `configs/`, with overrides.

    Raises:
        ConfigError: an override that Hydra refuses.
    """
    search = f"hydra.searchpath=[{_verl_configuration()},file://{project_root() / 'configs'}]"
    try:
        with initialize_config_dir(config_dir=str(project_root() / "verl"), version_base="1.3"):
            return compose(name, overrides=[search, *overrides])
    except (HydraException, OmegaConfBaseException) as fault:
        remedy = f"{_first_line(fault)} (known: the keys that the same command prints with --dry-run)"
        raise ConfigError("command line", "", None, remedy) from None


def experiment_name(overrides: Sequence[str]) -> str:
    """The experiment that `compose_config` selects for these overrides."""
    platform = _value(overrides, "platform") or ("gpu" if accelerators() else "cpu")
    return _value(overrides, "experiment") or DEFAULT_EXPERIMENT.get(platform, platform)


def check_platform(overrides: Sequence[str]) -> None:
    """Refuse to choose the platform by this machine where a Ray cluster does the work, and this machine has no GPU.

    Raises:
        ConfigError: with what to say.
    """
    if _value(overrides, "platform") is None and not accelerators() and is_ray_node():
        remedy = (
            "is not given; this machine has no GPU and belongs to a Ray cluster: say platform=gpu trainer.nnodes=N "
            "trainer.n_gpus_per_node=M for its GPUs, or platform=cpu to train the tiny policy here"
        )
        raise ConfigError("command line", "platform", None, remedy)


def resolve(config: DictConfig) -> DictConfig:
    """Resolve every interpolation, and make paths absolute: workers start elsewhere.

    Raises:
        ConfigError: a value that is still missing, or an interpolation that points nowhere.
    """
    _check_estimator(config)
    resolved = with_values(config)
    make_absolute(resolved)
    return resolved


def with_values(config: DictConfig) -> DictConfig:
    """With the values that its interpolations have.

    Raises:
        ConfigError: as `resolve`.
    """
    try:
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))
        missing = [k for k in OmegaConf.missing_keys(resolved) if k.startswith(("router_r1.", "data."))]
    except OmegaConfBaseException as fault:
        raise ConfigError("configuration", "", None, _first_line(fault)) from None
    if missing:
        raise ConfigError("configuration", sorted(missing)[0], None, "has no value; give one on the command line")
    return resolved


def _check_estimator(config: DictConfig) -> None:
    """Without a line of its own an estimator's settings would be interpolations that point nowhere."""
    estimator, known = config.algorithm.adv_estimator, config.router_r1.estimators
    if estimator not in known:
        line = f"+router_r1.estimators.{estimator}='{{rollout_n: 8, kl_in_reward: false, kl_loss: true}}'"
        remedy = f"has no line in router_r1.estimators, which has {', '.join(known)}; give it one: {line}"
        raise ConfigError("configuration", "algorithm.adv_estimator", estimator, remedy)


def _check_exploration(config: DictConfig) -> None:
    settings = OmegaConf.to_container(config.router_r1.exploration)
    exploration = validated(ExplorationConfig, "router_r1.exploration", settings)
    rollout = config.actor_rollout_ref.rollout
    if not exploration.is_on:
        return
    if rollout.temperature != 1.0 or rollout.logprobs_mode != "raw_logprobs":
        remedy = "exploration needs the policy's own log-probs: set it to raw_logprobs, and temperature to 1.0"
        raise ConfigError("configuration", "actor_rollout_ref.rollout.logprobs_mode", rollout.logprobs_mode, remedy)
    if config.trainer.total_training_steps is None:
        remedy = "exploration fades out over the steps: say how many there are"
        raise ConfigError("configuration", "trainer.total_training_steps", None, remedy)


def check_settings(config: DictConfig) -> None:
    """Everything about a resolved configuration that can be checked without veRL, the data, keys or a GPU.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    settings = config.router_r1
    reward = reward_of(config)
    Rubric.from_config(reward)
    _check_exploration(config)
    constants_settings(config)
    RolloutLimits(**settings.rollout, max_prompt_length=config.data.max_prompt_length)
    template = load_template(settings.template)
    if reward.is_sampled and not template.tells_cost_weight:
        remedy = "tells no cost weight, so none can be learned: add {cost_weight} to it, or set cost_coe to a number"
        raise ConfigError("configuration", "router_r1.template", settings.template, remedy)
    route_settings(config)
    pool = pool_of(config)
    if settings.sim.enabled and not pool.served_here:
        remedy = "is a pool of real candidates; set router_r1.sim.enabled=false, or say `simulated: true` in the file"
        raise ConfigError("configuration", "router_r1.pool", settings.pool, remedy)
    _check_share("router_r1.max_failed_routes", settings.max_failed_routes)
    Shares(**settings.sim.shares).check("router_r1.sim.shares")
    check_batches(config)
    check_mode(config)
    check_lora(config)
    if config.resume not in ("never", "auto"):
        raise ConfigError("command line", "resume", config.resume, "must be never or auto")
    model = config.actor_rollout_ref.model.path
    if not settings.sim.enabled or settings.sim.warm_start not in (None, "build"):
        check_model_path("configuration", "actor_rollout_ref.model.path", settings.sim.warm_start or model)


def reward_of(config: DictConfig) -> RewardConfig:
    """The settings of the reward.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    return validated(RewardConfig, "router_r1.reward", OmegaConf.to_container(config.router_r1.reward))


def pool_of(config: DictConfig) -> RoutingPool:
    """The run's pool, for checks and prompts: of a simulated one, which the run serves itself, without its address.

    Raises:
        ConfigError: its file.
    """
    settings = config.router_r1
    return load_pool(settings.pool, base_url=NO_ADDRESS if settings.sim.enabled else settings.pool_base_url)


def route_settings(config: DictConfig) -> RoutingConfig:
    """How the run's route service works. A cache that is not set is used for a real pool and not for the simulated one.

    What the simulated pool says depends on the world of the run, so a cache of it, if asked for, stays with the run.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    given = OmegaConf.to_container(config.router_r1.routing, resolve=True)
    assert isinstance(given, dict)
    simulated = config.router_r1.sim.enabled
    if given.get("cache") is None:
        given["cache"] = "off" if simulated else "readwrite"
    if given.get("cache_file") is None and simulated:
        given["cache_file"] = str(Path(config.run_dir, "replies.sqlite"))
    return validated(RoutingConfig, "router_r1.routing", {str(key): value for key, value in given.items()})


def missing(config: DictConfig) -> list[ConfigError]:
    """What a resolved configuration needs of this machine that is not there: keys, data files, veRL."""
    settings, faults = config.router_r1, []
    if not settings.sim.enabled:
        faults += missing_api_keys(load_pool(settings.pool, base_url=settings.pool_base_url))
        for key in ("train_files", "val_files"):
            files = config.data[key]
            for file in [files] if isinstance(files, str) else files:
                if not Path(file).is_file():
                    remedy = "is not there yet; router-r1 data makes question files"
                    faults.append(ConfigError("configuration", f"data.{key}", file, remedy))
    if not has_verl():
        remedy = "is not installed here, so its own keys are not known; install router-r1[cpu] or router-r1[gpu]"
        faults.append(ConfigError("environment", "verl", None, remedy))
    return faults


def check_data(config: DictConfig) -> None:
    """Check the data files of a resolved configuration: there, readable, of the right columns and splits.

    Their deals must be of the pool, and all have a cost weight if alpha is sampled.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    pool = pool_of(config)
    for key in ("train_files", "val_files"):
        files = config.data[key]
        for file in [files] if isinstance(files, str) else files:
            splits = check_parquet(file)
            # The cost window must see training trajectories only, and a row's split is what tells them apart.
            if (splits == {"train"}) != (key == "train_files"):
                wanted = "only 'train'" if key == "train_files" else "no 'train'"
                raise ConfigError(file, "extra_info.split", sorted(splits), f"data.{key} must hold {wanted}")
            check_deals(file, pool)
            if reward_of(config).is_sampled:
                check_cost_weights(file)


def set_values(config: DictConfig, values: Mapping[str, object]) -> None:
    """Set dotted keys of a composed configuration, new ones included."""
    with open_dict(config):
        for key, value in values.items():
            OmegaConf.update(config, key, value, force_add=True)


def dump(config: DictConfig, path: Path) -> None:
    """Write the configuration as YAML. It holds no secrets: keys are only ever named, by the pool file."""
    write_text(path, OmegaConf.to_yaml(resolve(config)))


def _check_share(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError("configuration", key, value, "must be in [0, 1]")


def has_verl() -> bool:
    """Whether veRL is installed, without importing it (seconds)."""
    return importlib.util.find_spec("verl") is not None and _verl_config_folder() is not None


def _verl_config_folder() -> Path | None:
    spec = importlib.util.find_spec("verl")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place, "trainer", "config")).is_dir():
            return folder
    return None


def _verl_configuration() -> str:
    """Where Hydra finds veRL's own configuration; without veRL, a stand-in of the few keys of it that are read here."""
    folder = _verl_config_folder()
    if folder is not None:
        return f"file://{folder}"
    ConfigStore.instance().store("ppo_trainer", _KEYS_OF_VERL)
    return "pkg://router_r1.training"


def _value(overrides: Sequence[str], key: str) -> str | None:
    found = [o.split("=", 1)[1] for o in overrides if o.startswith(f"{key}=")]
    return found[-1] if found else None


def _first_line(fault: Exception) -> str:
    return json.dumps(str(fault).strip().splitlines()[0])[1:-1]
