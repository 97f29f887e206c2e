"""What a run in the simulated world needs before it can train: questions, a policy to start from, and a pool server."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from router_r1 import memory
from router_r1.datasets import flashrag_file
from router_r1.errors import ConfigError
from router_r1.pool import dealer_of
from router_r1.prompts import load_template, render_messages
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.recorded.question_files import write_recorded
from router_r1.rollout.model_folder import check_model_path
from router_r1.sim.server.process import pool_server
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.world import question_files as data
from router_r1.sim.world.facts import Shares, World
from router_r1.training.configuration import pool_of, reward_of


def check(config: DictConfig) -> None:
    """See that the real questions, or the recorded replies, that a run asks for are there.

    Raises:
        ConfigError: they are not, or an experiment that needs them was given no folder.
    """
    sim = config.router_r1.sim
    _check_latency(config)
    _check_base(config)
    if (pool := pool_of(config)).recorded:
        split_recorded(load_recorded_pool(pool))
        return
    if sim.qa_train and not sim.qa_root:
        raise ConfigError(
            "environment",
            "DATA_ROOT",
            None,
            "is not set; give a folder in FlashRAG's layout, ROOT/<dataset>/<split>.jsonl "
            "(or router_r1.sim.qa_root=FOLDER)",
        )
    for sets in (sim.qa_train, sim.qa_val):
        for dataset, split in data.parse_sets(sets) if sets else []:
            flashrag_file(sim.qa_root, dataset, split)


def _check_base(config: DictConfig) -> None:
    sim, key = config.router_r1.sim, "router_r1.sim.build_on"
    if sim.build_on is None or sim.warm_start != "build":
        return
    if not (sim.qa_train or pool_of(config).recorded):
        remedy = "goes with real questions (router_r1.sim.qa_train) or recorded replies"
        raise ConfigError("configuration", key, sim.build_on, remedy)
    check_model_path("configuration", key, sim.build_on)


def _check_latency(config: DictConfig) -> None:
    latency, key = config.router_r1.sim.latency, "router_r1.sim.latency"
    if latency is None:
        return
    if pool_of(config).recorded:
        raise ConfigError("configuration", key, dict(latency), "recorded replies come at once; set it to null")
    if set(latency) != {"median_ms", "sigma"} or not all(
        isinstance(value, int | float) and 0 <= value < float("inf") for value in latency.values()
    ):
        raise ConfigError("configuration", key, dict(latency), "must be {median_ms: MILLISECONDS, sigma: NUMBER}")


def write_questions(config: DictConfig, folder: Path) -> None:
    """Write `folder`/train.parquet and val.parquet as the resolved configuration wants them."""
    settings, sim = config.router_r1, config.router_r1.sim
    pool = pool_of(config)
    render, deal = partial(render_messages, load_template(settings.template), pool), dealer_of(pool, config.seed)
    weights = reward_of(config).alphas
    if pool.recorded:
        write_recorded(
            folder,
            pool,
            train=sim.train_size,
            val=sim.val_size,
            seed=config.seed,
            render=render,
            cost_weights=weights,
        )
    elif sim.qa_train:
        data.write_qa(
            folder,
            sim.qa_root,
            sets=data.parse_sets(sim.qa_train),
            val_sets=data.parse_sets(sim.qa_val) if sim.qa_val else None,
            train=sim.train_size,
            val=sim.val_size,
            seed=config.seed,
            render=render,
            cost_weights=weights,
            deal=deal,
        )
    else:
        data.write_world(
            folder,
            World(config.seed),
            train=sim.train_size,
            val=sim.val_size,
            seed=config.seed,
            shares=Shares(**sim.shares),
            render=render,
            cost_weights=weights,
            deal=deal,
        )


def named_policy(config: DictConfig) -> Path | str | None:
    """What `sim.warm_start` names; None if a policy is to be built, of the shape of `policy_to_build_on`."""
    asked = config.router_r1.sim.warm_start
    return None if asked == "build" else _policy(asked)


def policy_to_build_on(config: DictConfig) -> Path | str:
    """What a warm start is built on where questions are real: the shipped one, or what `sim.build_on` names."""
    return _policy(config.router_r1.sim.build_on)


def _policy(asked: str | None) -> Path | str:
    if asked is None:
        return SHIPPED_POLICY
    folder = Path(asked).expanduser()
    return folder.absolute() if folder.is_dir() else str(asked)


def start_policy(config: DictConfig) -> Path | str:
    """The policy to start from: the shipped warm start, or what `sim.warm_start` names: folder, hub id, or `build`.

    One for real questions or recorded replies is built in the run's folder, and found there when the run is resumed.
    """
    if (named := named_policy(config)) is not None:
        return named
    # torch and transformers: seconds
    if not (pool_of(config).recorded or config.router_r1.sim.qa_train):
        from router_r1.sim.tiny_policy.warm_start import ensure_warm_start

        return ensure_warm_start(seed=config.seed)
    folder = Path(config.run_dir, "warm_start")
    if not folder.exists():
        partial = folder.with_name("warm_start.partial")
        _build_for_the_questions(config, partial)
        os.replace(partial, folder)
        memory.give_back()
    return folder.absolute()


def _build_for_the_questions(config: DictConfig, folder: Path) -> None:
    """Go on with a policy on demonstrations made of the run's training questions."""
    pool, template = pool_of(config), load_template(config.router_r1.template)
    base = policy_to_build_on(config)
    if pool.recorded:
        from router_r1.recorded.warm_start import build_recorded_warm_start

        build_recorded_warm_start(folder, pool, template, seed=config.seed, base=base)
    else:
        from router_r1.sim.tiny_policy.real_questions import build_real_warm_start

        questions = Path(config.run_dir, "data", "train.parquet")
        build_real_warm_start(folder, pool, template, questions, seed=config.seed, base=base)


def untrained_policy(folder: Path) -> Path:
    """The tiny policy's architecture with random weights and a small tokenizer, as a Hugging Face folder."""
    from router_r1.sim.tiny_policy import weights as tiny_policy

    tokenizer = tiny_policy.build_tokenizer(["Who directed the one who sang?"], [])
    tiny_policy.build_model(tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def serve_pool(config: DictConfig, log: Path) -> AbstractContextManager[str]:
    """The run's pool server; yields its base URL."""
    sim = config.router_r1.sim
    qa = [sim.qa_root] if sim.qa_train else []
    recorded = config.router_r1.pool if pool_of(config).recorded else None
    return pool_server(
        log,
        seed=config.seed,
        latency_scale=sim.latency_scale,
        qa=qa,
        recorded=recorded,
        options=latency_options(config),
    )


def latency_options(config: DictConfig) -> list[str]:
    """Tells the pool server that every candidate is as slow as `sim.latency` says; [] if each is as its profile."""
    latency = config.router_r1.sim.latency
    if latency is None:
        return []
    median, sigma = latency.median_ms, latency.sigma
    return [word for name in pool_of(config).names for word in ("--latency", f"{name}={median:g},{sigma:g}")]
