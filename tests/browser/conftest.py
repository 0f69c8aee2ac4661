"""One real server and a real headless browser for all browser tests."""

import threading
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
from transformer_lab.cli.listening import listen
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup
from transformer_lab.ui.server import create_app
from waiting import PATIENCE, until

FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
]
expect.set_options(timeout=1000 * PATIENCE)  # milliseconds
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
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable: Path | None = find()
    assert executable, "no browser: run python tests/browser/chromium.py install"
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


@pytest.fixture(autouse=True)
def _everybody_leaves(browser: Browser) -> Iterator[None]:
    """A visitor whom a failed test has left on a page would go on asking for what is new."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture
def context(browser: Browser, address: str, lab: Lab) -> Iterator[BrowserContext]:
    """A visitor; the test fails when a page complains or asks another host for something."""
    troubles: list[str] = []
    made = browser.new_context(
        viewport={"width": 1366, "height": 768},
        base_url=address,
        bypass_csp=True,  # for wait_for_function; test_proxy.py keeps to the policy
    )
    made.add_init_script(TOURED)  # test_learn.py takes it
    made.on("request", lambda r: None if _ours(r.url, address) else troubles.append(r.url))
    made.on("console", lambda m: troubles.append(m.text) if _wrong(m) else None)
    made.on("weberror", lambda error: troubles.append(_told(error.error)))
    yield made
    made.close()
    if lab.trainings.current and lab.trainings.current.status.state in ("running", "paused"):
        lab.trainings.stop("The test ended.")
        lab.trainings.wait(PATIENCE)
    assert troubles == []


def _told(error: Error) -> str:
    """What the page complains of, and from where."""
    return f"{error.message}\n{error.stack}"


def _wrong(message: ConsoleMessage) -> bool:
    """Whether the page complains; of a refused upload, or what a test itself broke off, it may."""
    broken = ("net::ERR_FAILED", "(Bad Gateway)")
    made_to = "/upload" in message.location["url"] or message.text.endswith(broken)
    return message.type == "error" and not made_to


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
