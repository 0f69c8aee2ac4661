"""Many pages on one lab: what their polls take, and what they cost the training.

    python tests/bench/load.py [--pages 30] [--rate 3] [--seconds 10] [--rounds 3]

Serves a temporary home, starts Quick start's model by the page's own button, and then asks what an
open Train tab asks, from so many connections at so many polls a second each; each goes on where its
last answer ended, as a page does. For a while it asks, and for as long it does not, in turn. The
pages compute on the same machine as the lab here. Uses Tiny Shakespeare when it is at hand
(TRANSFORMER_LAB_DATA names a folder of corpora). Judges nothing. An hour of it, for the memory:
--rounds 12 --seconds 150.
"""

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from typing import Any, NamedTuple

import psutil
from page import COMMAND, FLAGS, HAS_POINT, PAGE, PORT, until_listening
from playwright.sync_api import Request, sync_playwright

from chromium import TOURED, find

POLL = "/_dash-update-component"
TRAINS = 0.1  # of the processor time while no page asks: a thread of the training has more
ENDLESS = "?recipe=quick_start&train.steps=1000000"


class Visitor:
    """An open page: a connection, and the poll that it sends again and again."""

    def __init__(self, poll: dict[str, Any], headers: dict[str, str]) -> None:
        self.poll: dict[str, Any] = json.loads(json.dumps(poll))
        self.headers = headers
        self.cursor = next(one for one in self.poll["state"] if one["id"] == "cursor")
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.sizes: list[int] = []

    def visit(self, rate: float, until: float, begin: float) -> None:
        """Poll so many times a second, on a connection that is kept."""
        time.sleep(begin)
        connection = http.client.HTTPConnection("localhost", PORT, timeout=60)
        while time.perf_counter() < until:
            asked = time.perf_counter()
            try:
                connection.request("POST", POLL, json.dumps(self.poll), self.headers)
                answer = connection.getresponse()
                self.take(answer.status, answer.read())
            except OSError as error:
                self.wrong.append(str(error))
                connection.close()
            self.seconds.append(time.perf_counter() - asked)
            time.sleep(max(0.0, 1 / rate - self.seconds[-1]))
        connection.close()

    def take(self, status: int, body: bytes) -> None:
        """Go on where an answer ends."""
        self.sizes.append(len(body))
        if status == http.client.OK:
            found = json.loads(body)["response"].get("cursor", {})
            self.cursor["value"] = found.get("data", self.cursor["value"])
        elif status != http.client.NO_CONTENT:
            self.wrong.append(f"{status}: {body[:100]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--rate", type=float, default=3.0, help="polls a second of each")
    parser.add_argument("--seconds", type=float, default=10.0, help="with the pages, and without")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen([*COMMAND, "serve", "--port", str(PORT), "--home", home])
        try:
            until_listening()
            poll, headers = a_poll()
            visitors = [Visitor(poll, headers) for _ in range(arguments.pages)]
            one = Visitor(poll, headers)  # who looks once, at the beginning and the end of a time
            idle = spent_by(server.pid)
            paces = [pace(one, arguments.seconds)]
            kept = [resident(server.pid)]
            trains, spent = spent_by(server.pid), time.process_time()
            for _ in range(arguments.rounds):
                begun, first = time.perf_counter(), steps(one)
                crowd(visitors, arguments.rate, arguments.seconds)
                paces.append((steps(one) - first) / (time.perf_counter() - begun))
                if len(paces) == 2:
                    answered, asked = spent_by(server.pid), time.process_time() - spent
                    polls = sum(len(visitor.seconds) for visitor in visitors)
                kept.append(resident(server.pid))
                paces.append(pace(one, arguments.seconds))
        finally:
            server.terminate()
            server.wait()
    spent = 1000 * answering(idle, trains, answered) / polls, 1000 * asked / polls
    report(arguments, visitors, paces, spent, kept)


