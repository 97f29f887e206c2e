"""One trajectory as an SVG picture: what the router thought, whom it asked, what came back, and what it cost.

The picture has a background of its own, no scripts and nothing from outside, so it can be shown anywhere: in a notebook
by `IPython.display.SVG(draw_trajectory(question, trajectory))`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from router_r1.benchmark.records import trajectory_record
from router_r1.protocol import ANSWER, INFORMATION, SEARCH, TAGS, THINK, Trajectory

FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
WIDTH = 900
MARGIN = 28
SIZE = 15  # of the text in cards
LINE = 23
PADDING = 13
GAP = 12  # between a turn and its observation
RAIL = MARGIN + 13  # x of the line that joins the turns
LEFT, LEFT_WIDTH = 68, 500
RIGHT, RIGHT_WIDTH = 652, WIDTH - MARGIN - 652

INK, SOFT, FAINT, PAPER, GROUND = "#1e293b", "#64748b", "#cbd5e1", "#ffffff", "#f8fafc"
ROUTER, ROUTER_EDGE = "#4f46e5", "#c7d2fe"
REPLY, REPLY_EDGE, REPLY_FILL = "#047857", "#a7f3d0", "#ecfdf5"
CANDIDATE, CANDIDATE_EDGE, CANDIDATE_FILL = "#b45309", "#fcd34d", "#fffbeb"

TAG_COLOURS = {THINK: SOFT, SEARCH: ROUTER, ANSWER: PAPER, INFORMATION: REPLY}
_ANY_TAG = rf"</?(?:{'|'.join(TAGS)})>"
_PIECE = re.compile(rf"({_ANY_TAG})|(?:(?!{_ANY_TAG})\S)+")
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Word:
    """A piece of text between two spaces, and how it looks."""

    text: str
    colour: str = INK
    bold: bool = False
    italic: bool = False

    @property
    def width(self) -> float:
        """About its width in pixels, rather too wide: which font draws it is not known here."""
        narrow, wide = sum(ch in "iljtfrI.,:;'|!() " for ch in self.text), sum(map(_is_wide, self.text))
        broad = sum(ch in "<>%" for ch in self.text)
        plain = len(self.text) - narrow - wide - broad
        return SIZE * (0.36 * narrow + 0.62 * plain + 0.84 * broad + wide) * (1.12 if self.bold else 1)


def _is_wide(ch: str) -> bool:
    return ch in "mwMWOQ@" or ord(ch) > 0x2000


_Row = list[_Word]


@dataclass
class _Canvas:
    """Shapes in the order in which they are painted."""

    shapes: list[ElementTree.Element] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, fill: str, edge: str, radius: float = 9) -> None:
        self._add("rect", x=x, y=y, width=width, height=height, rx=radius, fill=fill, stroke=edge)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.5) -> None:
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)

    def arrow(self, x1: float, x2: float, y: float, colour: str, label: str) -> None:
        """Level, from x1 to x2, with a label above it."""
        head = 8 if x2 > x1 else -8
        self.line(x1, y, x2 - head, y, colour, 2)
        self._add("path", d=f"M {x2} {y} l {-head} -5 l 0 10 z", fill=colour)
        self.text((x1 + x2) / 2, y - 7, label, colour, 12, anchor="middle")

    def badge(self, y: float, text: str) -> None:
        """A number in a circle, on the rail."""
        self._add("circle", cx=RAIL, cy=y, r=13, fill=ROUTER)
        self.text(RAIL, y + 4.5, text, PAPER, 13, bold=True, anchor="middle")

    def text(
        self, x: float, y: float, text: str, colour: str, size: float, *, bold: bool = False, anchor: str = "start"
    ) -> None:
        weight = 600 if bold else 400
        shape = self._add("text", x=x, y=y, fill=colour, font_size=size, font_weight=weight, text_anchor=anchor)
        shape.text = _NOT_XML.sub(" ", text)

    def fitted(self, x: float, y: float, width: float, word: _Word, size: float) -> None:
        """On one line: smaller if it is long, and cut off if it is longer than that."""
        smallest = 11.0
        size = max(smallest, min(size, SIZE * width / word.width))
        fits = int(len(word.text) * SIZE * width / (word.width * size))
        shown = word.text if fits >= len(word.text) else word.text[: fits - 2] + "\N{HORIZONTAL ELLIPSIS}"
        self.text(x, y, shown, word.colour, size, bold=word.bold)

    def row(self, x: float, y: float, row: _Row) -> None:
        """Words on one line, each in its own look."""
        shape = self._add("text", x=x, y=y, font_size=SIZE)
        for number, word in enumerate(row):
            look = {"fill": word.colour}
            if word.bold:
                look["font-weight"] = "600"
            if word.italic:
                look["font-style"] = "italic"
            span = ElementTree.SubElement(shape, "tspan", look)
            span.text = _NOT_XML.sub(" ", (" " if number else "") + word.text)

    def svg(self, height: float, title: str) -> str:
        """The whole picture as a document, a shape per line."""
        size = f'width="{WIDTH}" height="{_number(height)}" viewBox="0 0 {WIDTH} {_number(height)}"'
        named = ElementTree.Element("title")
        named.text = _NOT_XML.sub(" ", title)
        body = "\n".join(ElementTree.tostring(shape, encoding="unicode") for shape in (named, *self.shapes))
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">\n{body}\n</svg>\n'

    def _add(self, name: str, **attributes: float | str) -> ElementTree.Element:
        texts = {key.replace("_", "-"): _number(value) for key, value in attributes.items()}
        self.shapes.append(ElementTree.Element(name, texts))
        return self.shapes[-1]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


# ---------------------------------------------------------------- text into rows


def _words_of(text: str) -> list[_Row]:
    """The text of a turn or an observation: one list of words for each tag pair, or stretch of text outside of any."""
    sections: list[_Row] = [[]]
    inside = ""
    for match in _PIECE.finditer(text):
        piece, name = match[0], (match[1] or "").strip("</>")
        closes = bool(name) and piece.startswith("</")
        if name and not closes:
            sections.append([])
            inside = name
        if name:
            sections[-1].append(_Word(piece, TAG_COLOURS[name], bold=name != "think"))
        elif inside == "think":
            sections[-1].append(_Word(piece, SOFT, italic=True))
        else:
            sections[-1].append(_Word(piece, PAPER if inside == "answer" else INK, bold=inside == "answer"))
        if closes:
            sections.append([])
            inside = ""
    return [section for section in sections if section]


def _wrapped(words: _Row, width: float) -> list[_Row]:
    """The words on as many rows as they need; a word wider than a row is cut."""
    rows: list[_Row] = [[]]
    used = 0.0
    for word in words:
        while word.width > width:
            fits = max(1, int(len(word.text) * width / word.width))
            rows.append([_Word(word.text[:fits], word.colour, word.bold, word.italic)])
            word = _Word(word.text[fits:], word.colour, word.bold, word.italic)
            used = width
        if used + word.width > width:
            rows.append([])
            used = 0.0
        rows[-1].append(word)
        used += word.width + SIZE * 0.3
    return [row for row in rows if row]


# ---------------------------------------------------------------- the picture


def draw_trajectory(question: str, trajectory: Trajectory) -> str:
    """The SVG document of a trajectory."""
    return draw({"question": question, **trajectory_record(trajectory)})


def draw(record: Mapping[str, Any]) -> str:
    """The SVG document of a record: an object that `router-r1 ask --json` prints, or a benchmark keeps."""
    canvas = _Canvas()
    canvas.box(0.5, 0.5, WIDTH - 1, 1, GROUND, FAINT, 14)  # its height is known at the end
    ground = canvas.shapes[-1]

    y = _draw_question(canvas, record["question"])
    heading = "ROUTER, AN LLM ITSELF" if record["policy_tokens"] else "METHOD"
    canvas.text(LEFT, y, heading, SOFT, 11.5, bold=True)
    canvas.text(RIGHT, y, "CANDIDATES OF THE POOL", SOFT, 11.5, bold=True)
    y += 14
    rail_at = len(canvas.shapes)
    badges = []
    for number, turn in enumerate(record["turns"], start=1):
        badges.append((y + PADDING + LINE / 2, str(number)))
        y = _draw_turn(canvas, turn, y) + 20
    rail = _Canvas()
    if len(badges) > 1:
        rail.line(RAIL, badges[0][0], RAIL, badges[-1][0], ROUTER_EDGE, 2)
    for place, number_text in badges:
        rail.badge(place, number_text)
    canvas.shapes[rail_at:rail_at] = rail.shapes
    height = _draw_totals(canvas, record, y + 4)
    ground.set("height", _number(height - 1))
    return canvas.svg(height, f"How a router answered: {record['question']}")


def _draw_question(canvas: _Canvas, question: str) -> float:
    """Returns the y of what comes next."""
    canvas.text(MARGIN, 37, "QUESTION", ROUTER, 11.5, bold=True)
    rows = _wrapped([_Word(word, bold=True) for word in question.split()], (WIDTH - 2 * MARGIN) * SIZE / 22)
    y = 67.0
    for row in rows:
        canvas.text(MARGIN, y, " ".join(word.text for word in row), INK, 22, bold=True)
        y += 30
    canvas.line(MARGIN, y - 10, WIDTH - MARGIN, y - 10, "#e2e8f0")
    return y + 18


def _draw_turn(canvas: _Canvas, turn: Mapping[str, Any], top: float) -> float:
    """One turn, the observation that answered it, and the candidate between the two. Returns the y of its end."""
    sections = [_wrapped(section, LEFT_WIDTH - 2 * PADDING) for section in _words_of(turn["text"])]
    rows = sum(map(len, sections))
    is_answer = turn["action"] == "answer"
    height = rows * LINE + 2 * PADDING + (14 if is_answer else 0)
    canvas.box(LEFT, top, LEFT_WIDTH, height, PAPER, ROUTER_EDGE)
    y = top + PADDING
    for section in sections:
        if section[0][0].text == f"<{ANSWER}>":
            y += 7
            canvas.box(LEFT + 7, y - 1, LEFT_WIDTH - 14, len(section) * LINE + 14, ROUTER, ROUTER, 6)
            y += 6
        for row in section:
            canvas.row(LEFT + PADDING, y + LINE * 0.72, row)
            y += LINE
    bottom = top + height
    asked_at = y - LINE / 2
    if not turn["observation"].strip():
        return bottom

    told = [row for section in _words_of(turn["observation"]) for row in _wrapped(section, LEFT_WIDTH - 2 * PADDING)]
    top, height = bottom + GAP, len(told) * LINE + 2 * PADDING - 8
    canvas.box(LEFT, top, LEFT_WIDTH, height, REPLY_FILL, REPLY_EDGE)
    for number, row in enumerate(told):
        canvas.row(LEFT + PADDING, top + PADDING - 4 + number * LINE + LINE * 0.72, row)
    told_at = top + PADDING - 4 + LINE / 2
    if turn["route"]:
        _draw_candidate(canvas, turn["route"], asked_at, told_at)
    return top + height


def _draw_candidate(canvas: _Canvas, route: Mapping[str, Any], asked_at: float, told_at: float) -> None:
    """The candidate's box, from the row that asks it to the row that tells what it said."""
    middle = (asked_at + told_at) / 2
    height = max(told_at - asked_at + 44, 96)
    canvas.box(RIGHT, middle - height / 2, RIGHT_WIDTH, height, CANDIDATE_FILL, CANDIDATE_EDGE)
    canvas.fitted(RIGHT + 14, middle - 18, RIGHT_WIDTH - 28, _Word(route["candidate"], CANDIDATE, bold=True), 17)
    tokens = route["completion_tokens"]
    price = f"{route['raw_cost'] / tokens:.2f} USD per 1M tokens" if tokens else "no tokens, no cost"
    took = f"{tokens} tokens in {route['latency_s']:.2f} s"
    if route["failed"]:
        took = f"failed: {route['error']}"
    canvas.fitted(RIGHT + 14, middle + 7, RIGHT_WIDTH - 28, _Word(price), 13.5)
    canvas.fitted(RIGHT + 14, middle + 30, RIGHT_WIDTH - 28, _Word(took), 13.5)
    edge = LEFT + LEFT_WIDTH
    canvas.arrow(edge, RIGHT - 2, asked_at, ROUTER, "query")
    canvas.arrow(RIGHT, edge + 2, told_at, REPLY, "reply")


def _draw_totals(canvas: _Canvas, record: Mapping[str, Any], y: float) -> float:
    """What it all cost, in columns. Returns the height of the picture."""
    canvas.line(MARGIN, y, WIDTH - MARGIN, y, "#e2e8f0")
    routes = [turn["route"] for turn in record["turns"] if turn["route"]]
    columns = [
        (str(record["routes"]), "route" if record["routes"] == 1 else "routes"),
        (str(sum(route["completion_tokens"] for route in routes)), "tokens from candidates"),
        (f"{record['raw_cost']:.3g} micro-USD", "raw cost: what the reward sees"),
        (f"{record['spend_usd'] * 1e6:.3g} micro-USD", "spent, prompts included"),
    ]
    places = (LEFT, LEFT + 110, LEFT + 315, RIGHT)
    for x, (value, label) in zip(places, columns, strict=True):
        canvas.text(x, y + 34, value, INK, 19, bold=True)
        canvas.text(x, y + 55, label, SOFT, 12.5)
    return y + 76
