"""Descriptors of a pool's candidates, written by a strong LLM from what is known and what was measured of each.

What comes back is a proposal: it goes into a copy of the pool file for somebody to review, comments and all else kept.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import textwrap
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, RoutingPool
from router_r1.protocol import Route, neutralise
from router_r1.rewards.outcome import normalize_answer
from router_r1.routing.replies import without_reasoning

Ask = Callable[[str, str], Awaitable[Route]]
"""(candidate, query) -> route: `RouteService.route`."""

_MAX_CHARS = 400  # every descriptor is in every prompt
_WIDTH = 120
_INSTRUCTION = """\
Write the entry of one language model in a catalogue from which a smaller model picks whom to ask a question.

Known about it (JSON; USD per 1M tokens; measured values come from a short test of factual questions, where accuracy is
the share of replies that contain the right answer):
{facts}

The other entries are about: {others}

Say in one or two plain sentences, at most 45 words: its size and family, what kinds of question it is good and bad at,
and how its price and speed compare. State nothing that you neither know nor read above. Reply with these sentences
only: no heading, no list, no quotation marks, no markup."""


@dataclass(frozen=True)
class Measured:
    """How a candidate did on example questions."""

    questions: int
    accuracy: float  # share of replies that contain a golden answer, in [0, 1]
    latency_s: float  # median, of the replies that came
    completion_tokens: float  # mean, of the replies that came
    failed: int


async def measure(pool: RoutingPool, questions: Sequence[tuple[str, Sequence[str]]], ask: Ask) -> dict[str, Measured]:
    """Ask every candidate every question, all at once, within the candidates' own limits.

    Args:
        questions: (question, golden answers).
    """

    async def one(candidate: Candidate) -> Measured:
        routes = await asyncio.gather(*(ask(candidate.name, question) for question, _ in questions))
        right = [_contains(route.reply, golden) for route, (_, golden) in zip(routes, questions, strict=True)]
        came = [route for route in routes if not route.failed]
        return Measured(
            questions=len(questions),
            accuracy=sum(right) / len(questions),
            latency_s=statistics.median([route.latency_s for route in came]) if came else 0.0,
            completion_tokens=statistics.fmean([route.completion_tokens for route in came]) if came else 0.0,
            failed=len(routes) - len(came),
        )

    found = await asyncio.gather(*(one(candidate) for candidate in pool.candidates))
    return dict(zip(pool.names, found, strict=True))


def _contains(reply: str, golden: Sequence[str]) -> bool:
    words = f" {normalize_answer(reply)} "
    return any(answer and f" {answer} " in words for answer in map(normalize_answer, golden))


async def describe(
    pool: RoutingPool, measured: Mapping[str, Measured], writer: Callable[[str], Awaitable[Route]]
) -> dict[str, str]:
    """Candidate -> descriptor.

    Args:
        measured: from `measure`; may leave out candidates.
        writer: asks the LLM that writes.

    Raises:
        RuntimeError: it failed, or wrote nothing, for a candidate; names all of these.
    """
    requests = [_request(candidate, pool, measured.get(candidate.name)) for candidate in pool.candidates]
    routes = dict(zip(pool.names, await asyncio.gather(*map(writer, requests)), strict=True))
    descriptors = {name: "" if route.failed else clean(route.reply) for name, route in routes.items()}
    missing = [name for name, descriptor in descriptors.items() if not descriptor]
    if missing:
        causes = (f"{name}: {routes[name].error or 'the reply was empty'}" for name in missing)
        raise RuntimeError(f"no descriptor of {'; '.join(causes)}")
    return descriptors


def _request(candidate: Candidate, pool: RoutingPool, measured: Measured | None) -> str:
    facts: dict[str, Any] = {
        "name": candidate.name,
        "model id": candidate.model,
        "price": {"input": candidate.price.input, "output": candidate.price.output},
        "prices of all": {c.name: c.price.output for c in pool.candidates},
    }
    if measured is not None:
        facts["measured"] = {key: round(value, 3) for key, value in asdict(measured).items()}
    others = ", ".join(name for name in pool.names if name != candidate.name) or "none"
    return _INSTRUCTION.format(facts=json.dumps(facts, ensure_ascii=False, indent=1), others=others)


def clean(reply: str) -> str:
    """A reply as one line that may stand in a prompt: no tags, no reasoning, no quotation marks, not long."""
    line = " ".join(neutralise(without_reasoning(reply)).split()).strip("\"'`* ")
    return line if len(line) <= _MAX_CHARS else textwrap.shorten(line, _MAX_CHARS, placeholder=" ...")


def with_descriptors(text: str, descriptors: Mapping[str, str], *, source: object) -> str:
    """A pool file's text with other descriptors, and everything else as it was, comments included.

    Args:
        source: the file, for the error.

    Raises:
        ConfigError: a descriptor cannot be replaced where it stands.
    """
    # From the end, so that the positions of the others stay right.
    for name, descriptor in reversed(list(descriptors.items())):
        key, value, in_flow = _find_descriptor(text, name, source)
        start, end = value.start_mark.index, value.end_mark.index
        if in_flow:
            new = json.dumps(descriptor, ensure_ascii=False)
        else:
            indent = " " * (key.start_mark.column + 2)
            lines = textwrap.wrap(
                descriptor,
                _WIDTH,
                initial_indent=indent,
                subsequent_indent=indent,
                break_long_words=False,  # a line end becomes a space
                break_on_hyphens=False,
            )
            new = "\n".join([">-", *lines])
            new += "\n" if text[start:end].endswith("\n") else ""
        text = text[:start] + new + text[end:]
    found = {entry["name"]: entry["descriptor"] for entry in yaml.safe_load(text)["candidates"]}
    for name, descriptor in descriptors.items():
        if " ".join(found[name].split()) != descriptor:
            raise ConfigError(source, name, None, "its descriptor cannot be replaced where it stands; edit it by hand")
    return text


def _find_descriptor(text: str, name: str, source: object) -> tuple[yaml.Node, yaml.Node, bool]:
    """(key, value, whether block style is impossible there)."""
    for key, entries in yaml.compose(text).value:
        if key.value != "candidates":
            continue
        for entry in entries.value:
            nodes = {k.value: (k, v) for k, v in entry.value}
            if " ".join(nodes["name"][1].value.split()) == name and "descriptor" in nodes:
                return (*nodes["descriptor"], bool(entry.flow_style or entries.flow_style))
    raise ConfigError(source, name, None, "has no descriptor of its own in this file; add one by hand")
