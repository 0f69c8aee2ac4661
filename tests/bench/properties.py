"""What makes the page feel good, property by property, measured on the real thing.

    python tests/bench/properties.py

Serves the page on a temporary home, opens it in a headless browser and trains: the first half is
one newcomer's Quick start, the second a run of 10,000 steps of a small model. Uses Tiny Shakespeare
when it is at hand (TRANSFORMER_LAB_DATA names a folder of corpora). Says numbers beside what they
should be; judges nothing. What needs no clock (help, axe, addresses) is tested in tests/browser.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

from clicks import PRESSED
from page import COMMAND, FIRST_PAINT, FLAGS, HAS_POINT, PAGE, PORT, until_listening
from playwright.sync_api import CDPSession, Page, Response, sync_playwright

from chromium import TOURED, find

TABS = (
    "Train", "Runs", "Compare", "Data", "Generate", "Look inside", "Fine-tune", "PCN Experiments",
    "Learn",
)  # fmt: skip
STEPS = "document.querySelector('#loss-chart .js-plotly-plot')?.data?.[0]?.x?.at(-1) ?? 0"
SHOWS_STEPS = f"({STEPS}) > 0"
# How often the curve grew while so many milliseconds went by.
GREW = f"""async (lasting) => {{
  const begun = performance.now();
  let times = 0, last = {STEPS};
  while (performance.now() - begun < lasting) {{
    await new Promise((resolve) => requestAnimationFrame(resolve));
    const now = {STEPS};
    if (now !== last) times++;
    last = now;
  }}
  return times;
}}"""
LOWEST = """selectors => Math.max(...selectors.map(
  one => document.querySelector(one).getBoundingClientRect().bottom))"""
# Milliseconds from the press of a key to the next change of the shares beside it.
WATCH = """window.redrawn = new Promise((resolve) => {
  let pressed = 0;
  addEventListener("keydown", () => (pressed = performance.now()), { capture: true, once: true });
  new MutationObserver((_, watch) => {
    if (pressed) watch.disconnect(), resolve(performance.now() - pressed);
  }).observe(document.querySelector("#picked-body"),
    { subtree: true, childList: true, characterData: true });
}); 0"""
SMALL_TARGETS = """() => [...document.querySelectorAll(
  "main :is(button, select, textarea, .nav-link, "
  + "input:not([type=hidden], [type=radio], [type=checkbox], [type=file]))"
  + ":not(.ag-root *, .modebar *, .js-plotly-plot *)")]
  .filter(one => one.offsetParent && getComputedStyle(one).visibility === "visible")
  .filter(one => one.getBoundingClientRect().height < 43.5)
  .map(one => (one.id || one.className) + " " + Math.round(one.getBoundingClientRect().height))"""
Row = tuple[str, str, str]


def main() -> None:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = subprocess.Popen([*COMMAND, "serve", "--port", str(PORT), "--home", home])
        try:
            until_listening()
            browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
            context = browser.new_context(
                viewport={"width": 1366, "height": 768},
                bypass_csp=True,  # for wait_for_function
            )
            context.add_init_script(TOURED)
            page = context.new_page()
            rows = [*beginning(page), *generating(page), *on_a_phone(page), *a_long_run(page)]
            browser.close()
        finally:
            server.terminate()
            server.wait()
    for name, aim, found in rows:
        print(f"{name:52} {aim:12} {found}")


def beginning(page: Page) -> list[Row]:
    """From load to a model that trains, and a reload in the middle."""
    page.goto(PAGE)
    page.wait_for_function("document.getElementById('preflight')?.textContent.includes('a step')")
    paint = page.evaluate(FIRST_PAINT) / 1000
    page.click("#start")
    point = timed(lambda: page.wait_for_function(HAS_POINT))
    lowest = page.evaluate(LOWEST, ["#start", "#state", "#loss-chart", "#sample"])
    rate = page.evaluate(GREW, 5000) / 5
    tab = page.get_by_role("tab", name="Data", exact=True)
    tab.evaluate("one => one.setAttribute('data-press', '')")
    shown, answered = page.evaluate(PRESSED, ["[data-press]", "#text-facts"])
    page.get_by_role("tab", name="Train", exact=True).click()
    before = page.evaluate(STEPS)
    reloaded = timed(lambda: (page.reload(), page.wait_for_function(SHOWS_STEPS)))
    first = page.evaluate("document.querySelector('#loss-chart .js-plotly-plot').data[0].x[0]")
    return [
        ("useful first paint", "<= 1.5 s", f"{paint:.2f} s"),
        ("presses from load to a training model", "1", "1 (Start Training)"),
        ("from Start to the first point", "<= 3 s", f"{point:.2f} s"),
        ("updates of the curve while it trains", ">= 2 a second", f"{rate:.1f} a second"),
        ("a press on the tab Data while it trains", "<= 100 ms",
         f"shows after {shown:.0f} ms, all of it after {answered:.0f}"),
        ("start, state, loss and sample end at, of 768 px", "<= 768", f"{lowest:.0f}"),
        ("the same state after a reload in mid-run", "<= 2 s",
         f"{reloaded:.2f} s, from step {first} on, to at least {before}"),
    ]  # fmt: skip


def generating(page: Page) -> list[Row]:
    """A slider beside the shares of a token, with what the page has."""
    page.wait_for_function("document.querySelector('#state .state')?.textContent === 'finished'")
    page.get_by_role("tab", name="Generate", exact=True).click()
    page.click("#generate")
    page.wait_for_function("document.querySelector('#generate-caption').textContent.match(/done/)")
    page.locator("#output .tok").nth(4).click()
    page.locator("#picked-body tbody tr").first.wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.locator(".draw-slider", has_text="Temperature").get_by_role("slider").focus()
    page.evaluate(WATCH)
    page.keyboard.press("ArrowRight")
    took = page.evaluate("redrawn")
    ours = [body for body in asked if "draw-slider" in body]
    found = f"{took:.0f} ms, {len(ours)} requests"
    return [("a change of temperature, until the shares are redrawn", "<= 150 ms", found)]


def on_a_phone(page: Page) -> list[Row]:
    """Every tab, 390 pixels wide: how far it scrolls sideways, and what is hard to hit."""
    page.set_viewport_size({"width": 390, "height": 844})
    over, small = 0, []
    for name in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(4000)
        over = max(over, page.evaluate("document.documentElement.scrollWidth - innerWidth"))
        small += [f"{name}: {one}" for one in page.evaluate(SMALL_TARGETS)]
    page.set_viewport_size({"width": 1366, "height": 768})
    return [
        ("390 px wide: pixels to scroll sideways, nine tabs", "0", str(over)),
        ("390 px wide: targets less than 44 px high", "0", f"{len(small)} {small[:8]}"),
    ]


def a_long_run(page: Page) -> list[Row]:
    """The size of a poll, and what the page keeps in memory while 10,000 steps go by."""
    setup = {
        "data.corpus": "python_docs", "model.layers": 1, "model.heads": 1,
        "model.embedding_dim": 16, "model.sequence_length": 16, "train.batch_size": 4,
        "train.steps": 10_000, "train.evaluate_every": 1000,
    }  # fmt: skip
    page.goto(f"{PAGE}/?recipe=quick_start&" + "&".join(f"{k}={v}" for k, v in setup.items()))
    page.locator("#modified", has_text=f"({len(setup)})").wait_for()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: note(request.response(), sizes))
    page.click("#start")
    memory = page.context.new_cdp_session(page)
    heaps = []
    for reached in (2000, 10_000):
        page.wait_for_function(f"({STEPS}) >= {reached}", timeout=600_000)
        heaps.append(heap(memory))
    return [
        ("10,000 steps: the largest poll of all", "<= 50 kB", f"{max(sizes) / 1000:.1f} kB"),
        ("10,000 steps: memory of the page", "flat",
         f"{heaps[0]:.1f} MB at 2,000, {heaps[1]:.1f} MB at 10,000"),
    ]  # fmt: skip


def note(response: Response | None, sizes: list[int]) -> None:
    """The bytes of an answer to a poll, before they are compressed."""
    if response and "n_intervals" in (response.request.post_data or ""):
        sizes.append(len(response.body()))


def heap(memory: CDPSession) -> float:
    """Megabytes in use once what nobody needs is gone."""
    memory.send("HeapProfiler.collectGarbage")
    return float(memory.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def timed(work: Callable[[], Any]) -> float:
    """The seconds that something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
