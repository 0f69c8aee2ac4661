"""The lab behind a reverse proxy, under a path, and what the page says when it is refused."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from chromium import TOURED
from serving import shut
from transformer_lab.cli.listening import listen
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import create_app

BASE = "/school/lab"
HOP = ("host", "connection", "transfer-encoding", "content-length", "server", "date")


class Proxy(ThreadingHTTPServer):
    """As nginx does by default, it asks the lab by the lab's own address; all else it refuses."""

    daemon_threads = True
    outside: list[str]
    slow: threading.Event  # polls wait while it is not set

    def __init__(self, upstream: int, *, strips: bool, tells: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.strips, self.tells = upstream, strips, tells
        self.outside = []

    def headers_for(self, given: Any) -> dict[str, str]:
        headers = {name: value for name, value in given.items() if name.lower() not in HOP}
        if self.tells:
            headers |= {"X-Forwarded-Host": given["Host"], "X-Forwarded-Proto": "http"}
        return headers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        path = self.path
        if not path.startswith(f"{BASE}/"):
            self.server.outside.append(path)
            self.send_error(404)
            return
        if self.server.strips:
            path = path.removeprefix(BASE)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lab = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        lab.request(self.command, path, body or None, self.server.headers_for(self.headers))
        answer = lab.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        lab.close()

    do_POST = do_GET  # noqa: N815 - as http.server names them

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(
    lab: Lab, *, strips: bool = False, tells: bool = True, **options: Any
) -> Iterator[Proxy]:
    """A proxy before a lab of its own options."""
    server = listen(create_app(lab, **options).server, "127.0.0.1", 0, lab.home)
    proxy = Proxy(int(server.effective_port), strips=strips, tells=tells)
    for one in (server.run, proxy.serve_forever):
        threading.Thread(target=one, daemon=True).start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    shut(server)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[Proxy, str], tuple[Page, list[str]]]]:
    """Open a page, and note what it complains of."""
    contexts = []

    def opened(proxy: Proxy, path: str) -> tuple[Page, list[str]]:
        port = proxy.server_address[1]
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        context.add_init_script(TOURED)
        contexts.append(context)
        troubles: list[str] = []
        context.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        context.on("weberror", lambda error: troubles.append(error.error.message))
        page = context.new_page()
        page.goto(f"http://lab.localhost:{port}{path}")
        return page, troubles

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("strips", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_page_works_under_a_path_of_a_proxy(lab, model, visit, strips, tmp_path):
    options = {"base_path": BASE, "trust_proxy": True, "allowed_hosts": ["lab.localhost"]}
    with served(lab, strips=strips, **options) as proxy:
        page, troubles = visit(proxy, f"{BASE}/")
        expect(page.locator("#why")).to_be_attached()
        page.get_by_role("tab", name="Data").click()
        page.set_input_files(
            "#upload",
            files=[
                {"name": "up.txt", "mimeType": "text/plain", "buffer": b"a line of text\n" * 90}
            ],
        )
        expect(page.locator("#text-message")).to_have_text("up.txt was added.")
        page.get_by_role("tab", name="Runs").click()
        page.locator(f"#runs .ag-row[row-id='{model}'] .ag-selection-checkbox").first.click()
        page.get_by_role("tab", name="Export").click()
        with page.expect_download() as begun:
            page.get_by_role("link", name="Metrics as CSV").click()
        saved = tmp_path / "metrics.csv"
        begun.value.save_as(saved)
        assert saved.read_text(encoding="utf-8").startswith("step")
        for name in ("Look inside", "PCN Experiments", "Learn"):
            page.get_by_role("tab", name=name, exact=True).click()
        proxy.strips = not strips  # a proxy that does the other thing shows it as well
        page.reload()
        expect(page.locator("#why")).to_be_attached()
        expect(page.locator("#panel")).to_contain_text("parameters")
        page.get_by_role("tab", name="Runs").click()
        expect(page.locator(f"#runs .ag-row[row-id='{model}']").first).to_be_visible()
        expect(page.locator("#refusal")).to_be_empty()
        assert proxy.outside == []
        assert troubles == []


def test_a_page_whose_callbacks_are_refused_says_why_and_what_to_do(lab, visit):
    with served(lab, strips=True, tells=False, base_path=BASE) as proxy:
        page, _ = visit(proxy, f"{BASE}/")
        expect(page.locator("#refusal")).to_contain_text("--trust-proxy and --allow-host")


def test_a_page_under_a_path_that_the_lab_does_not_know_says_so(lab, visit):
    with served(lab, strips=True) as proxy:
        page, _ = visit(proxy, f"{BASE}/")
        expect(page.locator("#refusal")).to_contain_text("--base-path /lab")


def test_a_page_that_is_shown_by_another_name_says_which(lab, visit):
    options = {"base_path": BASE, "trust_proxy": True}
    with served(lab, **options) as proxy:
        page, _ = visit(proxy, f"{BASE}/")
        expect(page.locator("body")).to_contain_text("--allow-host lab.localhost")
