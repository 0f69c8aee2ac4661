"""The Learn tab as a learner uses it: every lesson, every button, the keys, the tour, a phone."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from chromium import TOURED
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids
from transformer_lab.ui.learn.actions import steps
from transformer_lab.ui.learn.lessons import load_lessons
from waiting import PATIENCE, until

TINY = (  # set before a lesson trains, so that it takes no time
    "set data.corpus python_docs\nset data.tokenizer characters\nset model.layers 1\n"
    "set model.heads 2\nset model.embedding_dim 16\nset model.sequence_length 16\n"
    "set train.batch_size 4\nset train.steps 1000000\nset train.threads 1"
)
TRAINS = (ids.INITIALIZE, ids.START)
STATES = {  # what a training is after a press
    ids.INITIALIZE: ("ready",),
    ids.START: ("running",),
    ids.STOP: ("stopped",),
}


def open_learn(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/")
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator(".lesson-title")).to_contain_text("1. What transformers are")
    return page


def shrunk(taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same steps with a tiny model before one is made."""
    tiny = [step for step in steps(TINY) if "set" in step]
    return [
        one for step in taken for one in ([*tiny, step] if step.get("press") in TRAINS else [step])
    ]


def check_step(page: Page, lab: Lab, step: dict[str, Any]) -> None:
    """What one step must have done, seen on the page or in the lab."""
    if step.get("prop") == "active_tab":
        expect(page.locator(".sub-tabs .active").first).to_have_text(step["value"])
    elif "set" in step:
        expect(page.locator(f"[id='{step['at']}']")).to_have_value(step["value"])
    elif "show" in step:
        expect(page.locator(f"[id='{step['show']}']")).to_be_in_viewport()
    elif "press" in step:
        check_press(page, lab, step["press"])


def check_press(page: Page, lab: Lab, button: str) -> None:
    """What a press must have done."""

    def state() -> str | None:
        return lab.trainings.current and lab.trainings.current.status.state

    if button in STATES:
        until(lambda: state() in STATES[button])
    elif button == ids.GENERATE:
        expect(page.locator("#generate-caption")).to_contain_text("Written by")
    elif button == ids.STAGE_NEXT:
        expect(page.locator("#stage-title")).not_to_contain_text("Query")
    elif "experiment-button" in button:
        expect(page.locator(f"[id='{button}']")).to_have_attribute("aria-current", "true")
    else:
        title = load_lessons()[json.loads(button)["lesson"]].title
        expect(page.locator(".lesson-title")).to_contain_text(title)


def press(page: Page, lab: Lab, button: Any) -> None:
    taken = json.loads(button.get_attribute("data-do"))
    button.evaluate("(one, done) => (one.dataset.do = done)", json.dumps(shrunk(taken)))
    words = button.locator("xpath=..").locator(".did-words")
    button.click()
    if "lesson-button" not in taken[-1].get("press", ""):
        expect(words).to_have_text("Done.")
    opened = [step["tab"] for step in taken if "tab" in step][-1]
    expect(page.locator(".nav-tabs").first.locator(".active")).to_have_text(opened)
    later = {step.get("at") for step in steps(TINY) if "at" in step}
    trains = any(step.get("press") in TRAINS for step in taken)
    for step in taken:
        if not (trains and step.get("at") in later):
            check_step(page, lab, step)


def rest(lab: Lab) -> None:
    if lab.trainings.current and lab.trainings.current.busy:
        lab.trainings.stop("Next.")
        lab.trainings.wait(PATIENCE)


