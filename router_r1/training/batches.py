"""Counts that must come out even: questions, trajectories, mini-batches, GPUs, tokens.

veRL 0.9.1 finds most of what does not inside the first update, after a validation and a rollout were paid for
(`workers/engine_workers.py`, `train_mini_batch`; `utils/seqlen_balancing.py`, `rearrange_micro_batches`). Here it is
refused before the start, with the nearest values that work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError

COMPARING = ("grpo", "rloo", "opo", "reinforce_plus_plus_baseline", "grpo_vectorized", "rloo_vectorized")
"""Estimators whose advantage of a trajectory is its reward beside that of others of the same question."""

_ACTOR, _CRITIC, _ROLLOUT = "actor_rollout_ref.actor", "critic", "actor_rollout_ref.rollout"
_MINI = "ppo_mini_batch_size"


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, one a GPU."""

    nodes: int
    per_node: int

    @classmethod
    def of(cls, config: DictConfig) -> Cluster:
        return cls(config.trainer.nnodes, config.trainer.n_gpus_per_node)

    @property
    def size(self) -> int:
        return self.nodes * self.per_node


def check_batches(config: DictConfig) -> None:
    """Refuse a resolved configuration whose counts do not fit each other.

    Raises:
        ConfigError: for the first that does not.
    """
    _check_groups(config)
    _check_mini_batches(config)
    _check_devices(config)
    _check_token_budgets(config)


def uses_critic(config: DictConfig) -> bool:
    enabled = OmegaConf.select(config, "critic.enable")
    return bool(config.algorithm.adv_estimator == "gae" if enabled is None else enabled)


def _check_groups(config: DictConfig) -> None:
    estimator, n = config.algorithm.adv_estimator, config.actor_rollout_ref.rollout.n
    if n >= 2:
        return
    if estimator in COMPARING:
        remedy = f"{estimator.upper()} compares the answers to one question: at least 2"
        raise ConfigError("configuration", f"{_ROLLOUT}.n", n, remedy)
    if OmegaConf.select(config, "algorithm.filter_groups.enable"):
        remedy = "algorithm.filter_groups looks for groups whose rewards are all the same: at least 2"
        raise ConfigError("configuration", f"{_ROLLOUT}.n", n, remedy)


