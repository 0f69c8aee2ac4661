"""PCN experiments, as a person meets them: guess, run, look, take the numbers along."""

import csv
import io

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from steady import FITS
from transformer_lab.inspection.audit import PROOFS
from transformer_lab.lab.lab import Lab

SMALL = {"Inference Steps": "10", "Epochs": "1", "Seeds": "1", "Top Width": "16"}
SHOWN = ".experiment-plot:not([hidden]) .js-plotly-plot"


def control(page: Page, label: str):
    shown = page.locator(".experiment-fields:not([hidden])")
    return shown.locator(f"label:has(.field-label:text-is('{label}')) input")


@pytest.fixture
def tab(context: BrowserContext) -> Page:
    opened = context.new_page()
    opened.goto("/")
    opened.get_by_role("tab", name="PCN Experiments").click()
    opened.locator(".experiment-entry", has_text="Leak microscope").click()
    expect(opened.locator("#experiment-title")).to_have_text("Leak microscope")
    return opened


def test_the_leak_microscope_is_guessed_run_looked_at_and_taken_along(tab: Page, lab: Lab):
    for label, value in SMALL.items():
        control(tab, label).fill(value)
    expect(tab.locator("#experiment-guess")).to_be_disabled()
    tab.locator("#experiment-start").click()
    expect(tab.locator("#experiment-hint")).to_contain_text("hidden until")
    expect(tab.locator(SHOWN)).to_have_count(0)
    tab.locator("#experiment-options label").first.click()
    tab.locator("#experiment-guess").click()
    expect(tab.locator(SHOWN)).not_to_have_count(0)
    first = tab.locator(SHOWN).first.element_handle()
    expect(tab.locator("#experiment-state")).to_contain_text("done")
    expect(tab.locator(SHOWN)).to_have_count(4)
    assert first.is_visible()  # charts are redrawn in place, not replaced
    expect(tab.locator("#experiment-guessed")).to_contain_text("You guessed")
    expect(tab.locator("#experiment-verdict")).to_contain_text("Guessing gives")
    with tab.expect_download() as saved:
        tab.locator("#experiment-away a").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert {row["network"] for row in rows} == {
        "untrained",
        "trained",
        "shuffled",
        "discriminative",
        "discriminative_shuffled",
    }
    tab.reload()
    tab.get_by_role("tab", name="PCN Experiments").click()
    expect(tab.locator(SHOWN)).to_have_count(4)
    expect(control(tab, "Top Width")).to_have_value("16")
    tab.locator("#experiment-defaults").click()
    expect(control(tab, "Top Width")).to_have_value("32")


def test_equations_are_rendered_and_the_code_is_shown_without_another_host(tab: Page):
    tab.locator("summary", has_text="The equations").click()
    equations = tab.locator("#experiment-equations")
    expect(equations.locator("mjx-container")).to_have_count(5)
    expect(equations.locator("mjx-merror, .mjx-error")).to_have_count(0)
    tab.locator("#experiment-leak-box summary").click()
    expect(tab.locator("#experiment-leak")).to_contain_text("def infer_label(")
    tab.locator("#summary-open").click()
    summary = tab.locator("#summary-body")
    expect(summary.locator("mjx-container").first).to_be_visible()
    expect(summary.locator("mjx-merror, .mjx-error")).to_have_count(0)
    expect(summary).to_contain_text("In five sentences")


def test_another_experiment_is_chosen_and_a_bad_value_marked_by_keyboard_alone(tab: Page):
    tab.locator(".experiment-entry").first.focus()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    expect(tab.locator(".experiment-entry").nth(1)).to_have_attribute("aria-current", "true")
    expect(tab.locator(".experiment-entry[aria-current='true']")).to_have_count(1)
    control(tab, "Width").focus()
    tab.keyboard.press("Control+A")
    tab.keyboard.type("1")
    fields = tab.locator(".experiment-fields:not([hidden])")
    expect(fields.locator(".field-error:not(:empty)")).to_contain_text(
        "choose a number from 4 to 512"
    )
    tab.locator("#experiment-start").click()
    expect(tab.locator("#experiment-message")).to_contain_text("Correct the marked settings")


