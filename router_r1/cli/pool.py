"""`router-r1 pool describe | show`: descriptors of a pool's candidates, and the prompt they end up in."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from router_r1 import atomic
from router_r1.benchmark.descriptors import Measured, measure, with_descriptors
from router_r1.benchmark.descriptors import describe as describe_candidates
from router_r1.cli.running import exit_code_of
from router_r1.datasets import check_parquet
from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, RoutingPool, check_api_keys, load_pool
from router_r1.printable import printable
from router_r1.project_files import pool_file
from router_r1.prompts import checked_question, load_template, render_messages
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


app = App(name="pool", help="Look at a routing pool: the prompt it makes, and descriptors of its candidates.")


# ---------------------------------------------------------------- describe


@app.command
def describe(
    *,
    pool: str,
    writer: Annotated[str, Parameter(name="--with")],
    base_url: str | None = None,
    api_key_env: str | None = None,
    api_base: str | None = None,
    questions: Annotated[int | None, Parameter(name=["--questions", "--probe"])] = None,
    data: str | None = None,
    out: Path | None = None,
) -> int:
    """Have a strong LLM write the candidates' descriptors, for review.

    Parameters
    ----------
    pool
        The pool: a file, or the name of one that comes with the project.
    writer
        Who writes: a candidate of the pool, or with --base-url a model id served there.
    base_url
        OpenAI-compatible endpoint of the writer.
    api_key_env
        Environment variable with that endpoint's key.
    api_base
        Endpoint of all candidates, instead of the pool file's.
    questions
        First measure every candidate on so many questions of --data.
    data
        Question file (parquet) to measure with.
    out
        The new pool file (default: NAME.described.yaml, in the current folder if the pool comes with the project).
    """

    def run() -> None:
        file = pool_file(pool)
        candidates = load_pool(file, base_url=api_base)
        one = _writer(candidates, writer, base_url, api_key_env)
        if (questions is None) != (data is None):
            raise ConfigError("command line", "--questions", questions, "goes with --data FILE, and --data with it")
        asked = _questions(data, questions) if data is not None and questions is not None else []
        check_api_keys(one)
        if asked:
            check_api_keys(candidates)
        _describe(file, candidates, one, asked, out or _described(file, written=pool))

    return exit_code_of(run)


def _described(file: Path, *, written: str) -> Path:
    """Beside the user's own file; a file of the project is left alone."""
    beside = file if Path(written).is_file() else Path(file.name)
    return beside.with_suffix(f".described{file.suffix}")


def _describe(
    file: Path, pool: RoutingPool, writer: RoutingPool, questions: list[tuple[str, list[str]]], out: Path
) -> None:
    text = file.read_text(encoding="utf-8")
    measured, descriptors = asyncio.run(_ask(pool, writer, questions))
    atomic.write_text(out, with_descriptors(text, descriptors, source=file))
    for name, descriptor in descriptors.items():
        descriptor = printable(descriptor)
        if name in measured:
            m = measured[name]
            figures = f"{m.accuracy:.2f} of {m.questions} right, {m.latency_s:.2f} s, {m.completion_tokens:.0f} tokens"
            print(f"{name} ({figures}, {m.failed} failed): {descriptor}")
        else:
            print(f"{name}: {descriptor}")
    _tell_if_dealt(pool)
    print(f"\nreview and keep: {out}")


def _tell_if_dealt(pool: RoutingPool) -> None:
    """The candidates are shown by their own names; a question is not."""
    if pool.deals is None:
        return
    fewest, most = pool.deals.sizes
    size = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    names = f"{pool.deals.names[0]} or {pool.deals.names[-1]}"
    print(f"\ndealt: a question is offered {size} of these {len(pool.candidates)}, by names such as {names}")


def _writer(pool: RoutingPool, writer: str, base_url: str | None, api_key_env: str | None) -> RoutingPool:
    """A pool of one: the LLM that writes."""
    if base_url is not None:
        free = Price(input=0.0, output=0.0)
        entry = {"name": _WRITER, "model": writer, "price": free, "descriptor": _WRITER}
        more = {"base_url": base_url, "api_key_env": api_key_env, "max_tokens": _WRITER_TOKENS}
        try:
            return RoutingPool(name=_WRITER, candidates=(Candidate.model_validate({**entry, **more}),))
        except ValueError:
            remedy = "must be an address like https://host/v1, and --api-key-env the NAME of a variable"
            raise ConfigError("command line", "--base-url", None, remedy) from None
    found = pool.resolve(writer)
    if found is None:
        remedy = f"is none of {', '.join(pool.names)}; name one, or say where it is served with --base-url"
        raise ConfigError("command line", "--with", writer, remedy)
    as_writer = found.model_copy(update={"name": _WRITER, "aliases": (), "max_tokens": _WRITER_TOKENS})
    return RoutingPool(name=_WRITER, candidates=(as_writer,), source=pool.source)


def _questions(file: str, n: int) -> list[tuple[str, list[str]]]:
    if n < 1:
        raise ConfigError("command line", "--questions", n, "must be at least 1")
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
        return measured, await describe_candidates(pool, measured, write)


# ---------------------------------------------------------------- show


@app.command
def show(
    *,
    pool: str = "sim",
    model: str = "qwen",
    question: str = "Who was the first person to walk on the Moon?",
    tokenizer: str | None = None,
) -> int:
    """Print the prompt of a question, with token counts.

    Parameters
    ----------
    pool
        The pool: a file, or the name of one that comes with the project.
    model
        Prompt template: qwen, llama, tiny, or a file.
    question
        The question.
    tokenizer
        Model folder or hub id to count with.
    """

    def run() -> None:
        checked_question(question, "command line", "--question")
        candidates, template = load_pool(pool_file(pool)), load_template(model)
        messages = render_messages(template, candidates, question)
        print(printable("\n".join(message["content"] for message in messages)))
        print(f"\n{_counts(messages, candidates, model, tokenizer)}")
        _tell_if_dealt(candidates)

    return exit_code_of(run)


def _counts(messages: list[dict[str, str]], pool: RoutingPool, model: str, named: str | None) -> str:
    """How many tokens the prompt has, and how many of them each candidate costs."""
    path = named or _TOKENIZERS.get(model)
    if path is None:
        return "tokens: not counted; name a tokenizer with --tokenizer DIR"
    if importlib.util.find_spec("transformers") is None:
        return "tokens: not counted, transformers is not installed here"
    if named is None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a count is not worth a download that nobody asked for
    try:
        loaded = load_tokenizer(path)
    except ConfigError as fault:
        if named:
            raise
        print(f"note: {fault}", file=sys.stderr)
        return f"tokens: not counted, {path} is not on this machine; name a tokenizer with --tokenizer DIR"
    lines = [f"tokens: {len(encode_prompt(loaded, messages))} in all"]
    for candidate in pool.candidates:
        count = len(loaded.encode(candidate.descriptor, add_special_tokens=False))
        lines.append(f"  {candidate.name}: {count} of its descriptor")
    return "\n".join(lines)
