"""`router-r1 sim serve | retrieve | data | warm-start`: the simulated candidates, their questions, the tiny policy."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from router_r1.cli.cost_weights import told_weights
from router_r1.cli.running import exit_code_of
from router_r1.cli.serving_apps import serve_app
from router_r1.errors import ConfigError
from router_r1.project_files import pool_file
from router_r1.sim.world.candidates import PROFILES, SimulatedPool
from router_r1.sim.world.facts import Shares, World

if TYPE_CHECKING:
    from router_r1.sim.server.app import Speaker

app = App(name="sim", help="The simulated world: candidates behind real HTTP, questions, and the tiny policy.")
app.command("router_r1.cli.retrieve:retrieve", name="retrieve", help="Serve a BM25 retriever over HTTP.")


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    port_file: Path | None = None,
    seed: int = 0,
    qa: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    qa_skill: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    latency_scale: float = 1.0,
    latency: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    api_key_env: str | None = None,
    faults: Path | None = None,
    recorded: str | None = None,
) -> int:
    """Serve the simulated candidates over HTTP, and a retriever of the world's facts, or a pool's recorded replies.

    Parameters
    ----------
    host
        Address to listen on.
    port
        0 takes a free one.
    port_file
        Write the port here once the server is ready.
    seed
        Of the world and of what the candidates know.
    qa
        Also answer the questions of this JSONL file or FlashRAG-layout folder; may be repeated.
    qa_skill
        DATASET:CANDIDATE=P, the probability that a candidate answers a question of a --qa data set rightly; may be
        repeated.
    latency_scale
        Factor on all latencies; 0 for none.
    latency
        CANDIDATE=MEDIAN_MS[,SIGMA], a candidate's log-normal latency; may be repeated.
    api_key_env
        Refuse requests without the key in this environment variable.
    faults
        Let requests fail as this YAML or JSON file says.
    recorded
        Answer with the recorded replies of this pool instead: a file, or the name of one that comes with the project.
    """
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)

    def run() -> None:
        from router_r1.sim.server import app as server
        from router_r1.sim.server.faults import load_faults
        from router_r1.sim.server.retrieval import world_passages

        api_key = _required_variable(api_key_env)
        if not 0 <= latency_scale < float("inf"):
            raise ConfigError("--latency-scale", "", latency_scale, "must be 0 or a positive number")
        if recorded is None:
            speaker, known = _simulated(seed, qa, qa_skill, latency)
        elif qa or qa_skill or latency:
            raise ConfigError("--recorded", "", recorded, "goes with no --qa, --qa-skill or --latency")
        else:
            speaker, known = _recorded(recorded)
        plan = load_faults(faults) if faults else None
        passages = partial(world_passages, seed) if recorded is None else None
        application = server.create_app(
            speaker, latency_scale=latency_scale, api_key=api_key, faults=plan, passages=passages
        )
        serve_app(application, host, port, port_file, lambda at: f"pool server ready on {at}/v1 ({known})")

    return exit_code_of(run)


@app.command
def data(
    *,
    out: Path,
    seed: int = 0,
    train: int = 2560,
    val: int = 256,
    two_hop_share: float = 0.35,
    three_hop_share: float = 0.15,
    known_share: float = 0.1,
    pool: str = "sim",
    template: str = "tiny",
    qa: Path | None = None,
    sets: str = "nq:train,hotpotqa:train",
    val_sets: str | None = None,
    cost_weights: str | None = None,
) -> int:
    """Write train.parquet and val.parquet.

    Parameters
    ----------
    out
        Folder for them.
    seed
        Of the world and of the draw.
    train
        Number of training questions.
    val
        Number of validation questions.
    two_hop_share
        Share of questions of two hops.
    three_hop_share
        Of three hops.
    known_share
        Of one fact about a famous name, which the tiny policy knows.
    pool
        Pool that the prompts offer: a file, or the name of one that comes with the project.
    template
        Prompt template: its name or file.
    qa
        Take real questions from this FlashRAG-layout folder.
    sets
        DATASET:SPLIT,... with --qa: train on these.
    val_sets
        DATASET:SPLIT,... with --qa: validate on these (default: on what training leaves of --sets).
    cost_weights
        Numbers in [0, 1], such as 0,0.2,0.4: each question gets one of them, and its prompt tells it.
    """

    def run() -> None:
        from router_r1.pool import dealer_of, load_pool
        from router_r1.prompts import load_template, render_messages
        from router_r1.sim.world.question_files import parse_sets, write_qa, write_world

        loaded, candidates = load_template(template), load_pool(pool_file(pool))
        for option, number in (("--train", train), ("--val", val)):
            if number < 1:
                raise ConfigError(option, "", number, "must be at least 1")

        sizes: dict[str, Any] = {"train": train, "val": val, "seed": seed, "deal": dealer_of(candidates, seed)}
        sizes |= {
            "render": partial(render_messages, loaded, candidates),
            "cost_weights": told_weights(cost_weights, loaded),
        }
        if qa:
            validation = parse_sets(val_sets) if val_sets else None
            paths = write_qa(out, qa, sets=parse_sets(sets), val_sets=validation, **sizes)
        else:
            paths = write_world(out, World(seed), shares=Shares(two_hop_share, three_hop_share, known_share), **sizes)
        for path in paths:
            print(path)

    return exit_code_of(run)


@app.command
def warm_start(*, out: Path | None = None, check: Path | None = None, seed: int = 0, trajectories: int = 512) -> int:
    """Build the tiny policy, or sample from one and report on it; minutes.

    Parameters
    ----------
    out
        Build into this folder, which must not exist (default: into the cache).
    check
        Sample from the policy in this folder and report on it instead.
    seed
        Of the policy.
    trajectories
        With --check: how many.
    """

    def run() -> None:
        from router_r1.sim.tiny_policy.warm_start import build_or_check

        build_or_check(out=out, check=check, seed=seed, trajectories=trajectories)

    return exit_code_of(run)


def _simulated(seed: int, qa: Sequence[str], qa_skill: Sequence[str], latency: Sequence[str]) -> tuple[Speaker, str]:
    """The simulated candidates, and what they know in a few words."""
    from router_r1.sim.server.app import SimulatedSpeaker
    from router_r1.sim.world.qa_book import QaBook, find_files

    skills = dict(_parse_skill(written) for written in qa_skill)
    files = find_files(qa)
    book = QaBook(files, skills) if files or skills else None
    pool = SimulatedPool(World(seed), [book] if book else [], dict(_parse_latency(written) for written in latency))
    known = f", {len(book)} questions of {', '.join(book.datasets)}" if book else ""
    return SimulatedSpeaker(pool), f"seed {seed}{known}"


def _recorded(written: str) -> tuple[Speaker, str]:
    """The candidates of a pool of recorded replies, and what they know in a few words."""
    from router_r1.recorded.pools import recorded_pool
    from router_r1.recorded.serving import RecordedSpeaker

    speaker = RecordedSpeaker(recorded_pool(pool_file(written)))
    return speaker, f"{len(speaker.recorded.questions)} questions of {speaker.recorded.source}"


def _required_variable(name: str | None) -> str | None:
    if name is None:
        return None
    if not (value := os.environ.get(name)):
        raise ConfigError(
            "--api-key-env", "", name, "this environment variable is not set; set it or leave the option out"
        )
    return value


def _parse_skill(written: str) -> tuple[tuple[str, str], float]:
    names, equals, number = written.partition("=")
    dataset, colon, candidate = names.partition(":")
    try:
        skill = float(number)
    except ValueError:
        equals = ""
    if not (equals and colon):
        raise ConfigError("--qa-skill", "", written, "must be written DATASET:CANDIDATE=P, such as nq:Pico-1B=0.3")
    return (dataset.strip(), candidate.strip()), skill


def _parse_latency(written: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = written.partition("=")
    profile = PROFILES.get(name.strip())
    if profile is None:
        raise ConfigError("--latency", "", written, f"must begin with one of {', '.join(PROFILES)} and =")
    median, _, sigma = numbers.partition(",")
    try:
        latency = float(median), float(sigma) if sigma else profile.latency_sigma
    except ValueError:
        latency = (-1.0, -1.0)
    if not all(0 <= number < 1e6 for number in latency):
        raise ConfigError("--latency", "", written, "must be CANDIDATE=MEDIAN_MS[,SIGMA], such as Omni-72B=500,0.8")
    return profile.name, latency
