"""The main job, as a new user does it."""

import re
import subprocess
import sys
from itertools import pairwise

from playwright.sync_api import BrowserContext, Page, Route, expect

from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import TABS
from waiting import PATIENCE, until

POINTS = "document.querySelector('#{}-chart .js-plotly-plot').data[0].x.length"
CALLBACKS = re.compile("/_dash-update-component")
STEPS = "document.querySelector('#loss-chart .js-plotly-plot').data[0].x"
CHARTS = ("loss", "perplexity", "rate")


def last_step(page: Page) -> int:
    """The step that the curve has reached; of a long one only some points are drawn."""
    return page.evaluate(f"{STEPS}.at(-1)")


def wait_for_step(page: Page, step: int) -> None:
    page.wait_for_function(f"{STEPS}.at(-1) > {step}")


def start(page: Page) -> None:
    page.click("#start")
    expect(page.locator(".state")).to_have_text("running")
    for chart in CHARTS:
        page.wait_for_function(POINTS.format(chart) + " > 0")


def test_the_page_opens_on_a_complete_setup(context: BrowserContext):
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#start")).to_be_enabled()
    for label in ("Layers", "Attention Heads", "Embedding Dimension", "Learning Rate"):
        assert page.locator(f"label:has-text('{label}') input").first.input_value()
    expect(page.locator("#panel")).to_contain_text("parameters")
    tabs = page.locator(".nav-tabs").first.locator(".nav-link")
    assert tabs.all_inner_texts() == [tab.TITLE for tab in TABS]


def test_initialize_makes_a_model_and_shows_its_size(page: Page):
    page.click("#initialize")
    expect(page.locator(".state")).to_have_text("initialized")
    expect(page.locator("#panel")).to_contain_text("parameters")
    page.click("text=Parameters by part")
    expect(page.locator("#breakdown")).to_contain_text("Feed-forward")


def test_start_draws_pause_rests_resume_goes_on_stop_ends(page: Page):
    start(page)
    wait_for_step(page, 20)
    expect(page.locator("#sample-step")).to_contain_text("after step")
    page.click("#pause")
    expect(page.locator(".state")).to_have_text("paused")
    expect(page.locator("#pause")).to_have_text("Resume")
    rested = last_step(page)
    page.click("#pause")
    wait_for_step(page, rested + 20)
    page.click("#stop")
    expect(page.locator(".state")).to_have_text("stopped")
    expect(page.locator("#start")).to_be_enabled()


def test_a_reload_and_a_second_page_show_the_whole_curve(page: Page, context: BrowserContext):
    start(page)
    wait_for_step(page, 50)
    page.click("#pause")
    expect(page.locator(".state")).to_have_text("paused")
    expect(page.locator("#headline")).to_contain_text("paused")
    told = page.locator(".fact").first.inner_text()  # step 1,234 / 1,000,000
    last = int(told.split()[1].replace(",", ""))
    page.reload()
    second = context.new_page()
    second.goto("/")
    for seen in (page, second):
        expect(seen.locator(".fact").first).to_have_text(told)
        seen.wait_for_function(f"{STEPS}.at(-1) == {last}")
        steps = seen.evaluate(STEPS)
        assert steps[0] == 1
        gaps = {after - before for before, after in pairwise(steps)}
        assert min(gaps) > 0
        assert max(gaps) <= max(1, last / 100)  # of a long curve only some points are drawn


def test_it_generates_while_it_trains_and_says_who_wrote(page: Page):
    start(page)
    page.locator(".nav-link", has_text="Generate").click()
    page.locator(".generate textarea").fill("The ")
    page.click("button#generate")
    expect(page.locator("#generate-caption")).to_contain_text("300 tokens · done")
    expect(page.locator("#generate-caption")).to_contain_text("quick-start-")
    assert len(page.locator("#output").inner_text()) > 250
    assert page.locator("#output").inner_text().startswith("The ")


def test_unknown_characters_are_named_and_can_be_dropped(page: Page):
    start(page)
    page.locator(".nav-link", has_text="Generate").click()
    page.locator(".generate textarea").fill("The \u2603")
    page.click("button#generate")
    expect(page.locator(".generate .field-error").first).to_contain_text("U+2603")
    page.click("#drop-unknown")
    expect(page.locator("#generate-caption")).to_contain_text("Written by")
    assert page.locator(".generate textarea").input_value() == "The "


def test_an_error_stands_at_its_control_and_nothing_starts(page: Page):
    page.locator("label:has-text('Attention Heads') input").fill("3")
    wrong = page.locator(".field", has_text="Attention Heads").locator(".field-error")
    expect(wrong).to_contain_text("does not divide Embedding Dimension 32")
    page.click("#start")
    expect(page.locator("#message")).to_contain_text("Attention Heads is 3")
    expect(page.locator("#start")).to_be_enabled()


def test_a_recipe_fills_the_controls_and_changes_can_be_undone(page: Page):
    expect(page.locator("#modified")).to_contain_text("modified")
    page.select_option("#recipe", "tiny_shakespeare")
    expect(page.locator("label:has-text('Sequence Length') input")).to_have_value("256")
    expect(page.locator("label:has-text('Learning Rate') input").first).to_have_value("3e-4")
    expect(page.locator("#modified")).to_be_empty()
    page.locator("label:has-text('Layers') input").fill("6")
    expect(page.locator("#modified")).to_contain_text("modified (1)")
    page.click("#undo")
    expect(page.locator("label:has-text('Layers') input")).to_have_value("4")
    expect(page.locator("#modified")).to_be_empty()


def test_the_keyboard_alone_starts_a_training(page: Page):
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".state")).to_have_text("running")


