"""One real server and a real headless browser for all browser tests."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import torch._dynamo  # noqa: F401 - on the main thread, before any other starts
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    expect,
    sync_playwright,
)

from chromium import TOURED, find
from serving import shut
from transformer_lab.cli.listening import listen
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.recipes import Setup
from transformer_lab.ui.server import create_app
from waiting import PATIENCE, until

FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--process-per-site",  # a new page of the visitor's finds its scripts compiled
    "--renderer-process-limit=1",
]
expect.set_options(timeout=1000 * PATIENCE)  # milliseconds
REST = 0.01  # seconds
STEPS = "label:has(.field-label:text-is('Steps'))"
TINY = {
    "recipe": "quick_start",
    "data.corpus": "python_docs",
    "model.layers": "1",
    "model.heads": "2",
    "model.embedding_dim": "32",
    "model.sequence_length": "32",
    "train.batch_size": "4",
    "train.steps": "1000000",  # it ends when a test stops it, not by itself
}

SMALL_MODEL = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 2,
        "model.heads": 2,
        "model.embedding_dim": 32,
        "model.sequence_length": 32,
        "train.batch_size": 4,
        "train.steps": 60,
        "train.threads": 1,
        "train.learning_rate": 0.01,
    }
)


@pytest.fixture(scope="module", autouse=True)  # tests of other folders may come after
def _unhurried() -> Iterator[None]:
    """A training rests after each step, so that it leaves this computer to the page."""
    advance = LiveRun.advance

    def rested(run: LiveRun) -> None:
        advance(run)
        time.sleep(REST)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveRun, "advance", rested)
        yield


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def address(lab: Lab) -> Iterator[str]:
    server = listen(create_app(lab).server, "127.0.0.1", 0, lab.home)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    shut(server)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable: Path | None = find()
    assert executable, "no browser: run python tests/browser/chromium.py install"
    # What a closed page left undone is reported when memory is collected: in any later test.
    logging.getLogger("asyncio").disabled = True
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launched, "new_context", _patient(launched.new_context))
            yield launched
        launched.close()


def _patient(new_context: Callable[..., BrowserContext]) -> Callable[..., BrowserContext]:
    """Every visitor waits as long as all tests do."""

    def made(**options: Any) -> BrowserContext:
        context = new_context(**options)
        context.set_default_timeout(1000 * PATIENCE)
        return context

    return made


@pytest.fixture(scope="session")
def returning(browser: Browser, address: str) -> Iterator[tuple[BrowserContext, list[str]]]:
    """Somebody who has been here before, and what the pages complain of or ask of another host.

    One for all tests: the page opens about twice as fast where its scripts are known.
    """
    troubles: list[str] = []
    made = browser.new_context(
        viewport={"width": 1366, "height": 768},
        base_url=address,
        bypass_csp=True,  # for wait_for_function; test_proxy.py keeps to the policy
    )
    made.on("request", lambda r: None if _ours(r.url, address) else troubles.append(r.url))
    made.on("console", lambda m: troubles.append(m.text) if _wrong(m) else None)
    made.on("weberror", lambda error: troubles.append(_told(error.error)))
    made.new_page().goto("/assets/learn.css")  # it stays, and with it what the browser knows
    made.add_init_script(TOURED)  # test_learn.py takes the tour
    yield made, troubles
    made.close()


@pytest.fixture(autouse=True)
def _everybody_leaves(
    browser: Browser, returning: tuple[BrowserContext, list[str]]
) -> Iterator[None]:
    """A page that a failed test has left open would go on asking for what is new."""
    yield
    for context in browser.contexts:
        if context is not returning[0]:
            context.close()


@pytest.fixture
def context(returning: tuple[BrowserContext, list[str]], lab: Lab) -> Iterator[BrowserContext]:
    """The visitor, without anything kept of a test before; the test fails when a page complains."""
    made, troubles = returning
    troubles.clear()
    yield made
    first, *opened = made.pages
    for page in opened:
        page.close()
    made.unroute_all()
    made.clear_cookies()
    first.evaluate("localStorage.clear()")
    if lab.trainings.current and lab.trainings.current.status.state in ("running", "paused"):
        lab.trainings.stop("The test ended.")
        lab.trainings.wait(PATIENCE)
    assert troubles == []


def _told(error: Error) -> str:
    """What the page complains of, and from where."""
    return f"{error.message}\n{error.stack}"


def _wrong(message: ConsoleMessage) -> bool:
    """Whether the page complains; of a refused upload, or what a test itself broke off, it may."""
    allowed = ("/upload", "/favicon.ico")  # a style sheet alone, as at first, names no icon
    broken = ("net::ERR_FAILED", "(Bad Gateway)")
    made_to = any(part in message.location["url"] for part in allowed)
    return message.type == "error" and not made_to and not message.text.endswith(broken)


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


@pytest.fixture(scope="session")
def model(lab: Lab) -> str:
    """A model of two layers that has trained a little; the run's id."""
    if lab.trainings.current and lab.trainings.current.busy:
        lab.trainings.stop("Another test begins.")
        lab.trainings.wait(PATIENCE)
    lab.trainings.start(SMALL_MODEL)
    until(lambda: lab.trainings.current.ended)
    return lab.trainings.current.status.run_id


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """The page as it opens, with a tiny model on a text that is always there."""
    opened = context.new_page()
    opened.goto(f"/?{urlencode(TINY)}")
    expect(opened.locator("#modified")).to_have_text(f"modified ({len(TINY) - 1}) · ")
    return opened
