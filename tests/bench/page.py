"""How fast the lab feels, measured on the real thing; prints a table and judges nothing.

    python tests/bench/page.py

Serves the page on a temporary home, opens it in a headless browser and presses Start, then every
kind of button and tab in turn: how many requests each makes, polls aside, how many bytes come, and
after how many milliseconds the page has changed. Uses Tiny Shakespeare when it is at hand
(TRANSFORMER_LAB_DATA names a folder of corpora). `--clicks` measures the clicks alone.
"""

import contextlib
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, Request, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
sys.path.insert(0, str(Path(__file__).parent))
from clicks import Counter, loaded
from clicks import rows as click_rows

from chromium import TOURED, find

PORT = 8951
PAGE = f"http://localhost:{PORT}"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
TINY = ["--corpus", "python_docs", "--steps", "30", "--set", "train.evaluate_every=10"]
COMMAND = [sys.executable, "-m", "transformer_lab.cli"]
HAS_POINT = "document.querySelector('#loss-chart .js-plotly-plot')?.data?.[0]?.x?.length > 0"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    rows: list[tuple[str, str]] = [("machine", f"{platform.machine()}, {os.cpu_count()} cores")]
    with tempfile.TemporaryDirectory() as home:
        if "--clicks" not in sys.argv:
            rows += page_rows(home)
        clicks = measured_clicks(home)
    for name, value in rows:
        print(f"{name:44} {value}")
    print(f"{'click':38} {'requests':>8} {'kB':>8} {'shows, ms':>9} {'all, ms':>8}")
    for name, requests, size, shown, took in clicks:
        print(f"{name:38} {requests:8} {size / 1000:8.1f} {shown:9.0f} {took:8.0f}")


def page_rows(home: str) -> list[tuple[str, str]]:
    """Start-up, first paint, first point and the latency of polls, in a browser."""
    started = time.perf_counter()
    server = subprocess.Popen([*COMMAND, "serve", "--port", str(PORT), "--home", home])
    try:
        with sync_playwright() as playwright:
            executable = find()
            browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
            page = browser.new_page(
                viewport={"width": 1366, "height": 768},
                bypass_csp=True,  # for wait_for_function
            )
            up = _open(page, started)
            page.goto(PAGE)
            begun = time.perf_counter()
            page.wait_for_selector("#loss-chart .js-plotly-plot .main-svg")
            usable = time.perf_counter() - begun
            paint = page.evaluate(FIRST_PAINT) / 1000
            latencies: list[float] = []
            page.on("requestfinished", lambda request: _note(request, latencies))
            page.click("#start")
            pressed = time.perf_counter()
            page.wait_for_function(HAS_POINT)
            first_point = time.perf_counter() - pressed
            page.wait_for_timeout(20_000)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    cuts = statistics.quantiles(latencies, n=20)
    return [
        ("seconds from launch to an answering server", f"{up:.1f}"),
        ("seconds to first contentful paint", f"{paint:.2f}"),
        ("seconds to a drawn chart", f"{usable:.2f}"),
        ("seconds from Start to the first point", f"{first_point:.2f}"),
        (f"poll latency while training, n={len(latencies)}", f"p50 {cuts[9]:.0f} ms"),
        ("", f"p95 {cuts[18]:.0f} ms"),
    ]


def measured_clicks(home: str) -> list[tuple[str, int, int, float, float]]:
    """What the first load, the second and each kind of click ask for, with one trained model."""
    line = [*COMMAND, "train", *TINY, "--home", home]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen([*COMMAND, "serve", "--port", str(PORT), "--home", home])
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            context.add_init_script(TOURED)
            until_listening()
            found = []
            for name in ("first load", "second load"):
                page = context.new_page()
                counter = Counter(page)
                page.goto(PAGE)
                page.wait_for_selector("#loss-chart .js-plotly-plot .main-svg")
                shown, took = page.evaluate(f"[{FIRST_PAINT}, performance.now()]")
                found.append((name, *loaded(counter), shown, took))
            found += click_rows(page, counter)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return found


def until_listening() -> None:
    """Wait for the server of this measurement. Raises RuntimeError after a minute."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("localhost", PORT)):
            return
        time.sleep(0.1)
    raise RuntimeError("the server did not come up")


def _open(page: Page, started: float) -> float:
    while True:
        try:
            page.goto(PAGE)
            return time.perf_counter() - started
        except Exception as error:
            if time.perf_counter() - started > 60:
                raise RuntimeError("the server did not come up") from error
            page.wait_for_timeout(100)


def _note(request: Request, latencies: list[float]) -> None:
    if "_dash-update-component" in request.url:
        timing = request.timing
        latencies.append(timing["responseEnd"] - timing["requestStart"])


if __name__ == "__main__":
    main()
