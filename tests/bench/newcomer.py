"""One newcomer's path, step by step on the real page, with the seconds of each step.

    python tests/bench/newcomer.py [--pictures FOLDER]

Opens the page of a new home in a headless browser, initializes, trains Quick start to its end,
generates, looks inside and exports the run, each by the control that a person presses. Uses Tiny
Shakespeare when it is at hand (TRANSFORMER_LAB_DATA names a folder of corpora). Judges nothing.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from page import COMMAND, FLAGS, HAS_POINT, PAGE, PORT, until_listening
from playwright.sync_api import Page, sync_playwright

from chromium import TOURED, find

PATIENCE = 600_000  # milliseconds; a step that takes longer ends the measurement
HAS_TEXT = "document.getElementById('sample')?.textContent.length > 50"
ENDED = "document.querySelector('#state .state')?.textContent === 'finished'"
WRITTEN = "document.querySelectorAll('.tok[data-place]').length > 50"
ATTENDED = "document.querySelector('#head-chart .js-plotly-plot')"


def _open(page: Page) -> None:
    page.goto(PAGE)
    page.wait_for_function("document.getElementById('preflight')?.textContent.includes('a step')")


def _initialize(page: Page) -> None:
    page.click("#initialize")
    page.wait_for_function(HAS_TEXT)


def _start(page: Page) -> None:
    page.click("#start")
    page.wait_for_function(HAS_POINT)


def _tab(page: Page, title: str) -> None:
    page.locator("#main > .nav-tabs").get_by_role("tab", name=title, exact=True).click()


def _generate(page: Page) -> None:
    _tab(page, "Generate")
    page.click("#generate")
    page.wait_for_function(WRITTEN)


def _look(page: Page) -> None:
    _tab(page, "Look inside")
    page.get_by_role("tab", name="Attention", exact=True).click()
    page.wait_for_function(ATTENDED)


def _export(page: Page) -> None:
    _tab(page, "Runs")
    page.locator("#runs .ag-center-cols-container .ag-row").first.click()
    page.get_by_role("tab", name="Export", exact=True).click()
    with page.expect_download() as download:
        page.locator(".run-detail a[download], .run-detail a[href*='download']").first.click()
    download.value.path()


STEPS: tuple[tuple[str, Callable[[Page], None]], ...] = (
    ("open: the settings checked, the cost said", _open),
    ("Initialize Model: the untrained model's text", _initialize),
    ("Start Training: the first point", _start),
    ("training to its end", lambda page: page.wait_for_function(ENDED) and None),
    ("Generate: 50 tokens", _generate),
    ("Look inside: attention of a head", _look),
    ("Runs: the run exported", _export),
)


def main() -> None:
    wishes = argparse.ArgumentParser(description="One newcomer's path, timed.")
    wishes.add_argument("--pictures", type=Path, help="keep a picture of the page after each step")
    wish = wishes.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before: {load:.1f}")
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen([*COMMAND, "serve", "--port", str(PORT), "--home", home])
        try:
            until_listening()
            _walk(wish.pictures)
        finally:
            server.terminate()
            server.wait()


def _walk(pictures: Path | None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        context = browser.new_context(
            viewport={"width": 1366, "height": 768},
            bypass_csp=True,  # for wait_for_function
        )
        context.add_init_script(TOURED)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        whole = time.perf_counter()
        for number, (name, take) in enumerate(STEPS, start=1):
            begun = time.perf_counter()
            take(page)
            print(f"{name:46} {time.perf_counter() - begun:7.1f} s")
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=pictures / f"{number}.png")
        print(f"{'all of it':46} {time.perf_counter() - whole:7.1f} s")
        browser.close()


if __name__ == "__main__":
    main()
