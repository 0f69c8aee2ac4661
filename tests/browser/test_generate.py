"""Writing, looked into: tokens by mouse and by keyboard, branches, moments of a life."""

import re

from playwright.sync_api import Page, expect

from transformer_lab.lab.lab import Lab
from waiting import until


def trained(page: Page, lab: Lab) -> None:
    """A short training to its end, then the Generate tab."""
    before = lab.trainings.current
    page.locator("label:has(.field-label:text-is('Steps')) input").fill("64")
    page.locator("#start").click()
    until(lambda: lab.trainings.current is not before and lab.trainings.current.ended)
    page.get_by_role("tab", name="Generate").click()
    expect(page.locator("#moment-label")).to_contain_text("after step 64")


def written(page: Page) -> str:
    page.locator("label:has-text('Prompt') textarea").first.fill("The ")
    page.locator("#generate").click()
    expect(page.locator("#generate-caption")).to_contain_text("done")
    return page.locator("#output").inner_text()


def test_tokens_are_looked_into_by_mouse_and_by_keyboard_and_branched_from(page: Page, lab: Lab):
    trained(page, lab)
    text = written(page)
    page.locator("#output .tok").nth(4).click()
    expect(page.locator("#picked-head")).to_contain_text("token 5")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#picked-head")).to_contain_text("token 6")
    expect(page.locator("#picked-body tbody tr")).to_have_count(10)
    before = page.locator("#picked-body").inner_text()
    page.locator("label:has-text('Temperature') input").first.fill("0.1")
    expect(page.locator("#picked-body")).not_to_have_text(before)
    page.locator("#picked-body button", has_text="branch").first.click()
    expect(page.locator("#output .tok.chosen")).to_have_count(1)
    expect(page.locator("#branches button")).to_have_count(2)
    expect(page.locator("#generate-caption")).to_contain_text("done")
    branch = page.locator("#output").inner_text()
    assert branch[:9] == text[:9]  # the prompt and five tokens
    assert branch != text
    page.locator("#branches button").first.click()
    expect(page.locator("#output .tok.chosen")).to_have_count(0)


def test_the_slider_goes_back_in_the_life_of_the_model_and_plays_it(page: Page, lab: Lab):
    trained(page, lab)
    slider = page.locator("#moment-bar [role=slider]").first
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#moment-label")).to_contain_text("after step 0")
    written(page)
    expect(page.locator("#generate-caption")).to_contain_text("after step 0")
    page.locator("#play").click()
    expect(page.locator("#moment-label")).to_contain_text(re.compile(r"after step [1-9]"))
    page.locator("#play").click()