def report(
    arguments: argparse.Namespace,
    visitors: list[Visitor],
    paces: list[float],
    spent: tuple[float, float],
    kept: list[int],
) -> None:
    """Print what was found.

    `paces` are steps a second, in turn without the pages and with them; `spent` milliseconds of the
    processor for a poll, in the lab and in the pages here; `kept` the lab's memory in MB, before
    the pages and after each round of them.
    """
    seconds = [1000 * one for visitor in visitors for one in visitor.seconds]
    wrong = [one for visitor in visitors for one in visitor.wrong]
    sizes = [size for visitor in visitors for size in visitor.sizes]
    cuts = statistics.quantiles(seconds, n=20)
    whole = arguments.rounds * arguments.seconds
    around = zip(paces[:-2:2], paces[1::2], paces[2::2], strict=True)
    shares = [2 * during / (before + after) for before, during, after in around]
    reached = {visitor.cursor["value"]["n"] for visitor in visitors}
    for name, value in (
        ("machine", f"{platform.machine()}, {os.cpu_count()} cores"),
        ("pages", f"{arguments.pages} at {arguments.rate:g} polls a second"),
        ("polls", f"{len(seconds)}, {len(seconds) / whole:.0f} a second"),
        ("a poll, ms", f"p50 {cuts[9]:.0f}, p95 {cuts[18]:.0f}, all to {max(seconds):.0f}"),
        ("processor time of a poll, ms", f"{spent[0]:.1f} in the lab, {spent[1]:.1f} in the pages"),
        ("bytes of an answer", f"{statistics.mean(sizes):.0f}, "
         f"none in {sizes.count(0) / len(sizes):.0%}"),
        ("failed", f"{len(wrong)} {wrong[:3]}"),
        ("last points that pages have", f"{min(reached)} to {max(reached)}"),
        ("steps a second, in turn", ", ".join(f"{pace:.2f}" for pace in paces)),
        ("memory of the lab, MB, in turn", ", ".join(map(str, kept))),
        ("with the pages, of alone", f"{statistics.median(shares):.2f} (median of "
         f"{', '.join(f'{share:.2f}' for share in shares)})"),
    ):  # fmt: skip
        print(f"{name:32} {value}")


def resident(pid: int) -> int:
    """The memory of a process, in MB."""
    return round(psutil.Process(pid).memory_info().rss / 1e6)


class Spent(NamedTuple):
    """What each thread of a process has used so far, in seconds, and when that was."""

    threads: dict[int, float]
    at: float


def spent_by(pid: int) -> Spent:
    """What a process has used."""
    found = psutil.Process(pid).threads()
    return Spent({one.id: one.user_time + one.system_time for one in found}, time.perf_counter())


def answering(begun: Spent, alone: Spent, crowded: Spent) -> float:
    """Processor seconds that answers took between the last two: what is more than without them.

    The threads of the training, which take most while nobody asks, are left out.
    """
    whole = sum(alone.threads.values()) - sum(begun.threads.values())
    share = (crowded.at - alone.at) / (alone.at - begun.at)
    answers = 0.0
    for one, spent in crowded.threads.items():
        before = alone.threads.get(one, 0.0)
        rest = before - begun.threads.get(one, 0.0)
        if rest < TRAINS * whole:
            answers += spent - before - share * rest
    return answers


def a_poll() -> tuple[dict[str, Any], dict[str, str]]:
    """Press Start in a browser; a poll of that page while it trains, and headers for it."""
    found: list[Request] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        page = browser.new_page(bypass_csp=True)
        page.add_init_script(TOURED)
        page.goto(f"{PAGE}/{ENDLESS}")
        page.locator("#modified", has_text="(1)").wait_for()
        page.click("#start")
        page.wait_for_function(HAS_POINT)
        page.on("request", lambda one: found.append(one) if is_poll(one) else None)
        while not found:
            page.wait_for_timeout(100)
        headers = {"Content-Type": "application/json", "Origin": PAGE}
        poll = found[0].post_data_json
        browser.close()
    assert isinstance(poll, dict)
    return poll, headers


def is_poll(request: Request) -> bool:
    """Whether a request asks for what is new in the charts of Train."""
    body = request.post_data or ""
    return POLL in request.url and "tick.n_intervals" in body and "cursor.data" in body


def crowd(visitors: list[Visitor], rate: float, seconds: float) -> None:
    """All of them, for a while, not all in the same moment."""
    until = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=one.visit, args=(rate, until, place / len(visitors) / rate))
        for place, one in enumerate(visitors)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def steps(one: Visitor) -> int:
    """How many steps the training has done."""
    connection = http.client.HTTPConnection("localhost", PORT, timeout=60)
    connection.request("POST", POLL, json.dumps(one.poll), one.headers)
    answer = connection.getresponse()
    one.take(answer.status, answer.read())
    connection.close()
    return int(one.cursor["value"]["n"])


def pace(one: Visitor, seconds: float) -> float:
    """Steps a second while nobody else asks."""
    begun, first = time.perf_counter(), steps(one)
    time.sleep(seconds)
    return (steps(one) - first) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
