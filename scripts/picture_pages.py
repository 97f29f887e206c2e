"""Pictures of the pages for docs/images, from a running `router-r1 serve` whose folders hold runs and benchmarks.

    python scripts/picture_pages.py http://127.0.0.1:8000 [--out docs/images] [--question TEXT]

Needs playwright and a Chromium of the system.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_SIZE = {"width": 1180, "height": 820}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--question", default="Who composed the one who invented Bosen?")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, color_scheme="light")

        def picture(name: str) -> None:
            page.mouse.move(0, 0)
            page.screenshot(path=given.out / f"pages_{name}.png")

        page.goto(given.address)
        _ask(page, given.question)
        picture("ask")
        page.goto(f"{given.address}/trajectories?in=folders&sort=raw_cost&right=yes")
        page.locator(".rows a").first.wait_for(timeout=120_000)
        picture("list")
        page.locator(".rows a").first.click()
        page.locator(".piece").first.wait_for()
        picture("trajectory")
        page.goto(f"{given.address}/runs")
        page.locator(".chart polyline").first.wait_for()
        page.set_viewport_size({**_SIZE, "height": 1610})
        picture("runs")
        page.set_viewport_size(_SIZE)
        page.goto(f"{given.address}/compare")
        page.locator(".scatter").wait_for()
        picture("compare")
        browser.close()


def _ask(page: Page, question: str) -> None:
    """The same question to two models, until both have ended."""
    page.get_by_label("Two models side by side").check()
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")
    page.locator(".answer, p.fault").nth(1).wait_for(timeout=60_000)


if __name__ == "__main__":
    main()
