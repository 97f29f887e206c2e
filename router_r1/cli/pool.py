"""`data_process/prompt_pool.py describe | show`: descriptors of a pool's candidates, and the prompt they end up in."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from router_r1 import atomic
from router_r1.benchmark.descriptors import Measured, describe, measure, with_descriptors
from router_r1.cli.running import exit_code_of, positive
from router_r1.datasets import check_parquet
from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, RoutingPool, check_api_keys, load_pool
from router_r1.prompts import Template, load_template, render_messages
from router_r1.protocol import Route
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.tokens import encode_prompt
from router_r1.routing import RouteService
from router_r1.sim.tiny_policy import SHIPPED_POLICY

_TOKENIZERS = {
    "tiny": str(SHIPPED_POLICY),
    "qwen": "Qwen/Qwen2.5-3B-Instruct",
    "llama": "meta-llama/Llama-3.2-3B-Instruct",
}
_WRITER = "writer"
_WRITER_TOKENS = 1024


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code_of(lambda: arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prompt_pool.py", description="Descriptors and prompts of a routing pool.")
    commands = parser.add_subparsers(required=True, metavar="describe|show")

    asked = commands.add_parser("describe", help="have a strong LLM write the candidates' descriptors, for review")
    asked.set_defaults(run=_describe)
    asked.add_argument("--pool", type=Path, required=True, metavar="FILE")
    asked.add_argument(
        "--with", dest="writer", required=True, metavar="MODEL",
        help="who writes: a candidate of the pool, or with --base_url a model id served there",
    )  # fmt: skip
    asked.add_argument("--base_url", metavar="URL", help="OpenAI-compatible endpoint of the writer")
    asked.add_argument("--api_key_env", metavar="VAR", help="environment variable with that endpoint's key")
    asked.add_argument("--api_base", metavar="URL", help="endpoint of all candidates, instead of the pool file's")
    asked.add_argument("--probe", type=positive, metavar="N", help="first ask every candidate N questions of --data")
    asked.add_argument("--data", metavar="FILE", help="question file (parquet) to probe with")
    asked.add_argument("--out", type=Path, metavar="FILE", help="the new pool file (default: NAME.described.yaml)")

    shown = commands.add_parser("show", help="print the prompt of a question, with token counts")
    shown.set_defaults(run=_show)
    shown.add_argument("--pool", type=Path, required=True, metavar="FILE")
    shown.add_argument("--model", default="qwen", metavar="qwen|llama|tiny|FILE", help="prompt template")
    shown.add_argument("--question", default="Who was the first person to walk on the Moon?")
    shown.add_argument("--tokenizer", metavar="DIR", help="model folder or hub id to count with")
    return parser


# ---------------------------------------------------------------- describe


def _describe(arguments: argparse.Namespace) -> None:
    pool = load_pool(arguments.pool, base_url=arguments.api_base)
    writer = _writer(arguments, pool)
    if (arguments.probe is None) != (arguments.data is None):
        raise ConfigError("command line", "--probe", arguments.probe, "goes with --data FILE, and --data with it")
    questions = _questions(arguments.data, arguments.probe) if arguments.data else []
    check_api_keys(writer)
    if questions:
        check_api_keys(pool)
    text = arguments.pool.read_text(encoding="utf-8")
    measured, descriptors = asyncio.run(_ask(pool, writer, questions))
    out = arguments.out or arguments.pool.with_suffix(f".described{arguments.pool.suffix}")
    atomic.write_text(out, with_descriptors(text, descriptors, source=arguments.pool))
    for name, descriptor in descriptors.items():
        if name in measured:
            m = measured[name]
            figures = f"{m.accuracy:.2f} of {m.questions} right, {m.latency_s:.2f} s, {m.completion_tokens:.0f} tokens"
            print(f"{name} ({figures}, {m.failed} failed): {descriptor}")
        else:
            print(f"{name}: {descriptor}")
    print(f"\nreview and keep: {out}")


def _writer(arguments: argparse.Namespace, pool: RoutingPool) -> RoutingPool:
    """A pool of one: the LLM that writes."""
    if arguments.base_url is not None:
        free = Price(input=0.0, output=0.0)
        entry = {"name": _WRITER, "model": arguments.writer, "price": free, "descriptor": _WRITER}
        more = {"base_url": arguments.base_url, "api_key_env": arguments.api_key_env, "max_tokens": _WRITER_TOKENS}
        try:
            return RoutingPool(name=_WRITER, candidates=(Candidate.model_validate({**entry, **more}),))
        except ValueError:
            remedy = "must be an address like https://host/v1, and --api_key_env the NAME of a variable"
            raise ConfigError("command line", "--base_url", None, remedy) from None
    found = pool.resolve(arguments.writer)
    if found is None:
        remedy = f"is none of {', '.join(pool.names)}; name one, or say where it is served with --base_url"
        raise ConfigError("command line", "--with", arguments.writer, remedy)
    as_writer = found.model_copy(update={"name": _WRITER, "aliases": (), "max_tokens": _WRITER_TOKENS})
    return RoutingPool(name=_WRITER, candidates=(as_writer,), source=pool.source)


def _questions(file: str, n: int) -> list[tuple[str, list[str]]]:
    import pyarrow.parquet as pq

    check_parquet(file)
    rows = pq.read_table(file, columns=["reward_model", "extra_info"]).slice(0, n).to_pylist()
    return [(row["extra_info"]["question"], row["reward_model"]["ground_truth"]["target"]) for row in rows]


async def _ask(
    pool: RoutingPool, writer: RoutingPool, questions: list[tuple[str, list[str]]]
) -> tuple[dict[str, Measured], dict[str, str]]:
    async with RouteService(pool) as candidates, RouteService(writer) as one:

        async def write(query: str) -> Route:
            return await one.route(_WRITER, query)

        measured = await measure(pool, questions, candidates.route) if questions else {}
        return measured, await describe(pool, measured, write)


# ---------------------------------------------------------------- show


def _show(arguments: argparse.Namespace) -> None:
    pool, template = load_pool(arguments.pool), load_template(arguments.model)
    messages = render_messages(template, pool, arguments.question)
    print("\n".join(message["content"] for message in messages))
    print(f"\n{_counts(arguments, template, pool)}")


def _counts(arguments: argparse.Namespace, template: Template, pool: RoutingPool) -> str:
    """How many tokens the prompt has, and how many of them each candidate costs."""
    path = arguments.tokenizer or _TOKENIZERS.get(arguments.model)
    if path is None:
        return "tokens: not counted; name a tokenizer with --tokenizer DIR"
    if arguments.tokenizer is None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a count is not worth a download that nobody asked for
    try:
        tokenizer = load_tokenizer(path)
    except ConfigError as fault:
        if arguments.tokenizer:
            raise
        print(f"note: {fault}", file=sys.stderr)
        return f"tokens: not counted, {path} is not on this machine; name a tokenizer with --tokenizer DIR"
    lines = [f"tokens: {len(encode_prompt(tokenizer, render_messages(template, pool, arguments.question)))} in all"]
    for candidate in pool.candidates:
        count = len(tokenizer.encode(candidate.descriptor, add_special_tokens=False))
        lines.append(f"  {candidate.name}: {count} of its descriptor")
    return "\n".join(lines)
