"""A trajectory on a terminal: tags and their content in colour, a line for every route.

Everything the policy, a candidate or a user wrote is shown as text: neither markup nor escape sequences in it work.
"""

from __future__ import annotations

import re

from rich.text import Text

from router_r1.protocol import ANSWER, INFORMATION, SEARCH, THINK, Route, Trajectory, Turn, find_tags

_STYLES = {THINK: "dim", SEARCH: "yellow", INFORMATION: "cyan", ANSWER: "bold green"}
_TAG_STYLES = {THINK: "magenta", SEARCH: "bold yellow", INFORMATION: "bold cyan", ANSWER: "bold green"}
# Control characters but tab and newline, and what changes the direction of writing.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return _UNSAFE.sub("\ufffd", text)


def render_trajectory(trajectory: Trajectory) -> Text:
    """All turns, each followed by its route and its observation."""
    return Text("\n").join(_render_turn(turn) for turn in trajectory.turns)


def _render_turn(turn: Turn) -> Text:
    text = render_tagged(turn.text.strip())
    if turn.route is not None:
        text.append("\n").append(describe_route(turn.route), style="dim italic")
    elif turn.invalid_reason:
        text.append("\n").append(f"not dispatched: {printable(turn.invalid_reason)}", style="red")
    if turn.observation:
        text.append("\n").append_text(render_tagged(turn.observation.strip()))
    return text


def render_tagged(text: str) -> Text:
    """Tags in colour, and what stands between them."""
    text = printable(text)
    rendered, at, style = Text(), 0, ""
    for tag in find_tags(text):
        rendered.append(text[at : tag.start], style=style)
        rendered.append(text[tag.start : tag.end], style=_TAG_STYLES[tag.name])
        at, style = tag.end, "" if tag.closes else _STYLES[tag.name]
    return rendered.append(text[at:], style=style)


def describe_route(route: Route) -> str:
    """One line: candidate, tokens, cost, time; or why it failed."""
    tries = f", {route.attempts} tries" if route.attempts > 1 else ""
    if route.failed:
        return printable(f"{route.candidate} failed after {route.latency_s:.2f} s{tries}: {route.error}")
    tokens = (
        f"{route.prompt_tokens} + {route.completion_tokens} tokens{' (estimated)' if route.usage_estimated else ''}"
    )
    cost = f"raw cost {route.raw_cost:.4g} (spent {route.spend_usd:.3g} USD)"
    return printable(f"{route.candidate}: {tokens}, {cost}, {route.latency_s:.2f} s{tries}")
