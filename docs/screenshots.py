"""Make the pictures of the documentation from the real lab.

    python docs/screenshots.py

Serves the page on a temporary home, trains the Quick start recipe, runs an experiment and takes
pictures on the way; a few minutes.
Wants Tiny Shakespeare at hand (TRANSFORMER_LAB_DATA names a folder of corpora) or a network.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from chromium import TOURED, find

IMAGES = Path(__file__).parent / "images"
PORT = 8952
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
SERVE = [sys.executable, "-m", "transformer_lab.cli", "serve", "--port", str(PORT), "--home"]


def main() -> None:
    """Serve, train, photograph."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = subprocess.Popen([*SERVE, home])
        try:
            browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.add_init_script(TOURED)
            for _ in range(100):
                try:
                    page.goto(f"http://localhost:{PORT}")
                    break
                except Error:
                    time.sleep(0.2)
            page.click("#start")
            page.wait_for_selector(".state-finished", timeout=300_000)
            page.mouse.move(683, 60)
            page.wait_for_timeout(2500)
            page.screenshot(path=IMAGES / "train.png")
            page.locator(".nav-link", has_text="Generate").click()
            page.click("button#generate")
            page.wait_for_selector("text=300 tokens · done", timeout=60_000)
            page.screenshot(path=IMAGES / "generate.png")
            page.locator(".nav-link", has_text="Data").click()
            page.locator("#text-tokenizer").select_option("bpe")
            page.wait_for_selector("#merges:not([hidden])", timeout=60_000)
            page.fill("#sentence", "To be, or not to be: that is the question.")
            page.wait_for_timeout(1500)
            page.screenshot(path=IMAGES / "data.png")
            page.locator(".nav-link", has_text="Runs").click()
            page.locator(".ag-center-cols-container .ag-row").first.click()
            page.wait_for_timeout(3000)
            page.screenshot(path=IMAGES / "runs.png")
            page.locator(".nav-link", has_text="Look inside").click()
            page.locator("#look-tokens [data-place]").nth(20).click()
            page.wait_for_timeout(4000)
            page.screenshot(path=IMAGES / "look.png")
            page.locator(".nav-link", has_text="PCN Experiments").click()
            page.locator("#experiment-options label").first.click()
            page.click("#experiment-guess")
            page.click("#experiment-start")
            page.wait_for_selector("#experiment-state:has-text('done')", timeout=600_000)
            page.wait_for_timeout(2000)
            page.screenshot(path=IMAGES / "pcn.png")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
