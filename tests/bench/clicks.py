"""What each kind of click costs: requests, bytes, and milliseconds until the page changed.

Until it shows that it was pressed (the frame after the first change of an element, a text, or a
class), and until what was asked for is there.
"""

import time
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

SETTLED = 700  # milliseconds without a request, polls aside, after which a click is over
LONGEST = 20  # seconds after which a click is taken to be over
# Press an element, and wait until another is there, in sight, and no longer what it was.
PRESSED = """async ([press, awaited]) => {
  const seen = () => {
    const found = [...document.querySelectorAll(awaited)].find((one) => one.offsetParent);
    return found ? found.textContent + (found.value ?? "") : "";
  };
  const before = seen();
  if (!document.querySelector(press)) return [-1, -1];
  let shown = -1;
  const changes = new MutationObserver(() => {
    changes.disconnect();
    requestAnimationFrame(() => (shown = performance.now() - begun));
  });
  const kinds = { attributeFilter: ["class", "hidden", "disabled"], characterData: true };
  changes.observe(document.body, { ...kinds, childList: true, subtree: true });
  const begun = performance.now();
  const pressed = [...document.querySelectorAll(press)].find((one) => one.offsetParent);
  pressed.click();
  while (seen() === before || !seen()) {
    if (performance.now() - begun > 20000) return [shown, -1];
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  return [shown, performance.now() - begun];
}"""


@dataclass(frozen=True)
class Click:
    """What is pressed, and what then changes, both by a selector."""

    name: str
    press: str
    awaited: str


def tab(title: str, awaited: str, name: str = "") -> Click:
    """A press on the tab of that title; `name` says more of when."""
    return Click(name or f"tab {title}", f"#tabs .nav-link:text-is('{title}')", awaited)


CLICKS = (
    tab("Runs", "#runs-count", "tab Runs, the first time"),
    Click("a run in the list", "#runs .ag-center-cols-container .ag-row", "#detail-title"),
    Click("sub-tab Settings of a run", ".run-detail .nav-link:text-is('Settings')",
          "#detail-settings"),
    tab("Data", "#text-facts"),
    tab("Generate", "#moment-label"),
    tab("Look inside", "#look-tokens [data-place]", "tab Look inside, the first time"),
    Click("sub-tab Health", ".look-body .nav-link:text-is('Health')", "#health-signs li"),
    tab("Compare", "#compare-title", "tab Compare, the first time"),
    tab("PCN Experiments", "#experiment-title", "tab PCN Experiments, the first time"),
    tab("Learn", ".pane.learn", "tab Learn, the first time"),
    tab("Runs", "#runs-count", "tab Runs, again"),
    tab("Look inside", "#look-tokens [data-place]", "tab Look inside, again"),
    tab("Train", "#loss-chart"),
    Click("Initialize Model", "#initialize", "#state .state"),
    Click("Start Training", "#start", "#state .state"),
    Click("Pause", "#pause", "#state .state"),
    Click("Stop", "#stop", "#state .state"),
)  # fmt: skip


class Counter:
    """Counts the requests of the page and their bytes on the wire, polls aside."""

    def __init__(self, page: Page) -> None:
        self.page, self.count, self.bytes = page, 0, 0
        self._ours: set[str] = set()
        self._under_way: set[str] = set()
        network = page.context.new_cdp_session(page)
        network.send(
            "Network.enable", {"maxPostDataSize": 10_000_000}
        )  # else polls look like clicks
        network.on("Network.requestWillBeSent", self._begun)
        network.on("Network.loadingFinished", self._over)
        network.on("Network.loadingFailed", self._over)

    def _begun(self, event: dict[str, Any]) -> None:
        if "n_intervals" in event["request"].get("postData", ""):
            return
        self._ours.add(event["requestId"])
        self._under_way.add(event["requestId"])
        self.count += 1

    def _over(self, event: dict[str, Any]) -> None:
        self._under_way.discard(event["requestId"])
        if event["requestId"] in self._ours:
            self.bytes += int(event.get("encodedDataLength", 0))

    def settle(self) -> None:
        """Wait until nothing has been asked for a while."""
        quiet, ends = 0, time.monotonic() + LONGEST
        while quiet < SETTLED and time.monotonic() < ends:
            before = self.count
            self.page.wait_for_timeout(100)
            quiet = 0 if self._under_way or self.count != before else quiet + 100

    def reset(self) -> None:
        """Count from 0 again."""
        self.count, self.bytes = 0, 0


def rows(page: Page, counter: Counter) -> list[tuple[str, int, int, float, float]]:
    """(click, requests, bytes, milliseconds until it shows, and in all) of each kind of click, in
    turn on one page."""
    found = []
    for click in CLICKS:
        counter.settle()
        counter.reset()
        press = _found(page, click.press)
        shown, took = page.evaluate(PRESSED, [press, click.awaited])
        counter.settle()
        found.append((click.name, counter.count, counter.bytes, shown, took))
    return found


def _found(page: Page, selector: str) -> str:
    """A selector of plain CSS for the element that one of Playwright's means."""
    place = page.locator(selector).first
    place.evaluate("one => one.setAttribute('data-press', '')")
    page.evaluate(
        "one => { for (const each of document.querySelectorAll('[data-press]'))"
        " if (each !== one) each.removeAttribute('data-press') }",
        place.element_handle(),
    )
    return "[data-press]"


def loaded(counter: Counter) -> tuple[int, int]:
    """Requests and bytes until the page has come to rest."""
    counter.settle()
    return counter.count, counter.bytes
