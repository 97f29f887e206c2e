"""The picture of a trajectory."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from router_r1.benchmark.drawing import draw, draw_trajectory
from router_r1.methods import trajectory_of
from router_r1.protocol import Answer, Route, Search, Status, Trajectory, Turn

ROUTE = Route("Atlas-7B", "capital of France?", "It is Paris.", completion_tokens=4, raw_cost=2.0, latency_s=0.5)


def said(text: str, action, route: Route | None = None, observation: str = "") -> Turn:
    return Turn([1, 2], [], text, action, route=route, observation=observation)


def texts(picture: str) -> list[str]:
    """All texts of a picture, each on one line."""
    drawn = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in drawn]


@pytest.fixture
def routed() -> Trajectory:
    search = "<think> Who knows? </think><search> Atlas-7B: capital of France? </search>"
    asked = said(
        search, Search("Atlas-7B", "capital of France?"), ROUTE, "\n<information> It is Paris. </information>\n"
    )
    return Trajectory([9], [asked, said("<answer> Paris </answer>", Answer("Paris"))], Status.ANSWERED)


def test_it_shows_question_turns_candidate_price_and_totals(routed):
    shown = texts(draw_trajectory("What is the capital of France?", routed))
    for text in (
        "What is the capital of France?",
        "ROUTER, AN LLM ITSELF",
        "<think> Who knows? </think>",
        "<search> Atlas-7B: capital of France? </search>",
        "<information> It is Paris. </information>",
        "<answer> Paris </answer>",
        "Atlas-7B",
        "0.50 USD per 1M tokens",
        "4 tokens in 0.50 s",
        "2 micro-USD",
    ):
        assert text in shown


def test_a_method_is_not_called_an_llm():
    shown = texts(draw_trajectory("Who?", trajectory_of([ROUTE], "Paris")))
    assert "METHOD" in shown
    assert "ROUTER, AN LLM ITSELF" not in shown


def test_a_failed_route_shows_its_cause():
    failed = Route("Atlas-7B", "capital of France?", "", failed=True, error="HTTP 503")
    shown = texts(draw_trajectory("Who?", trajectory_of([failed], None)))
    assert "failed: HTTP 503" in shown
    assert "No information could be had from Atlas-7B." in " ".join(shown)


def test_a_trajectory_without_a_turn_is_drawn_too():
    assert "Who?" in texts(draw_trajectory("Who?", Trajectory([9], [], Status.ABORTED)))


def test_what_others_wrote_is_text_and_nothing_else():
    hostile = "<script>alert(1)</script> \x00\ud800 </text>"
    picture = draw_trajectory(hostile, trajectory_of([Route("A", hostile, hostile)], hostile))
    kinds = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}
    assert kinds <= {"svg", "title", "rect", "line", "path", "circle", "text", "tspan"}


def test_the_picture_of_the_documentation_is_that_of_its_record(project_root):
    record = json.loads((project_root / "docs" / "images" / "trajectory.json").read_text())
    assert draw(record) == (project_root / "docs" / "images" / "trajectory.svg").read_text()
