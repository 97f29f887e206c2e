"""Measures the server against the bare loop: the same policy, candidates and questions, in one process, in one run.

    python scripts/bench_serve.py                        everything (about ten minutes)
    python scripts/bench_serve.py streams --scale 0.25   one section, a quarter of the size

streams  64, 256 and 1,024 streams at once. The policy is scripted and writes at a fixed pace (first token after 0.3 s,
         then one per 50 ms), so that what is measured is what the server itself adds; the candidates take 0.83 s on
         average.
engine   the shipped tiny policy on vLLM, 64 streams at once.
memory   10,000 requests, 64 at a time, whole and streamed, with a policy and candidates that take no time. The store of
         trajectories may hold 1 MB, which at scale 1 is full before the first reading that counts.

The bare loop is `Router.roll_out`, all questions at once, told of turns when they are complete; watched, it is told of
every token. Every reply that comes over HTTP is compared, text by text, with what the bare loop made of the same
question. Client, and loop with server, are two processes. A line says what was measured, the figure, and the limit it
should keep.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from routing_workload import sim_server
from serve_workload import AT_ONCE, Child, Reply, Setting, child, numbered_questions, world_questions

_CHUNK_PREFIX, _CHUNK_END = b"data: ", b"\n\n"
_FIRST_TEXT = b'"reasoning_content"'
_AT_A_TIME = 64

_missed: list[str] = []


def report(what: str, value: str, limit: str = "", ok: bool | None = None) -> None:
    mark = "" if ok is None else ("  ok" if ok else "  MISSED")
    print(f"  {what:<66} {value:>16}  {limit}{mark}", flush=True)
    if ok is False:
        _missed.append(what)


# ---------------------------------------------------------------- the client


async def ask(port: int, question: str, *, stream: bool) -> Reply:
    """One question over a connection of its own. Texts are read only when all is there: a client costs little here."""
    body = {"model": "router-r1", "stream": stream, "messages": [{"role": "user", "content": question}]}
    sent = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
    )
    started, first_s = time.monotonic(), math.nan
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + sent)
        received = bytearray()
        while piece := await reader.read(1 << 16):
            if math.isnan(first_s) and _FIRST_TEXT in piece:
                first_s = time.monotonic() - started
            received += piece
        total_s = time.monotonic() - started
    finally:
        writer.close()
    status, _, rest = bytes(received).partition(b"\r\n")
    if b" 200 " not in status + b" ":
        raise RuntimeError(f"{question}: {received[:300]!r}")
    headers, _, body_bytes = rest.partition(b"\r\n\r\n")
    if b"chunked" in headers.lower():
        body_bytes = _dechunked(body_bytes)
    reasoning, content = _streamed(body_bytes) if stream else _whole(body_bytes)
    return Reply(reasoning, content, first_s, total_s)


def _dechunked(body: bytes) -> bytes:
    """RFC 9112, section 7.1."""
    pieces, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _streamed(body: bytes) -> tuple[str, str]:
    *events, done, nothing = body.split(_CHUNK_END)
    assert (done, nothing) == (_CHUNK_PREFIX + b"[DONE]", b""), body[-300:]
    deltas = [json.loads(event.removeprefix(_CHUNK_PREFIX))["choices"][0]["delta"] for event in events]
    return "".join(d.get("reasoning_content", "") for d in deltas), "".join(d.get("content", "") for d in deltas)


def _whole(body: bytes) -> tuple[str, str]:
    message = json.loads(body)["choices"][0]["message"]
    return message["reasoning_content"], message["content"]


async def ask_all(port: int, questions: Sequence[str], *, stream: bool) -> tuple[float, list[Reply]]:
    """All at once; wall time in seconds, and the replies."""
    started = time.monotonic()
    replies = await asyncio.gather(*(ask(port, question, stream=stream) for question in questions))
    return time.monotonic() - started, replies


# ---------------------------------------------------------------- sections


def streams(scale: float, repeats: int) -> None:
    """Streams at once, against the bare loop."""
    sizes = [max(8, int(n * scale)) for n in (64, 256, 1024)]
    questions = numbered_questions(max(sizes))
    with child(Setting(questions)) as server:
        _compare(server, questions[:8], 1, shown=False)
        for n in sizes:
            _compare(server, questions[:n], repeats)


def engine(scale: float, repeats: int) -> None:
    """The tiny policy on vLLM."""
    questions = world_questions(max(8, int(64 * scale)))
    with child(Setting(questions, pace=None)) as server:
        _compare(server, questions, 1, shown=False)
        _compare(server, questions, repeats)


def _compare(server: Child, questions: Sequence[str], repeats: int, *, shown: bool = True) -> None:
    walls: list[float] = []
    firsts: list[float] = []
    cpus: list[list[float]] = []  # of bare loop, watched loop, server, in seconds
    wrong, process = 0, psutil.Process(server.pid)

    def cpu_s() -> float:
        times = process.cpu_times()
        return times.user + times.system

    for _ in range(repeats):
        readings = [cpu_s()]
        bare_s, expected = server.bare(questions, watched=False)
        readings.append(cpu_s())
        watched_s, watched = server.bare(questions, watched=True)
        readings.append(cpu_s())
        served_s, replies = asyncio.run(ask_all(server.port, questions, stream=True))
        readings.append(cpu_s())
        cpus.append([later - sooner for sooner, later in pairwise(readings)])
        walls.append(served_s / bare_s)
        firsts.append(_median_first(replies) / _median_first(watched))
        wrong += _differ(expected, replies)
    if not shown:
        return
    n = len(questions)
    wall, first = statistics.median(walls), statistics.median(firsts)
    report(f"{n} streams: wall time / bare loop's ({bare_s:.1f} s)", f"{wall:.3f}", "<= 1.10", wall <= 1.10)
    report("  all of them", " ".join(f"{ratio:.3f}" for ratio in walls))
    report("  wall time of the bare loop, watched, / unwatched", f"{watched_s / bare_s:.3f}")
    report(f"  median first token / policy's own ({_median_first(watched):.2f} s)", f"{first:.2f}", "<= 1.2",
           first <= 1.2)  # fmt: skip
    told = " / ".join(f"{statistics.median(column) / n * 1e3:.1f}" for column in zip(*cpus, strict=True))
    report("  CPU per stream: bare loop / watched / served", f"{told} ms")
    report("  lost or mixed up", str(wrong), "0", not wrong)


def _median_first(replies: Sequence[Reply]) -> float:
    return statistics.median(reply.first_s for reply in replies)


def _differ(expected: Sequence[Reply], replies: Sequence[Reply]) -> int:
    pairs = zip(expected, replies, strict=True)
    return sum((a.reasoning, a.content) != (b.reasoning, b.content) for a, b in pairs)


def memory(scale: float, repeats: int) -> None:
    """Resident memory of the server's process."""
    n = max(200, int(10_000 * scale))
    questions = numbered_questions(256)
    with (
        sim_server("--latency-scale", "0") as base_url,
        child(Setting(questions, AT_ONCE, base_url, keep_mb=1)) as server,
    ):
        _, expected = server.bare(questions, watched=False)
        by_question = {question: [reply] for question, reply in zip(questions, expected, strict=True)}
        process = psutil.Process(server.pid)
        readings, wrong = [], 0
        for part in range(11):  # the first warms up
            wrong_part, took_s = asyncio.run(_hammer(server.port, questions, by_question, n // 10, part))
            wrong += wrong_part
            readings.append(process.memory_info().rss / 2**20)
        report(f"{n} requests, {_AT_A_TIME} at a time: lost or mixed up", str(wrong), "0", not wrong)
        report("  requests per second, at last", f"{n // 10 / took_s:.0f}")
        report("  resident memory after each tenth, MB", " ".join(f"{mb:.0f}" for mb in readings))
        growth = statistics.mean(readings[-3:]) - statistics.mean(readings[1:4])
        report("  growth from the first three tenths to the last three", f"{growth:.1f} MB", "<= 5 MB", growth <= 5)


async def _hammer(
    port: int, questions: Sequence[str], expected: dict[str, list[Reply]], n: int, part: int
) -> tuple[int, float]:
    """`n` requests, `_AT_A_TIME` at all times; how many replies were wrong, and how long all took."""
    numbers, wrong = iter(range(n)), 0

    async def worker() -> None:
        nonlocal wrong
        for number in numbers:
            question = questions[(part * n + number) % len(questions)]
            wrong += _differ(expected[question], [await ask(port, question, stream=number % 2 == 0)])

    started = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(_AT_A_TIME)))
    return wrong, time.monotonic() - started


SECTIONS: dict[str, Callable[[float, int], Any]] = {"streams": streams, "engine": engine, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests (default: 1)")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median is shown (default: 3)")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    print(f"load average {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    for name in arguments.sections or SECTIONS:
        print(f"{name}: {(SECTIONS[name].__doc__ or '').strip()}", flush=True)
        SECTIONS[name](arguments.scale, arguments.repeats)
    return 1 if _missed else 0


if __name__ == "__main__":
    sys.exit(main())
