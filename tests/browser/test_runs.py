"""Runs, as a person uses them: found again, compared, continued after the worst."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from chromium import TOURED
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import setup_from
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from waiting import until

ROWS = "#runs .ag-center-cols-container .ag-row"


def train(page: Page, lab: Lab, steps: int) -> str:
    """A short training, to its end; gives the run's id."""
    fill_steps(page, steps)
    before = lab.trainings.current
    page.locator("#start").click()
    until(lambda: lab.trainings.current is not before and lab.trainings.current.ended)
    assert lab.trainings.current.setup.train.steps == steps
    expect(page.locator("#state .state")).to_have_text("finished")
    return lab.trainings.current.status.run_id


def fill_steps(page: Page, steps: int) -> None:
    """Type a number of steps, and wait until the page has taken it in."""

    def checked(answer: Response) -> bool:
        asked = answer.request.post_data or ""
        return '"output":"..plan.data' in asked and f'"value":"{steps}"' in asked

    with page.expect_response(checked):
        page.locator("label:has(.field-label:text-is('Steps')) input").fill(str(steps))
    expect(page.locator("#modified")).to_contain_text("modified")


def open_runs(page: Page) -> None:
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator(ROWS).first).to_be_visible()


def choose(page: Page, run_id: str) -> None:
    page.locator(f"#runs .ag-row[row-id='{run_id}'] .ag-selection-checkbox").first.click()


def test_a_slow_answer_is_shown_though_a_clock_asks_again_meanwhile(page: Page, model: str):
    open_runs(page)
    held: list[Route] = []
    ticks: list[str] = []

    def hold(route: Route) -> None:
        data = route.request.post_data or ""
        ticks.extend(["queue"] if '"runs-tick.n_intervals"' in data and "..queue." in data else [])
        if "runs-seen.data" in data.split('"inputs"')[0]:
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile("/_dash-update-component"), hold)
    choose(page, model)
    until(lambda: page.wait_for_timeout(50) or held)
    ticks.clear()
    until(lambda: page.wait_for_timeout(50) or len(ticks) >= 2)
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#detail-title")).to_contain_text(model)
    page.unroute_all(behavior="ignoreErrors")


def test_two_runs_are_found_opened_and_compared(page: Page, lab: Lab):
    one, other = train(page, lab, 30), train(page, lab, 60)
    open_runs(page)
    expect(page.locator("#runs-hint")).to_be_visible()
    choose(page, one)
    expect(page.locator("#detail-title")).to_contain_text(one)
    expect(page.locator("#detail-facts")).to_contain_text("step 30 of 30")
    page.get_by_role("tab", name="Checkpoints").click()
    expect(page.get_by_role("button", name="Branch from here").first).to_be_visible()
    choose(page, other)
    expect(page.locator("#overlay .legend .traces")).to_have_count(2)
    expect(page.locator("#differences")).to_contain_text("Steps")
    expect(page.locator("#differences")).not_to_contain_text("Layers")
    page.locator("#runs-search").fill("no such run")
    expect(page.locator(ROWS)).to_have_count(0)
    page.locator("#runs-search").fill(one)
    expect(page.locator(ROWS)).to_have_count(1)


def test_a_run_is_deleted_and_brought_back_with_one_press_each(page: Page, lab: Lab):
    run_id = train(page, lab, 5)
    open_runs(page)
    choose(page, run_id)
    page.locator("#run-delete").click()
    expect(page.locator(f"#runs .ag-row[row-id='{run_id}']")).to_have_count(0)
    page.locator("#run-undo").click()
    expect(page.locator(f"#runs .ag-row[row-id='{run_id}']").first).to_be_visible()


def test_a_chart_is_saved_as_svg_and_png(page: Page, lab: Lab):
    train(page, lab, 5)
    page.locator("#loss-chart").hover()
    for name in ("SVG", "PNG"):
        with page.expect_download() as saved:
            page.locator("#loss-chart .save-chart button", has_text=name).click()
        assert saved.value.suggested_filename == f"loss-nats-per-token.{name.lower()}"
        data = saved.value.path().read_bytes()
        assert data.startswith(b"<svg" if name == "SVG" else b"\x89PNG")


def test_a_second_training_waits_in_the_queue_and_then_starts(page: Page, lab: Lab):
    page.locator("#start").click()
    expect(page.locator("#state .state")).to_have_text("running")
    fill_steps(page, 7)
    page.locator("#enqueue").click()
    expect(page.locator("#message")).to_contain_text("1 in the queue")
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator("#queue .waiting")).to_have_count(1)
    page.get_by_role("tab", name="Train").click()
    page.locator("#stop").click()
    expect(page.locator("#state")).to_contain_text("step 7 / 7")


class Server:
    """A lab in a process of its own, so that it can be killed."""

    def __init__(self, home: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.home = home
        self.start()

    def start(self) -> None:
        line = [sys.executable, "-m", "transformer_lab.cli", "serve", "--home", self.home]
        self.process = subprocess.Popen(
            [*line, "--port", str(self.port)], env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        until(self.listens)

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    made = Server(str(tmp_path / "home"))
    yield made
    made.kill()


def test_a_server_killed_in_mid_training_is_started_again_and_the_run_resumed(
    browser: Browser, server: Server, tmp_path
):
    context = browser.new_context(base_url=f"http://127.0.0.1:{server.port}")
    context.add_init_script(TOURED)
    page = context.new_page()
    page.goto("/")
    page.locator("label:has-text('Corpus') select").select_option("python_docs")
    page.locator("summary", has_text="Advanced").click()
    for label, value in {
        "Layers": "1",
        "Embedding Dimension": "32",
        "Sequence Length": "32",
        "Batch Size": "4",
        "Save Every": "100",
        "Threads": "1",
    }.items():
        page.locator(f"label:has-text('{label}') input").first.fill(value)
    fill_steps(page, 1_000_000)
    page.locator("#start").click()
    (run,) = until(RunStore(tmp_path / "home").all)
    until(lambda: run.checkpoints() and reached(run) > 300)
    server.kill()
    killed = reached(run)
    server.start()
    page.goto("/")
    expect(page.locator("#resume-words")).to_contain_text("was interrupted")
    page.locator("#resume-now").click()
    until(lambda: run.attempts() == 1 and reached(run) > killed + 100)
    page.locator("#stop").click()
    expect(page.locator("#state .state")).to_have_text("stopped")
    context.close()
    found = run.since()[0]
    whole = Lab(tmp_path / "whole")
    try:
        whole.trainings.start(setup_from(run.manifest["setup"]))
        training = whole.trainings.current
        until(lambda: len(training.stream.since()[0]) >= len(found))
        expected = training.stream.since()[0][: len(found)]
    finally:
        whole.close()
    assert [p.train_loss for p in found] == [p.train_loss for p in expected]
    # It may have been stopped before its last step was evaluated.
    measured = [p.validation_loss for p in expected[:-1]]
    assert [p.validation_loss for p in found[:-1]] == measured
    assert any(measured)


def reached(run: Run) -> int:
    """The last step that is on disk."""
    points = run.since()[0]
    return points[-1].step if points else 0
