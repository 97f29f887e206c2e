"""Trajectories, runs and comparisons in a browser."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.pages.folders_of_the_test import make_benchmark, make_run, record, step_line
from tests.integration.serving.conftest import QUESTION, reply_to

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

MARKUP = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"


@pytest.fixture
def folders(tmp_path):
    """A run, two benchmarks, one of them with 120 trajectories, and markup wherever there may be text."""
    make_run(tmp_path / "first")
    make_run(tmp_path / "second", lr=0.001)
    right = [record(index) for index in range(100)]
    wrong = [record(index, right=False, candidate="Omni-72B", raw_cost=9.0) for index in range(100, 120)]
    make_benchmark(tmp_path / "large", right + wrong)
    hostile = [record(0, question=MARKUP, answer=MARKUP, format_error=MARKUP, raw_cost=1.0)]
    make_benchmark(tmp_path / "<img src=x onerror=alert(1)>", hostile)
    return tmp_path


def rows(page):
    return page.get_by_role("list", name="Trajectories").get_by_role("link")


def test_trajectories_are_filtered_opened_and_gone_through_by_key(view, open_page, folders):
    page = open_page(f"{view(folders)}/trajectories")
    expect(page.get_by_role("status")).to_have_text("123 trajectories")
    assert rows(page).count() == 50, "a page of them"
    page.get_by_role("combobox", name="Answer", exact=True).select_option("no")
    expect(page.get_by_role("status")).to_have_text("20 trajectories")
    page.get_by_label("Candidate asked").select_option("Omni-72B")
    page.get_by_label("Search in question and answer").fill("thing 11")
    expect(page.get_by_role("status")).to_have_text("10 trajectories")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    first = page.get_by_role("heading", level=1)
    expect(first).to_have_text(re.compile(r"Who invented thing 11\d"))
    was = first.inner_text()
    page.keyboard.press("j")
    expect(first).not_to_have_text(was)
    page.keyboard.press("k")
    expect(first).to_have_text(was)
    expect(page.locator(".piece.policy").first).to_contain_text("<search> Omni-72B")
    expect(page.locator(".piece.told-by")).to_contain_text("It is Ada.")
    expect(page.locator(".route")).to_contain_text("7 in, 5 out")
    other = open_page(page.url)
    expect(other.get_by_role("heading", level=1)).to_have_text(was)
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_have_text("10 trajectories")


def test_a_key_counts_as_soon_as_its_trajectory_is_drawn(view, open_page, folders):
    page = open_page(f"{view(folders)}/trajectories")
    expect(page.get_by_role("status")).to_have_text("123 trajectories")
    questions = [row.inner_text() for row in rows(page).locator(".question").all()[:2]]
    # Observers run right after the page has been changed, before anything that waits until it has been painted.
    page.evaluate("""new MutationObserver((_, observer) => {
        if (!document.querySelector("a[rel=next] kbd")) return;
        observer.disconnect();
        document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "j", bubbles: true}));
    }).observe(document, {childList: true, subtree: true})""")
    rows(page).first.click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(questions[1])
    page.keyboard.press("k")
    expect(heading).to_have_text(questions[0])


def test_what_is_typed_while_a_list_is_read_stays(view, open_page, folders):
    page = open_page(f"{view(folders)}/runs")
    held: list[Any] = []
    page.route(re.compile(r"trajectories\?"), lambda route: held.append(route))
    with page.expect_request(re.compile(r"trajectories\?")):
        page.get_by_role("link", name="Trajectories").click()
    cost = page.get_by_label("Cost to")
    cost.press_sequentially("1.5")
    held[0].continue_()
    expect(page.get_by_role("status")).to_have_text("123 trajectories")
    expect(cost).to_have_value("1.5")
    page.unroute(re.compile(r"trajectories\?"))
    cost.press("Tab")
    expect(page.get_by_role("status")).to_have_text("1 trajectory")
    expect(page).to_have_url(re.compile("most_raw_cost=1.5"))


def test_markup_in_question_answer_and_file_name_stays_text(view, open_page, folders):
    page = open_page(f"{view(folders)}/trajectories")
    page.get_by_label("Cost to").fill("1.5")
    page.get_by_label("Cost to").press("Tab")
    expect(page.get_by_role("status")).to_have_text("1 trajectory")
    expect(rows(page).first).to_contain_text(MARKUP)
    rows(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("tbody")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, main script").count() == 0


def test_the_curves_of_a_growing_run_grow(view, open_page, tmp_path):
    metrics = make_run(tmp_path / "run", steps=2)
    page = open_page(f"{view(tmp_path)}/runs")
    reward = page.get_by_role("img", name=re.compile("^Reward"))
    expect(reward).to_have_attribute("aria-label", "Reward: run 0.2 at step 2")
    with metrics.open("a") as file:
        whole = step_line(3, reward=0.7, share=0.9)
        file.write(whole[:40])
        file.flush()
        expect(reward).to_have_attribute("aria-label", "Reward: run 0.2 at step 2")
        file.write(whole[40:])
    expect(reward).to_have_attribute("aria-label", "Reward: run 0.7 at step 3", timeout=15_000)
    shares = page.get_by_role("img", name=re.compile("^Candidates' shares"))
    expect(shares).to_have_attribute("aria-label", re.compile("at step 3: .*Newton-8B 0.9"))


def test_two_runs_are_laid_over_each_other_and_their_configurations_compared(view, open_page, folders):
    page = open_page(f"{view(folders)}/runs")
    for name in ("first", "second"):
        page.get_by_label(re.compile(f"^{name}")).check()
    reward = page.get_by_role("img", name=re.compile("^Reward"))
    for name in ("first", "second"):
        expect(reward).to_have_attribute("aria-label", re.compile(f"{name} 0.3 at step 3"))
    difference = page.get_by_role("region", name="Differences").locator("tbody tr")
    expect(difference).to_have_count(1)
    expect(difference).to_contain_text("actor.optim.lr")


def test_benchmarks_are_compared_in_a_table_that_can_be_sorted_and_a_picture(view, open_page, folders):
    page = open_page(f"{view(folders)}/compare")
    names = page.locator("tbody th")
    expect(names.first).to_contain_text("onerror")
    page.get_by_role("button", name="raw cost").click()
    expect(names.first).to_contain_text("large")
    expect(page.get_by_role("img", name=re.compile("Pareto front"))).to_be_visible()
    expect(page.locator("tbody tr", has_text="large")).to_contain_text("0.833")
    best_constant = page.locator("path.constant")  # one for both: what the same money buys is the same for them
    expect(best_constant).to_have_count(1)
    expect(best_constant.locator("title")).to_have_text(re.compile("^Best constant, on the questions of .*large"))


def test_the_theme_follows_the_system_and_the_switch(view, open_page, folders):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page = open_page(f"{view(folders)}/runs", color_scheme="dark")
    dark = page.evaluate(ground)
    page.get_by_label("Theme").select_option("light")
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("light")
    assert page.evaluate(ground) == light


def test_everything_is_reached_by_the_keyboard_alone(serve_pages, open_page, folders):
    served = serve_pages(folders=(folders,))
    page = open_page(served.url)
    focused = page.locator(":focus")
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Two models side by side")).to_be_checked()
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Ask")
    page.keyboard.press("Enter")
    expect(page.locator(".answer").first).to_contain_text(reply_to(QUESTION))
    page.reload()
    expect(page.get_by_label("Question")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Shift+Tab")
        if focused.inner_text() == "Trajectories":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Trajectories")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("j")
    expect(rows(page).first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


PAGES = ["/", "/trajectories?in=folders", "/runs", "/compare"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_serious_finding_of_axe_or_is_wider_than_a_phone(serve_pages, open_page, folders, path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    served = serve_pages(folders=(folders,))
    page = open_page(served.url + path, viewport={"width": 375, "height": 760}, color_scheme=scheme)
    if path == "/":
        page.get_by_label("Question").fill(QUESTION)
        page.keyboard.press("Enter")
        expect(page.locator(".answer")).to_contain_text(reply_to(QUESTION))
    elif path.startswith("/trajectories"):
        _check_axe(axe, page)
        rows(page).first.click()
        expect(page.locator(".piece").first).to_be_visible()
    else:
        expect(page.locator("svg").first).to_be_visible()
    _check_axe(axe, page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def _check_axe(axe, page):
    expect(page.get_by_role("heading", level=1)).to_be_attached()
    found = axe.run(page).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"][:120] for node in rule["nodes"]][:3]) for rule in serious] == []