def test_a_trained_model_passes_the_audit_which_catches_a_cheat(tab: Page, model: str):
    tab.locator("#audit-model").select_option(model)
    tab.locator("#audit-start").click()
    expect(tab.locator(".audit-verdict")).to_contain_text("Passed.")
    proofs = tab.locator("#audit-proofs li")
    expect(proofs).to_have_count(len(PROOFS))
    expect(proofs.locator(".audit-mark.good")).to_have_count(len(PROOFS))
    expect(tab.locator("#audit-proofs")).to_contain_text("The cheat is caught")
    expect(tab.locator("#audit-start")).to_be_enabled()


def test_a_leak_is_planted_into_a_copy_and_caught_by_a_number(tab: Page, model: str):
    tab.locator("#audit-model").select_option(model)
    tab.locator("#plant-kind").select_option("loss")
    expect(tab.locator("#plant-help")).to_contain_text("adds the targets")
    tab.locator("#plant-start").click()
    expect(tab.locator("#plant-found")).to_contain_text("Your own model is unchanged")
    expect(tab.locator("#plant-found .audit-verdict")).to_contain_text(
        "Caught by The loss that is shown"
    )
    expect(tab.locator("#plant-found li .audit-mark").first).to_contain_text("failed")
    expect(tab.locator(".plant-losses tbody tr").last).to_contain_text("impossible")
    expect(tab.locator("#plant-start")).to_be_enabled()


def test_transformers_race_as_runs_and_their_time_is_reported_before(tab: Page, lab: Lab):
    tab.locator(".experiment-entry", has_text="PC-enhanced transformers").click()
    expect(tab.locator("#experiment-cost")).to_contain_text("Will take about")
    for label, value in {"Training Steps": "10", "Seeds": "1", "Width": "16"}.items():
        control(tab, label).fill(value)
    control(tab, "PC Learning").uncheck()
    tab.locator("#experiment-show").click()
    tab.locator("#experiment-start").click()
    expect(tab.locator("#experiment-state")).to_contain_text("done")
    expect(tab.locator(SHOWN)).to_have_count(3)
    expect(tab.locator("#experiment-verdict")).to_contain_text("cannot tell with 1 of at least")
    expect(tab.locator(".experiment-plot .plot-note").first).to_contain_text(
        "bit for bit, in 1 of 1 seeds"
    )
    lab.runs.refresh()
    assert {run.lane for run in lab.runs.all() if run.race} >= {
        "standard",
        "pc_ffn",
        "pc_ffn_as_large",
    }


def test_deep_networks_are_guessed_run_and_judged_against_their_controls(tab: Page):
    tab.locator(".experiment-entry", has_text="Deep networks").click()
    expect(tab.locator("#experiment-title")).to_have_text("Deep networks")
    small = {"Layers": "4", "Width": "8", "Inference Steps": "3", "Epochs": "1", "Seeds": "1"}
    for label, value in small.items():
        control(tab, label).fill(value)
    tab.locator("#experiment-options label").first.click()
    expect(tab.locator("#experiment-guess")).to_be_enabled()
    tab.locator("#experiment-guess").click()
    tab.locator("#experiment-start").click()
    expect(tab.locator("#experiment-state")).to_contain_text("done")
    expect(tab.locator(SHOWN)).to_have_count(3)
    expect(tab.locator("#experiment-guessed")).to_contain_text("You guessed")
    expect(tab.locator("#experiment-verdict")).to_contain_text("cannot tell with 1 of at least")
    expect(tab.locator("#experiment-tables")).to_contain_text("muPC, state PC, shuffled labels")


def test_on_a_telephone_nothing_reaches_beyond_the_page(tab: Page):
    tab.set_viewport_size({"width": 390, "height": 844})
    for place in range(tab.locator(".experiment-entry").count()):
        tab.locator(".experiment-entry").nth(place).click()
        expect(tab.locator(".experiment-entry").nth(place)).to_have_attribute(
            "aria-current", "true"
        )
        tab.wait_for_function(FITS)
