"""Ask, in a browser: a question is asked, and its answer watched while it grows."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.integration.serving.conftest import QUESTION, ask_newton, reply_to, until

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


def ask(page, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")


def test_thought_route_and_answer_grow_while_they_come(serve_pages, open_page, loop_thread):
    served = serve_pages()
    served.policy.pause_after = 3
    loop_thread.call(served.policy.gate.clear)
    page = open_page(served.url)
    ask(page, QUESTION)
    expect(page.locator(".thought")).to_contain_text("Ask")
    assert "Newton-8B" not in page.locator(".thought").inner_text(), "the rest is not written yet"
    first = page.locator(".clock").first.inner_text()
    expect(page.locator(".clock").first).not_to_have_text(first)
    loop_thread.call(served.policy.gate.set)
    expect(page.locator(".answer")).to_contain_text(reply_to(QUESTION))
    route = page.get_by_role("article", name="Route to Newton-8B")
    expect(route).to_contain_text(QUESTION)
    expect(route).to_contain_text(reply_to(QUESTION))
    expect(route).to_contain_text(re.compile(r"\d+ tokens · raw cost [\d.]+ · [\d.]+ s"))
    expect(page.locator(".phase")).to_have_text("done")
    assert float(page.locator(".raw-cost").inner_text()) > 0


def test_two_models_answer_one_question_side_by_side(serve_pages, open_page):
    served = serve_pages()
    page = open_page(served.url)
    page.get_by_label("Two models side by side").check()
    page.get_by_label("Model 2").select_option("candidate:Newton-8B")
    ask(page, QUESTION)
    for model in ("router-r1", "candidate:Newton-8B"):
        answer = page.get_by_role("region", name=f"Answer of {model}")
        expect(answer.locator(".answer")).to_contain_text(reply_to(QUESTION))


def test_a_thumb_is_kept_beside_the_trajectory_and_found_again_on_the_servers_shelf(serve_pages, open_page):
    served = serve_pages(keep_texts=True)
    page = open_page(served.url)
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_be_visible()
    page.get_by_role("group", name="Was this right?").get_by_role("button").first.click()
    expect(page.locator(".thumb[aria-pressed=true]")).to_have_count(1)
    (kept,) = served.store.every()
    assert kept.feedback.score == 1
    page.goto(f"{served.url}/trajectories?shelf=server&feedback=up")
    expect(page.get_by_text(QUESTION)).to_be_visible()
    page.goto(f"{served.url}/trajectories?shelf=server&feedback=down")
    expect(page.get_by_text("0 trajectories")).to_be_visible()


def test_another_cost_weight_is_asked_for_by_the_models_name(serve_pages, open_page, loop_thread):
    served = serve_pages()
    page = open_page(served.url)
    page.get_by_label("Cost weight").fill("0.6")
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_be_visible()

    def asked() -> list[float]:
        return [line["cost_weight"] for line in served.log_lines if "cost_weight" in line]

    loop_thread.run(until(asked))  # the line is written once the last piece has been sent
    assert asked() == [0.6]


def test_stopping_ends_the_trajectory_on_the_server(serve_pages, open_page, loop_thread):
    served = serve_pages()
    loop_thread.call(served.policy.gate.clear)
    page = open_page(served.url)
    ask(page, QUESTION)
    expect(page.locator(".thought")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".phase")).to_have_text("stopped")
    loop_thread.run(served.books_balance())
    assert served.policy.cancelled == 1


def test_markup_in_question_and_reply_is_shown_as_text(serve_pages, open_page):
    markup = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
    served = serve_pages(lambda context: f"<think> {markup} </think>\n<answer> {markup} </answer>")
    page = open_page(served.url)
    ask(page, markup)
    expect(page.locator(".answer")).to_contain_text(markup)
    expect(page.locator(".thought")).to_contain_text(markup)
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, main script").count() == 0


def test_a_fault_of_the_policy_is_told(serve_pages, open_page):
    served = serve_pages()
    served.policy.fault = RuntimeError("the engine is dead")
    page = open_page(served.url)
    ask(page, QUESTION)
    expect(page.get_by_role("alert")).to_contain_text("the policy failed")


def test_a_key_is_asked_for_once_and_kept_for_the_tab(serve_pages, open_page):
    key = "a-key-of-the-test-0123456789"
    served = serve_pages(ask_newton, keys={"alice": hashlib.sha256(key.encode()).digest()})
    page = open_page(served.url)
    page.get_by_label("API key").fill("a wrong one")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("alert")).to_contain_text("not one of this server's")
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_contain_text(reply_to(QUESTION))
    page.reload()
    expect(page.get_by_label("Question")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
