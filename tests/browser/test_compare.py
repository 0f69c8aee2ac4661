"""The Compare tab as a person uses it: three tiny lanes from press to verdict, with the guess."""

import csv
import io

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Page, Route, expect

from steady import still
from transformer_lab.lab.lab import Lab
from waiting import until

SHOWN = ".compare .experiment-plot:not([hidden]) .js-plotly-plot"


@pytest.fixture
def tab(context: BrowserContext) -> Page:
    opened = context.new_page()
    opened.goto("/")
    opened.get_by_role("tab", name="Compare").click()
    return opened


def test_three_lanes_race_from_press_to_verdict_and_are_guessed_first(tab: Page, lab: Lab):
    tab.locator(".experiment-entry", has_text="Vary one setting, or two").click()
    tab.locator("#compare-setting").select_option("model.embedding_dim")
    values = tab.locator("#compare-values")
    values.fill("16, 16")
    expect(tab.locator("#compare-values-problem")).to_contain_text("stands there twice")
    expect(tab.locator("#compare-start")).to_be_disabled()
    values.fill("16, 32, 48")
    tab.locator("#compare-amount").fill("10")
    tab.locator("#compare-seeds").select_option("1")
    expect(tab.locator("#compare-cost")).to_contain_text("3 lanes, 10 steps each, 1 seed")
    expect(tab.locator("#compare-cost")).to_contain_text("of memory")
    expect(tab.locator("#compare-options label")).to_have_text(
        ["16", "32", "48", "There is no clear difference"]
    )
    tab.locator("#compare-start").click()
    expect(tab.locator("#compare-state")).to_contain_text("done")
    expect(tab.locator("#compare-hint")).to_contain_text("hidden until")
    expect(tab.locator(SHOWN)).to_have_count(0)
    expect(tab.locator("#compare-verdict")).to_be_hidden()
    tab.locator("#compare-options label").last.click()
    tab.locator("#compare-guess").click()
    expect(tab.locator(SHOWN)).to_have_count(4)
    expect(tab.locator("#compare-guessed")).to_contain_text("The measurement says so too")
    expect(tab.locator("#compare-verdict")).to_contain_text("has the lowest validation loss")
    expect(tab.locator("#compare-verdict")).to_contain_text("cannot tell with 1 of at least 3")
    expect(tab.locator("#compare-tables th[scope=row]").first).to_have_text("1.")
    tab.locator("#compare-axis").select_option("seconds")
    expect(tab.locator(".compare .experiment-plot").first).to_contain_text("over seconds")
    with tab.expect_download() as saved:
        tab.locator("#compare-away a").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert {row["lane"] for row in rows} == {"16", "32", "48"}
    lab.runs.refresh()
    assert len([run for run in lab.runs.all() if run.race == "own-1.1"]) == 3
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_function("document.documentElement.scrollWidth === 390")  # charts follow
    tab.set_viewport_size({"width": 1366, "height": 768})
    opens_as_one_row_in_runs(tab)


def test_an_answer_that_a_newer_one_has_overtaken_is_not_shown(tab: Page):
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        slow = any(values in route.request.post_data for values in ("8, 16", "9, 9"))
        held.append((route, route.fetch())) if slow else route.continue_()

    def answered(values: str) -> None:
        with tab.expect_response(lambda response: values in (response.request.post_data or "")):
            tab.locator("#compare-values").fill(values)

    def held_back(values: str, count: int) -> None:
        tab.locator("#compare-values").fill(values)
        until(lambda: tab.evaluate("1") and len(held) >= count)

    start = tab.locator("#compare-start")
    tab.locator(".experiment-entry", has_text="Vary one setting, or two").click()
    expect(start).to_be_enabled()
    answered("8, 8")
    expect(start).to_be_disabled()
    tab.route("**/_dash-update-component*", hold)
    held_back("8, 16", 1)  # with it one could start
    answered("8, 8")
    held_back("9, 9", 2)
    for route, answer in held:
        with tab.expect_response(lambda response, asked=route.request: response.request == asked):
            route.fulfill(response=answer)
    expect(tab.locator("#compare-values-problem")).to_contain_text("9 stands there twice")
    still(start)
    expect(start).to_be_disabled()


def opens_as_one_row_in_runs(tab: Page):
    """Its lanes are one row, which opens as a whole, leaves as one picture, and unfolds."""
    tab.get_by_role("tab", name="Runs").click()
    row = tab.locator("#runs .ag-center-cols-container [row-id='comparison:own-1']")
    expect(row).to_contain_text("own-1 (3 runs)")
    row.locator(".ag-selection-checkbox").click()
    expect(tab.locator("#race-facts")).to_contain_text("3 lanes · 1 seed · 3 runs")
    expect(tab.locator("#race-curves .legend .traces")).to_have_count(3)
    expect(tab.locator("#overlay-card")).to_be_hidden()
    for form in ("SVG", "PNG"):
        with tab.expect_download() as saved:
            tab.locator("#race-away").get_by_role("button", name=form).click()
        assert saved.value.suggested_filename == f"own-1.{form.lower()}"
        found = saved.value.path().read_bytes()
        if form == "PNG":
            assert found.startswith(b"\x89PNG")
        else:
            assert found.count(b'class="main-svg"') >= 4  # every chart is on it
            assert b"has the lowest validation loss" in found
    rows = tab.locator("#runs .ag-center-cols-container .ag-row")
    lanes = rows.filter(has_text="own-1-1")
    tab.get_by_label("Fold comparisons").click()
    expect(row).to_have_count(0)
    expect(lanes).to_have_count(3)