def test_lost_answers_are_reported_and_do_not_stop_the_page(page: Page):
    start(page)
    wait_for_step(page, 5)
    page.route(CALLBACKS, lambda route: route.abort())
    expect(page.locator("#refusal")).to_contain_text("does not answer")
    before = last_step(page)
    page.unroute(CALLBACKS)
    wait_for_step(page, before)
    expect(page.locator("#refusal")).to_be_empty()


def test_a_tab_that_a_proxy_could_not_reach_the_lab_for_is_filled_when_it_can(page: Page):
    page.route(CALLBACKS, lambda route: route.fulfill(status=502, body="Bad Gateway"))
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#refusal")).to_contain_text("does not answer")
    page.unroute(CALLBACKS)
    expect(page.locator("#compare-title")).to_contain_text(" ")
    expect(page.locator("#refusal")).to_be_empty()


def wait_for_polls(page: Page, polls: list[Route], count: int) -> None:
    """Let time pass until so many polls have come."""
    for _ in range(int(5 * PATIENCE)):
        if len(polls) >= count:
            return
        page.clock.fast_forward(1000)
        page.wait_for_timeout(200)
    raise AssertionError(f"{len(polls)} polls came")


def test_a_slow_answer_is_waited_for_and_not_asked_for_again(page: Page):
    polls: list[Route] = []

    def held(route: Route) -> None:
        if '"tick.n_intervals"' in (route.request.post_data or ""):
            polls.append(route)
        else:
            route.continue_()

    page.clock.install()
    page.reload()
    page.route(CALLBACKS, held)
    expect(page.locator("#why")).to_be_attached()
    wait_for_polls(page, polls, 1)
    for _ in range(5):
        page.clock.fast_forward(20_000)
        page.wait_for_timeout(300)
    assert len(polls) == 1
    polls[0].continue_()
    wait_for_polls(page, polls, 2)
    page.unroute_all(behavior="ignoreErrors")


def test_a_narrow_page_does_not_scroll_sideways(page: Page):
    page.wait_for_selector("#loss-chart .main-svg")  # whose width follows that of the window
    for width in (1024, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for tab in ("Train", "Generate"):
            page.locator(".nav-link", has_text=tab).first.click()
            page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")


def test_the_theme_is_remembered(page: Page):
    theme = "document.documentElement.dataset.bsTheme"
    before = page.evaluate(theme)
    page.click("#theme")
    assert page.evaluate(theme) != before
    page.reload()
    assert page.evaluate(theme) != before


def test_the_learning_rate_of_a_running_training_can_be_changed(page: Page, lab: Lab):
    start(page)
    page.locator("label:has-text('Learning Rate') input").first.fill("1e-5")
    page.click("#apply-rate")
    expect(page.locator("#message")).to_contain_text("1e-05 from the next step")
    until(lambda: lab.trainings.current.live.learning_rate == 1e-5)


def test_a_run_of_a_terminal_shows_live_and_is_steered_from_the_page(page: Page, lab: Lab):
    line = [sys.executable, "-m", "transformer_lab.cli", "train", "--home", str(lab.home)]
    changes = ["model.layers=1", "model.embedding_dim=16", "train.steps=1000000", "train.threads=1"]
    settings = [f"--set={change}" for change in ["data.corpus=python_docs", *changes]]
    process = subprocess.Popen([*line, *settings], stdout=subprocess.DEVNULL)
    try:
        expect(page.locator("#why")).to_contain_text("a process of its own: stop it first")
        expect(page.locator("#start")).to_be_disabled()
        wait_for_step(page, 20)
        page.click("#pause")
        expect(page.locator(".state")).to_have_text("paused")
        rested = last_step(page)
        page.click("#pause")
        wait_for_step(page, rested + 1)
        page.click("#stop")
        expect(page.locator(".state")).to_have_text("stopped")
        process.wait()
    finally:
        process.kill()
        process.wait()
    expect(page.locator("#start")).to_be_enabled()


def test_what_takes_long_is_reported_before_and_has_a_way_out(page: Page):
    page.locator("#recipe").select_option("best_quality")
    page.locator("label:has-text('Corpus') select").select_option("python_docs")
    expect(page.locator("#preflight")).to_contain_text("long for this computer")
    page.click("#offer")
    expect(page.locator("#recipe")).to_have_value("quick_start")
    expect(page.locator("#offer")).to_be_hidden()


SMOOTHED = """([points, opacity]) => {
  const [raw, , line] = document.querySelector("#loss-chart .js-plotly-plot")?.data || [];
  const wanted = points ? raw?.x.length : 0;
  return raw?.x.length && line?.x.length === wanted && raw.opacity === opacity;
}"""  # whether the mean has a point for each of the curve, or none


def test_the_loss_can_be_smoothed_which_asks_nothing_of_the_lab_and_is_remembered(page: Page):
    start(page)
    wait_for_step(page, 30)
    page.click("#stop")
    expect(page.locator(".state")).to_have_text("stopped")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.select_option("#smoothing", "strong")
    page.wait_for_function(SMOOTHED, arg=[True, 0.3])
    assert not [body for body in asked if "smoothing" in body]
    page.reload()
    page.wait_for_function(SMOOTHED, arg=[True, 0.3])
    expect(page.locator("#smoothing")).to_have_value("strong")
    page.select_option("#smoothing", "off")
    page.wait_for_function(SMOOTHED, arg=[False, 1])


def test_a_run_that_has_ended_is_compared_with_the_one_before_by_one_press(page: Page, model: str):
    start(page)
    page.click("#stop")
    expect(page.locator(".state")).to_have_text("stopped")
    name = page.locator(".run-name").inner_text()
    page.click("#after-compare")
    chosen = page.locator("#differences thead")
    expect(chosen).to_contain_text(name)
    assert page.locator("#differences thead th").count() == 3