def _check_mini_batches(config: DictConfig) -> None:
    """A step is trained on in whole mini-batches; what an update samples at once is its share of the step."""
    batch, mode = config.data.train_batch_size, OmegaConf.select(config, "trainer.v1.trainer_mode")
    updates = OmegaConf.select(config, f"trainer.v1.{mode}.parameter_sync_step") or 1
    if batch % updates:
        key = f"trainer.v1.{mode}.parameter_sync_step"
        raise ConfigError("configuration", key, updates, f"must divide data.train_batch_size ({batch})")
    for part, mini in _mini_batches(config).items():
        if (batch // updates) % mini:
            share = f"data.train_batch_size ({batch})" + (f" / parameter_sync_step ({updates})" if updates > 1 else "")
            remedy = f"must divide {share}: a rest would be filled up with empty trajectories"
            raise ConfigError("configuration", f"{part}.{_MINI}", mini, remedy)


def _mini_batches(config: DictConfig) -> dict[str, int]:
    """Questions per mini-batch of each model that is trained."""
    found = {_ACTOR: config.actor_rollout_ref.actor.ppo_mini_batch_size}
    critic = OmegaConf.select(config, f"{_CRITIC}.{_MINI}")
    return found | ({_CRITIC: critic} if critic and uses_critic(config) else {})


def _check_devices(config: DictConfig) -> None:
    cluster, n = Cluster.of(config), config.actor_rollout_ref.rollout.n
    for key, count in (("nnodes", cluster.nodes), ("n_gpus_per_node", cluster.per_node)):
        if not isinstance(count, int) or count < 1:
            raise ConfigError("configuration", f"trainer.{key}", count, "must be a whole number of at least 1")
    engine = _product(config, "tensor_model_parallel_size", "data_parallel_size", "pipeline_model_parallel_size")
    sequence = {_ACTOR: _sequence_parallel(config, f"{_ACTOR}.fsdp_config")}
    sequence[_CRITIC] = _sequence_parallel(config, f"{_CRITIC}.fsdp")
    minis = _mini_batches(config)

    def works(size: int) -> bool:
        return size % engine == 0 and all(
            size % sequence[part] == 0 and mini * n % (size // sequence[part]) == 0 for part, mini in minis.items()
        )

    if works(cluster.size):
        return
    raise ConfigError(
        "configuration",
        "trainer.n_gpus_per_node" if cluster.nodes == 1 else "trainer.nnodes x trainer.n_gpus_per_node",
        cluster.per_node if cluster.nodes == 1 else f"{cluster.nodes} x {cluster.per_node}",
        _why(config, cluster.size, engine, sequence) + "; " + _what_works(config, cluster, works, sequence),
    )


def _why(config: DictConfig, size: int, engine: int, sequence: dict[str, int]) -> str:
    if size % engine:
        return f"{size} GPUs do not come out even in engines of {engine} ({_ROLLOUT}.tensor_model_parallel_size)"
    n = config.actor_rollout_ref.rollout.n
    for part, mini in _mini_batches(config).items():
        if size % sequence[part]:
            return f"{size} GPUs do not come out even in sequence-parallel groups of {sequence[part]} ({part})"
        ranks = size // sequence[part]
        if mini * n % ranks:
            trajectories = f"{mini * n} trajectories ({part}.{_MINI} {mini} x rollout.n {n})"
            return f"a mini-batch of {trajectories} cannot be shared out evenly among {ranks} GPUs"
    raise AssertionError("called for a count that does not work")


def _what_works(config: DictConfig, cluster: Cluster, works: Callable[[int], bool], sequence: dict[str, int]) -> str:
    """The nearest counts of GPUs, and batches for the count there is."""
    n, minis, batch = config.actor_rollout_ref.rollout.n, _mini_batches(config), config.data.train_batch_size
    most = max(mini * n * sequence[part] for part, mini in minis.items())
    fixed, varied = (1, cluster.per_node) if cluster.nodes == 1 else (cluster.per_node, cluster.nodes)
    counts = [count for count in range(1, most // fixed + 1) if works(fixed * count)]
    nearest = [c for c in counts if c < varied][-1:] + [c for c in counts if c > varied][:1]
    words = []
    if nearest:
        what = "GPUs" if cluster.nodes == 1 else f"nodes of {cluster.per_node} GPUs"
        words.append(f"{' or '.join(map(str, nearest))} {what} would do")
    ranks = [cluster.size // sequence[part] for part in minis if cluster.size % sequence[part] == 0]
    if len(ranks) == len(minis):
        unit = math.lcm(*(rank // math.gcd(rank, n) for rank in ranks))
        mini = _nearest_multiple(unit, min(minis.values()))
        whole = _nearest_multiple(mini, batch)
        words.append(f"or for {cluster.size} set {_ACTOR}.{_MINI}={mini} data.train_batch_size={whole}")
    return ", ".join(words) or "no count of GPUs would do"


def _nearest_multiple(unit: int, value: int) -> int:
    return max(1, math.floor(value / unit + 0.5)) * unit


def _check_token_budgets(config: DictConfig) -> None:
    """The longest trajectory fits one micro-batch of every pass."""
    longest = config.data.max_prompt_length + config.data.max_response_length
    if not OmegaConf.select(config, f"{_ACTOR}.use_dynamic_bsz"):
        return
    budgets = {
        f"{_ACTOR}.ppo_max_token_len_per_gpu": f"{_ACTOR}.fsdp_config",
        f"{_ROLLOUT}.log_prob_max_token_len_per_gpu": f"{_ACTOR}.fsdp_config",
        "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": "actor_rollout_ref.ref.fsdp_config",
    }
    if uses_critic(config):
        budgets[f"{_CRITIC}.ppo_infer_max_token_len_per_gpu"] = f"{_CRITIC}.fsdp"
    for key, engine in budgets.items():
        budget: Any = OmegaConf.select(config, key)
        group = _sequence_parallel(config, engine)
        if budget is not None and budget * group < longest:
            remedy = (
                f"the longest trajectory has {longest} tokens (data.max_prompt_length + data.max_response_length), and "
                f"one micro-batch must hold it: at least {math.ceil(longest / group)}"
            )
            raise ConfigError("configuration", key, budget, remedy)


def _sequence_parallel(config: DictConfig, engine: str) -> int:
    return int(OmegaConf.select(config, f"{engine}.ulysses_sequence_parallel_size") or 1)


def _product(config: DictConfig, *keys: str) -> int:
    return math.prod(int(OmegaConf.select(config, f"{_ROLLOUT}.{key}") or 1) for key in keys)
