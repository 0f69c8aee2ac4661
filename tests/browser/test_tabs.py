"""Every tab shows its content however and whenever it is reached."""

import re
import threading
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import SMALL_MODEL
from serving import shut
from steady import PARTS, still
from transformer_lab.cli.listening import listen
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import create_app
from waiting import PATIENCE, until

TABS = (
    "Train", "Runs", "Compare", "Data", "Generate", "Look inside", "Fine-tune", "PCN Experiments",
    "Learn",
)  # fmt: skip
ENDLESS = SMALL_MODEL.with_values({"train.steps": 1_000_000})


class OwnServer:
    """A lab and its server, which can be opened anew at the same address."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, 0
        self.open()

    def open(self) -> None:
        self.lab = Lab(self.home)
        self.server = listen(create_app(self.lab).server, "127.0.0.1", self.port, self.home)
        self.port = int(self.server.effective_port)
        threading.Thread(target=self.server.run, daemon=True).start()

    def close(self) -> None:
        shut(self.server)
        self.lab.close()

    def visit(self, browser: Browser) -> Page:
        page = browser.new_context(base_url=f"http://127.0.0.1:{self.port}").new_page()
        page.goto("/")
        expect(page.locator("#start")).to_be_visible()
        return page


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path_factory.mktemp("tabs"))
    yield made
    made.close()


def open_tab(page: Page, title: str, *, model: bool) -> None:
    """Open a tab; it has to fill, with what there is or with a sentence of why there is nothing."""
    page.get_by_role("tab", name=title, exact=True).click()
    words = {
        "Train": ("#loss-chart .gtitle", "Loss"),
        "Runs": ("#runs-count", "1 run" if model else "No runs yet"),
        "Compare": ("#compare-title", " "),
        "Data": ("#text-facts", "characters"),
        "Generate": ("#moment-label", "after step" if model else "no model"),
        "Look inside": ("#look-note", "tokens") if model else ("#look-problem", "no model"),
        "PCN Experiments": ("#experiment-title", " "),
        "Fine-tune": (".tab-pane.active h2 >> nth=0", "Fine-tune"),
        "Learn": ("#tour-again", "tour"),
    }
    place, text = words[title]
    expect(page.locator(place)).to_contain_text(text)
    expect(page.locator(place)).to_be_visible()
    if title == "Look inside" and model:
        expect(page.locator("#look-tokens [data-place]").first).to_be_visible()
        expect(page.locator(".flow-attention").first).to_be_visible()


def all_in_turn(page: Page, *, model: bool) -> None:
    for title in TABS[::-1]:
        open_tab(page, title, model=model)


def a_model(own: OwnServer) -> None:
    """One that has trained a little."""
    if not own.lab.runs.all():
        own.lab.trainings.start(SMALL_MODEL)
        until(lambda: own.lab.trainings.current.ended)


def test_every_tab_is_filled_without_a_model_and_while_the_first_one_trains(
    browser: Browser, own: OwnServer
):
    page = own.visit(browser)
    all_in_turn(page, model=False)
    own.lab.trainings.start(ENDLESS)
    until(lambda: own.lab.trainings.current.status.step > 5)
    for title in ("Look inside", "Generate", "Train"):  # as the training stands now
        open_tab(page, title, model=True)
    own.lab.trainings.stop("Seen.")
    own.lab.trainings.wait(PATIENCE)
    open_tab(page, "Runs", model=True)
    page.context.close()


def pairs() -> list[Any]:
    """All orders of two; a short run sees one of them, since a page has to load for each."""
    quick = [("Generate", "Look inside")]
    return [
        pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow)
        for pair in permutations(TABS, 2)
    ]


@pytest.mark.parametrize(("first", "second"), pairs())
def test_a_tab_opened_for_the_first_time_is_filled_whatever_was_open_before(
    browser: Browser, own: OwnServer, first: str, second: str
):
    a_model(own)
    page = own.visit(browser)
    open_tab(page, first, model=True)
    if first == "Generate":
        page.locator("#generate").click()
        expect(page.locator("#generate-caption")).to_contain_text("done")
    open_tab(page, second, model=True)
    open_tab(page, first, model=True)
    page.context.close()


def test_a_tab_opened_while_the_lab_was_away_is_filled_when_it_is_back(
    browser: Browser, own: OwnServer
):
    a_model(own)
    page = own.visit(browser)
    open_tab(page, "Generate", model=True)
    lost = iter(range(2))  # a script that the browser asks for when it needs it, too
    page.route(
        "**/async-community*",
        lambda route: route.abort() if next(lost, None) is not None else route.continue_(),
    )
    own.close()
    page.get_by_role("tab", name="Look inside").click()
    expect(page.locator(".tab-pane.active .late")).to_have_text("Opening this tab …")
    expect(page.locator("#refusal")).to_contain_text("does not answer")
    own.open()
    expect(page.locator(".flow-attention").first).to_be_visible()
    for title, place in PARTS.items():
        page.get_by_role("tab", name=title, exact=True).click()
        expect(page.locator(place).first).to_contain_text(re.compile(r"\w"))
    open_tab(page, "Runs", model=True)
    assert next(lost, None) is None
    page.context.close()


COUNT_NOTIFICATIONS = """() => {
  const [store] = window.dash_stores;
  let seen = store.getState();
  window.notified = { all: 0, unshown: 0 };
  store.subscribe(() => {
    const now = store.getState();
    const changed = Object.keys(now).filter((part) => now[part] !== seen[part]);
    const unshown = changed.every((part) => ["callbacks", "loading"].includes(part));
    seen = now;
    window.notified.all++;
    if (changed.length && unshown) window.notified.unshown++;
  });
}"""
ELEMENTS = "() => document.querySelectorAll('*').length"


def test_a_tab_that_is_opened_notifies_the_page_seldom(own: OwnServer, browser: Browser):
    """At each notification every component looks whether it has to be drawn anew."""
    page = own.visit(browser)
    still(page.locator("#start"))
    page.evaluate(COUNT_NOTIFICATIONS)
    before = page.evaluate(ELEMENTS)
    open_tab(page, "PCN Experiments", model=False)
    still(page.locator("#experiment-title"))
    notified, added = page.evaluate("notified"), page.evaluate(ELEMENTS) - before
    assert notified["unshown"] == 0
    assert 0 < notified["all"] < added / 4, (notified, added)
    page.context.close()
