"""`python -m router_r1.sim serve | data`: the pool server, and the question files of the CPU experiments."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.sim.world.candidates import PROFILES, SimulatedPool
from router_r1.sim.world.facts import World

_PROJECT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. What a user wrote wrong is told in one line."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except ConfigError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m router_r1.sim", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the simulated candidates over HTTP")
    serve.set_defaults(run=_serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve.add_argument("--port", type=int, default=8765, help="0 takes a free port (default: 8765)")
    serve.add_argument("--port-file", type=Path, metavar="FILE", help="write the port here once the server is ready")
    serve.add_argument("--seed", type=int, default=0, help="of the world and of what the candidates know (default: 0)")
    serve.add_argument(
        "--qa", action="append", default=[], metavar="PATH",
        help="also answer the questions of this JSONL file or FlashRAG-layout folder; may be repeated",
    )  # fmt: skip
    serve.add_argument(
        "--qa-skill", action="append", default=[], metavar="DATASET:CANDIDATE=P",
        help="probability that a candidate answers a question of a --qa data set rightly; may be repeated",
    )  # fmt: skip
    serve.add_argument(
        "--latency-scale", type=float, default=1.0, help="factor on all latencies; 0 for none (default: 1)"
    )
    serve.add_argument(
        "--latency", action="append", default=[], metavar="CANDIDATE=MEDIAN_MS[,SIGMA]",
        help="a candidate's log-normal latency; may be repeated",
    )  # fmt: skip
    serve.add_argument(
        "--api-key-env", metavar="VAR", help="refuse requests without the key in this environment variable"
    )
    serve.add_argument("--faults", type=Path, metavar="FILE", help="let requests fail as this YAML or JSON file says")

    data = commands.add_parser("data", help="write train.parquet and val.parquet")
    data.set_defaults(run=_data)
    data.add_argument("--out", type=Path, required=True, metavar="DIR")
    data.add_argument("--seed", type=int, default=0, help="of the world and of the draw (default: 0)")
    data.add_argument("--train", type=int, default=2560, metavar="N", help="training questions (default: 2560)")
    data.add_argument("--val", type=int, default=256, metavar="N", help="validation questions (default: 256)")
    data.add_argument("--two-hop-share", type=float, default=0.4, help="share of two-hop questions (default: 0.4)")
    data.add_argument("--pool", type=Path, default=_PROJECT / "configs/pools/sim.yaml", metavar="FILE")
    data.add_argument("--template", default="tiny", help="prompt template: its name or file (default: tiny)")
    data.add_argument("--qa", type=Path, metavar="ROOT", help="take real questions from this FlashRAG-layout folder")
    data.add_argument(
        "--sets", default="nq:train,hotpotqa:train", metavar="DATASET:SPLIT,...",
        help="with --qa: train on these (default: %(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--val-sets", metavar="DATASET:SPLIT,...",
        help="with --qa: validate on these (default: on what training leaves of --sets)",
    )  # fmt: skip
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from router_r1 import atomic
    from router_r1.sim.server.app import bind, create_app, run
    from router_r1.sim.server.faults import load_faults
    from router_r1.sim.world.qa_book import QaBook, find_files

    api_key = _required_variable(arguments.api_key_env)
    if not 0 <= arguments.latency_scale < float("inf"):
        raise ConfigError("--latency-scale", "", arguments.latency_scale, "must be 0 or a positive number")
    skills = dict(_parse_skill(written) for written in arguments.qa_skill)
    files = find_files(arguments.qa)
    book = QaBook(files, skills) if files or skills else None
    latencies = dict(_parse_latency(written) for written in arguments.latency)
    pool = SimulatedPool(World(arguments.seed), [book] if book else [], latencies)
    faults = load_faults(arguments.faults) if arguments.faults else None
    app = create_app(pool, latency_scale=arguments.latency_scale, api_key=api_key, faults=faults)
    # A file that an earlier server left behind would name a dead port.
    if arguments.port_file:
        arguments.port_file.unlink(missing_ok=True)
    try:
        sock = bind(arguments.host, arguments.port)
    except (OSError, OverflowError) as fault:
        raise ConfigError("--port", "", arguments.port, f"cannot listen on {arguments.host}: {fault}") from fault
    port = sock.getsockname()[1]

    def on_ready() -> None:
        if arguments.port_file:
            atomic.write_text(arguments.port_file, f"{port}\n")
        known = f", {len(book)} questions of {', '.join(book.datasets)}" if book else ""
        print(f"pool server ready on http://{arguments.host}:{port}/v1 (seed {arguments.seed}{known})", flush=True)

    # uvicorn raises the signal that ended it once more; by then everything is done, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    run(app, sock, on_ready=on_ready)
    return 0


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


def _data(arguments: argparse.Namespace) -> int:
    from router_r1.pool import load_pool
    from router_r1.prompts import load_template, render_messages
    from router_r1.sim.world.question_files import parse_sets, write_qa, write_world

    template, pool = load_template(arguments.template), load_pool(arguments.pool)
    for option in ("train", "val"):
        if getattr(arguments, option) < 1:
            raise ConfigError(f"--{option}", "", getattr(arguments, option), "must be at least 1")

    def render(question: str) -> list[dict[str, str]]:
        return render_messages(template, pool, question)

    sizes = {"train": arguments.train, "val": arguments.val, "seed": arguments.seed, "render": render}
    if arguments.qa:
        val_sets = parse_sets(arguments.val_sets) if arguments.val_sets else None
        paths = write_qa(arguments.out, arguments.qa, sets=parse_sets(arguments.sets), val_sets=val_sets, **sizes)
    else:
        world = World(arguments.seed)
        paths = write_world(arguments.out, world, two_hop_share=arguments.two_hop_share, **sizes)
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