def kinds(todo: str) -> set[str]:
    """What a button does, so that each kind of step is pressed once: "press start", "set value"."""
    found = set()
    for step in json.loads(todo):
        place = step.get("press") or step.get("show") or ""
        name = json.loads(place)["type"] if place.startswith("{") else place
        given = step.get("set", "")
        part = given["type"] if isinstance(given, dict) else given
        found.add(f"{'tab' if 'tab' in step else ''}{name}{part}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("every", [False, True])
def test_every_lesson_is_walked_and_its_buttons_do_what_they_say(
    context: BrowserContext, lab: Lab, model: str, every: bool
):
    page = open_learn(context)
    pressed: set[str] = set()  # buttons, or kinds of steps
    for lesson in load_lessons().values():
        expect(page.locator(".lesson-title")).to_contain_text(lesson.title)
        expect(page.locator(".lesson-text").first).to_be_visible()
        for check in page.locator("[id*='lesson-check']").all():
            expect(check).not_to_have_text("Looking at your run …")
        for button in page.locator("#lesson-body .do:visible").all():
            todo = str(button.get_attribute("data-do"))
            done = {todo} if every else kinds(todo)
            if not done <= pressed:
                pressed |= done
                if f'"{ids.STOP}"' not in todo:
                    rest(lab)
                press(page, lab, button)
        rest(lab)
        if page.locator("body.beside #lesson-whole").is_visible():
            page.click("#lesson-whole")
        if page.locator("#lesson-next").is_enabled():
            go_to_next(page, lesson.slug)
    expect(page.locator("#lesson-progress")).to_have_text("17 of 17 read")
    page.reload()
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#lesson-progress")).to_have_text("17 of 17 read")
    expect(page.locator(".lesson-title")).to_contain_text("Troubleshooting")


def go_to_next(page: Page, slug: str) -> None:
    """From this lesson on, though a button may have opened another one."""
    name = json.dumps(ids.lesson_button(slug), sort_keys=True, separators=(",", ":"))
    page.locator(f"[id='{name}']").click()
    expect(page.locator(f"[id='{name}']")).to_have_attribute("aria-current", "page")
    page.click("#lesson-next")
    expect(page.locator(f"[id='{name}']")).to_have_attribute("aria-current", "false")


def test_formulas_are_set_without_a_network_and_under_the_policy(browser: Browser, address: str):
    context = browser.new_context(base_url=address)  # which keeps to the policy
    troubles: list[str] = []
    ours = (address, "data:", "blob:")
    context.on("request", lambda r: None if r.url.startswith(ours) else troubles.append(r.url))
    context.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    context.add_init_script(TOURED)
    page = open_learn(context)
    page.get_by_role("button", name="Attention, with real numbers").click()
    expect(page.locator(".lesson mjx-container").first).to_be_visible()
    context.close()
    assert troubles == []


def test_arrow_keys_turn_the_pages_and_a_search_finds_a_symptom(context: BrowserContext):
    page = open_learn(context)
    page.locator(".lesson").press("ArrowRight")  # on a tab the arrow keys go to other tabs
    expect(page.locator(".lesson-title")).to_contain_text("2. ")
    expect(page.locator("#lesson-progress")).to_contain_text("1 of 17 read")
    page.get_by_role("button", name="Troubleshooting").click()
    expect(page.locator(".symptom")).to_have_count(4)
    page.fill("#lesson-search", "gibberish temperature")
    expect(page.locator(".symptom:visible")).to_have_count(1)
    expect(page.locator(".symptom:visible")).to_contain_text("Generating gibberish")
    page.fill("#lesson-search", "unicorn")
    expect(page.locator(".symptom:visible")).to_have_count(0)
    expect(page.locator("#lesson-unfound")).to_contain_text("No entry has all of these words")


def test_the_tour_comes_once_and_leads_to_the_first_lesson(browser: Browser, address: str):
    context = browser.new_context(base_url=address, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto("/")
    for stop in range(1, 6):
        expect(page.locator("#tour")).to_contain_text(f"{stop} of 5")
        expect(page.locator("[data-did]")).to_have_count(1)
        page.locator("#tour .btn").click()
    expect(page.locator(".lesson-title")).to_contain_text("1. What transformers are")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#lesson-body .do").first.click()
    page.locator("#back-to-lesson button").click()
    expect(page.locator(".lesson-title")).to_be_visible()
    page.reload()  # where it was: the address says so
    expect(page.locator(".lesson-title")).to_be_visible()
    expect(page.locator("#tour")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("way", ["No tour", "Escape"])
def test_the_tour_can_be_dismissed(browser: Browser, address: str, way: str):
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#tour")).to_be_visible()
    if way == "Escape":
        page.keyboard.press(way)
    else:
        page.get_by_role("button", name=way).click()
    expect(page.locator("#tour")).to_have_count(0)
    context.close()
