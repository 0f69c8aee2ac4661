"""The Learn tab as a learner uses it: every lesson, every button, the keys, the tour, a phone."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from chromium import TOURED
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.experiments import ids as experiments_ids
from transformer_lab.ui.generate import ids as generate_ids
from transformer_lab.ui.learn import ids as learn_ids
from transformer_lab.ui.learn.actions import steps
from transformer_lab.ui.learn.lessons import Block, load_lessons
from transformer_lab.ui.look import ids as look_ids
from transformer_lab.ui.server import TABS
from transformer_lab.ui.steps import name_of
from transformer_lab.ui.train import ids as train_ids
from waiting import PATIENCE, until

TINY = (  # set before a lesson trains, so that it takes no time
    "set data.corpus python_docs\nset data.tokenizer characters\nset model.layers 1\n"
    "set model.heads 2\nset model.embedding_dim 16\nset model.sequence_length 16\n"
    "set train.batch_size 4\nset train.steps 1000000\nset train.threads 1"
)
TRAINS = (train_ids.INITIALIZE, train_ids.START)
LESSONS = load_lessons()
LONG_HEADLINE = "tutorial-on-a-laptop-12 · running · 1,207 / 2,000 · 13.4k tokens/s · 1:08 left"
WHOLE = """(words) => {
  const line = document.getElementById("headline"), before = line.textContent;
  line.textContent = words;
  const cut = [line.scrollWidth - line.clientWidth, line.scrollHeight - line.clientHeight];
  const whole = Math.max(...cut) <= 1;
  line.textContent = before;
  return whole;
}"""  # whether the top line has room for words
PLANNED_TO = "document.querySelector('#rate-chart .js-plotly-plot').data?.[0].x.at(-1)"
ASKED = {  # in the words of those who ask, and what they must find
    "loss not going down": "High loss, not learning",
    "loss is nan": "High loss, not learning",
    "diverging": "High loss, not learning",
    "OOM": "Out of memory",
    "cuda out of memory": "Out of memory",
    "why is my output garbage": "Generating gibberish",
    "it repeats itself": "Generating gibberish",
    "GPU not used": "GPU not being used",
    "overfitting": "The validation loss rises",
    "val loss rises": "The validation loss rises",
    "own validation file": "I want to judge it on text of my own",
    "multi-gpu": "Several GPUs or computers",
    "training takes too long": "Training is slow",
    "picture of a sweep": "Many settings tried",
    "webhook": "The training ended, and I did not notice",
    "many runs slow": "The page is slow with many runs",
}
FITS = """() => {
  const lesson = document.querySelector(".lesson"), right = lesson.getBoundingClientRect().right;
  const parts = lesson.querySelectorAll(".lesson-text, .lesson-text :is(mjx-container, table)");
  const wide = (one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth;
  return ![...parts].some((one) => wide(one) || one.getBoundingClientRect().right > right);
}"""  # sideways nothing has to be scrolled
SETTINGS_OF = {"sample-setting": "sample."}
STATES = {  # what a training is after a press
    train_ids.INITIALIZE: ("ready",),
    train_ids.START: ("running",),
    train_ids.STOP: ("stopped",),
}


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    """All blocks, those inside of others too."""
    return [one for block in blocks for one in (block, *flat(block.blocks))]


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
    elif button == generate_ids.GENERATE:
        expect(page.locator("#generate-caption")).to_contain_text("Written by")
        expect(page.locator("#generate-caption")).to_be_in_viewport()
    elif button == train_ids.AFTER_COMPARE:
        expect(page.locator("#overlay-card")).to_be_visible()
        expect(page.locator(".ag-row-selected[row-index]").first).to_be_visible()
    elif button == experiments_ids.PLANT_START:
        expect(page.locator("#plant-caption")).to_contain_text("a copy of")
        expect(page.locator("#plant-caption")).to_be_in_viewport()
        expect(page.locator(".plant .audit-verdict")).to_contain_text("Caught by")
    elif button == look_ids.STAGE_NEXT:
        expect(page.locator("#stage-title")).not_to_contain_text("Query")
    elif any(kind in button for kind in ("experiment-button", "compare-button", "compare-tool")):
        expect(page.locator(f"[id='{button}']")).to_have_attribute("aria-current", "true")
    else:
        title = LESSONS[json.loads(button)["lesson"]].title
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


def other_than(step: dict[str, Any]) -> str | None:
    """A value that a control may have and this step does not set; None where any is another."""
    if step["set"] == train_ids.RECIPE:
        return "fast_learning" if step["value"] != "fast_learning" else "good_text"
    kind = step["set"].get("type", "") if isinstance(step["set"], dict) else ""
    if "setting" not in kind or step.get("prop") != "value":
        return None
    key = SETTINGS_OF[kind] + step["set"]["name"] if kind in SETTINGS_OF else ""
    setting = SETTINGS.get(key or f"{step['set'].get('group')}.{step['set']['name']}")
    if setting is None:
        return None
    if setting.choices:
        return next(one for one in setting.choices if one != step["value"])
    return f"{float(step['value']) / 2:g}" if setting.low is not None else "x"


def put_otherwise(page: Page, taken: list[dict[str, Any]]) -> None:
    """The page as it is not after a button: on the Learn tab, its controls with other values.

    A button that did nothing would leave it so.
    """
    page.get_by_role("tab", name="Learn", exact=True).click()
    expect(page.locator(".tab-pane.active #learn")).to_be_visible()
    if {"press": generate_ids.GENERATE} in taken:
        page.evaluate("dash_clientside.set_props('generate-caption', {children: ''})")
    chosen = [step for step in taken if step.get("set") == train_ids.RECIPE]
    for step in chosen[:1] or [step for step in taken if "set" in step]:
        if value := other_than(step):
            given = {"id": step["set"], "value": value}
            page.evaluate("({id, value}) => dash_clientside.set_props(id, {value})", given)
            expect(page.locator(f"[id='{step['at']}']")).to_have_value(value)


def walk(page: Page, lab: Lab, slug: str) -> int:
    """Press every button of a lesson as a learner would; how many there were."""
    name = json.dumps(learn_ids.lesson_button(slug), sort_keys=True, separators=(",", ":"))
    page.locator(f"[id='{name}']").click()
    expect(page.locator(f"[id='{name}']")).to_have_attribute("aria-current", "page")
    expect(page.locator(".lesson-text").first).to_be_visible()
    for check in page.locator("[id*='lesson-check']").all():
        expect(check).not_to_have_text("Looking at your run …")
    while makers := page.locator("[id*='lesson-maker']:visible").all():  # what it needs is missing
        maker = page.locator(f"[id='{makers[0].get_attribute('id')}'] .do")
        put_otherwise(page, [])
        press(page, lab, maker)
        expect(maker).to_be_hidden()
        rest(lab)
    buttons = page.locator("#lesson-body .do:not(.lesson-check .do)").all()
    for button in buttons:
        taken = json.loads(str(button.get_attribute("data-do")))
        if {"press": train_ids.STOP} not in taken:
            rest(lab)
        put_otherwise(page, taken)
        press(page, lab, button)
        if "lesson-button" in taken[-1].get("press", ""):  # it led to another lesson: back
            page.locator(f"[id='{name}']").click()
            expect(page.locator(f"[id='{name}']")).to_have_attribute("aria-current", "page")
            expect(page.locator("#lesson-body .do:not(.lesson-check .do)")).to_have_count(
                len(buttons)
            )
    rest(lab)
    return len(buttons)


@pytest.mark.slow
@pytest.mark.parametrize("slug", LESSONS)
def test_every_button_of_every_lesson_does_what_it_says(
    context: BrowserContext, lab: Lab, model: str, slug: str
):
    tabs = [tab.TITLE for tab in TABS]
    there = sum(block.kind == "do" for block in LESSONS[slug].shown(tabs))
    assert walk(open_learn(context), lab, slug) == there


def test_a_lesson_is_walked_and_its_buttons_do_what_they_say(
    context: BrowserContext, lab: Lab, model: str
):
    page = open_learn(context)
    assert walk(page, lab, "learning_rate_schedule") == 2
    page.get_by_role("tab", name="Train", exact=True).click()
    page.wait_for_function(f"{PLANNED_TO} === 5000")  # the steps of the recipe, not of a run
    newest = lab.runs.view().run_id
    expect(page.locator("[id*='lesson-check']").first).to_contain_text(newest)
    page.get_by_role("tab", name="Learn", exact=True).click()
    page.click("#lesson-next")
    expect(page.locator("#lesson-progress")).to_have_text("1 of 17 read")
    page.wait_for_url(re.compile("lesson=your_first_transformer"))
    page.reload()  # where it was: the address says so
    expect(page.locator("#lesson-progress")).to_have_text("1 of 17 read")
    expect(page.locator(".lesson-title")).to_contain_text("Your first transformer")


def test_what_was_asked_for_is_in_sight_wherever_the_page_was_scrolled_to(
    context: BrowserContext, model: str
):
    page = open_learn(context)
    page.set_viewport_size({"width": 1366, "height": 500})
    page.get_by_role("button", name="Temperature").click()
    page.get_by_role("button", name="Write at 0.2").click()
    expect(page.locator("#generate-caption")).to_contain_text("Written by")
    expect(page.locator("#generate-caption")).to_be_in_viewport()


@pytest.mark.parametrize("width", [390, 1366])
def test_no_formula_and_no_table_of_a_lesson_is_wider_than_the_lesson(
    context: BrowserContext, width: int
):
    """On a phone, and beside another tab on a wide screen."""
    page = open_learn(context)
    page.set_viewport_size({"width": width, "height": 844})
    if width > 390:
        page.evaluate("document.body.classList.add('beside')")
        page.get_by_role("tab", name="Data", exact=True).click()
        expect(page.locator("#lesson-whole")).to_be_visible()
    for slug, lesson in LESSONS.items():
        texts = [block.text for block in flat(lesson.blocks) if block.kind == "text"]
        if not any("$" in text or "|---|" in text for text in texts):
            continue
        entry = page.locator(f"[id='{name_of(learn_ids.lesson_button(slug))}']")
        entry.dispatch_event("click")  # out of sight while the lesson stands beside a tab
        expect(page.locator(".lesson-title")).to_contain_text(lesson.title)
        if any("$" in text for text in texts):
            expect(page.locator(".lesson mjx-container").first).to_be_visible()
        page.wait_for_function(FITS)


def test_a_lesson_leaves_what_a_link_keeps_and_says_so(context: BrowserContext):
    page = context.new_page()
    page.goto("/?tab=learn&recipe=quick_start&lesson=architecture_experiments&lock=model.layers")
    page.get_by_role("button", name="8 heads").click()
    expect(page.locator(".did-words").filter(has_text="Done.")).to_have_count(1)
    page.get_by_role("button", name="6 layers").click()
    told = "Layers is kept as it is by the link."
    expect(page.locator(".did-words").filter(has_text=told)).to_have_count(1)
    layers = name_of(shared_ids.setting("model", "layers"))
    expect(page.locator(f"[id='{layers}']")).to_have_value("4")


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
    expect(page.locator(".symptom")).to_have_count(15)
    page.fill("#lesson-search", "gibberish temperature")
    expect(page.locator(".symptom:visible")).to_have_count(1)
    expect(page.locator(".symptom:visible")).to_contain_text("Generating gibberish")
    page.fill("#lesson-search", "unicorn")
    expect(page.locator(".symptom:visible")).to_have_count(0)
    expect(page.locator("#lesson-unfound")).to_contain_text("No entry has any of these words")
    for asked, entry in ASKED.items():
        page.fill("#lesson-search", asked)
        expect(page.locator(".symptom:visible", has_text=entry)).to_have_count(1)
        assert page.locator(".symptom:visible").count() <= 3, f"{asked} finds too much"


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
    page.wait_for_url(re.compile("tab=learn"))
    page.reload()  # where it was: the address says so
    expect(page.locator(".lesson-title")).to_be_visible()
    expect(page.locator("#tour")).to_have_count(0)
    context.close()


def test_who_does_what_the_tour_says_is_led_on_and_who_does_not_want_it_is_rid_of_it(
    browser: Browser, address: str
):
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.goto("/")
    tour = page.locator("#tour")
    for stop in range(1, 4):
        expect(tour).to_contain_text(f"{stop} of 5")
        page.locator("#tour .btn").click()
    page.get_by_role("tab", name="Data").click()  # which it does not speak of
    expect(tour).to_contain_text("4 of 5")
    page.get_by_role("tab", name="Look inside").click()
    expect(tour).to_contain_text("5 of 5")
    page.get_by_role("tab", name="Learn").click()
    expect(tour).to_have_count(0)
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("button", name="No tour").click(),
    ):
        page.evaluate("localStorage.clear()")
        page.reload()
        expect(tour).to_be_visible()
        leave()
        expect(tour).to_have_count(0)
    context.close()


def test_a_language_is_chosen_and_kept(context: BrowserContext):
    page = open_learn(context)
    page.select_option("#language-choice", "de")
    expect(page.get_by_role("tab", name="Lernen")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lesson-title")).to_contain_text("1. Was Transformer sind")
    page.locator("#lesson-body .do").first.click()  # which names the tab as the code does
    expect(page.get_by_role("tab", name="Trainieren")).to_have_attribute("aria-selected", "true")
    for title in ("quick-start-1 · finished · 120 / 120", LONG_HEADLINE):
        assert page.evaluate(WHOLE, title), f"{title} is cut off"
    page.goto("/?tab=learn&lesson=attention")
    expect(page.locator(".lesson-title")).to_contain_text("bisher auf Englisch")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.goto("/?lang=en")
    expect(page.get_by_role("tab", name="Train", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    "titles",
    [["Train"], pytest.param([tab.TITLE for tab in TABS], marks=pytest.mark.slow)],
    ids=["one tab", "every tab"],
)
def test_nothing_is_wider_than_the_window_from_right_to_left(
    context: BrowserContext, model: str, titles: list[str]
):
    page = context.new_page()
    page.goto("/")
    page.get_by_role("tab", name="Train", exact=True).wait_for()
    page.evaluate("document.documentElement.dir = 'rtl'")
    for title in titles:
        page.get_by_role("tab", name=title, exact=True).click()
        expect(page.locator("#main > .tab-content > .tab-pane.active > *")).not_to_be_empty()
        for width in (390, 1366):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
