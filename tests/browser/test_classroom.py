"""A class: a learner comes in and trains, and the teacher sees it and has it rest."""

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from chromium import TOURED
from conftest import TINY
from serving import shut
from transformer_lab.cli.listening import listen
from transformer_lab.lab.classroom.classroom import Classroom, Limits
from transformer_lab.lab.common import Common
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.classroom.door import Door

TEACHER, CLASS = "of-the-teacher-0123456789", "of-the-class-0123456789"


@pytest.fixture
def school(tmp_path: Path) -> Iterator[str]:
    """The address of a classroom."""
    common = Common()
    lab = Lab(tmp_path, common=common)
    classroom = Classroom(lab, common, Limits())
    door = Door(classroom, teacher=TEACHER, learners=CLASS)
    server = listen(door, "127.0.0.1", 0, tmp_path)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"
    shut(server)
    classroom.close()
    lab.close()
    common.thread.close()


def visitor(browser: Browser, school: str, token: str) -> Page:
    """Somebody with a link, in a browser of their own."""
    made = browser.new_context(base_url=school, viewport={"width": 1366, "height": 768})
    made.add_init_script(TOURED)
    page = made.new_page()
    page.goto(f"/?token={token}")
    return page


def test_a_learner_comes_in_and_trains_and_the_teacher_lets_all_rest(browser: Browser, school: str):
    learner = visitor(browser, school, CLASS)
    learner.get_by_label("Your name").fill("Ada <b>")
    learner.get_by_role("button", name="Come in").click()
    expect(learner.get_by_role("alert")).to_contain_text("letters, digits, spaces")
    learner.get_by_label("Your name").fill("Ada")
    learner.get_by_role("button", name="Come in").click()
    expect(learner.get_by_title("You work as Ada.")).to_be_visible()
    learner.goto(f"/?{urlencode(TINY)}")
    expect(learner.locator("#modified")).to_contain_text("modified")
    learner.locator("#start").click()
    expect(learner.locator("#loss-chart .scatterlayer path").first).to_be_attached()

    teacher = visitor(browser, school, TEACHER)
    teacher.get_by_role("tab", name="Class").click()
    row = teacher.get_by_role("row").filter(has_text="Ada")
    expect(row).to_contain_text("running")
    teacher.get_by_role("button", name="Pause all").click()
    expect(learner.locator("#class-notice")).to_contain_text("Your teacher has paused")
    teacher.get_by_role("tab", name="Runs").click()
    expect(teacher.locator("#runs-count")).to_contain_text("No runs yet")  # Ada's are Ada's
    teacher.get_by_role("tab", name="Class").click()
    teacher.get_by_role("button", name="Let all go on").click()
    expect(learner.locator("#class-notice")).to_be_empty()
    learner.locator("#stop").click()
    expect(row).to_contain_text("stopped")
