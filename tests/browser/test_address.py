"""The address is the state of the page: copied, reloaded and gone back to, it shows the same."""

import re

from playwright.sync_api import Page, expect

from steady import still

RATE = "label:has(.field-label:text-is('Learning Rate')) input"
PROMPT = "label:has(.field-label:text-is('Prompt')) textarea"


def tab(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).click()


def is_open(page: Page, title: str) -> None:
    found = page.get_by_role("tab", name=title, exact=True)
    expect(found).to_have_attribute("aria-selected", "true")


def test_an_address_opens_the_same_view_elsewhere_after_a_reload_and_by_back(
    context, page: Page, model: str
):
    page.locator(RATE).first.fill("0.005")
    expect(page).to_have_url(re.compile(r"train\.learning_rate=0\.005"))
    tab(page, "Compare")
    page.locator("[id*='compare-button'][id*='own']").click()
    expect(page).to_have_url(re.compile("tab=compare.*question=own"))
    tab(page, "Generate")
    page.locator(PROMPT).fill("Once & again = 50%")
    page.locator("#writer").select_option(model)
    expect(page.locator("#moment-label")).to_contain_text(f"{model}, newest")
    still(page.locator("#moment [role=slider]")).press("Home")
    expect(page).to_have_url(re.compile(rf"model={model}&moment=\d+"))
    expect(page).to_have_url(re.compile("Once"))
    tab(page, "Look inside")
    page.get_by_role("tab", name="Health", exact=True).click()
    expect(page).to_have_url(re.compile("tab=look-inside.*look=Health"))

    page.go_back()
    page.go_back()
    is_open(page, "Generate")
    expect(page).to_have_url(re.compile("tab=generate"))
    page.go_back()
    is_open(page, "Compare")
    page.go_forward()
    is_open(page, "Generate")

    other = context.new_page()
    other.goto(page.url)
    is_open(other, "Generate")
    expect(other.locator(PROMPT)).to_have_value("Once & again = 50%")
    expect(other.locator("#writer")).to_have_value(model)
    expect(other.locator("#moment-label")).to_have_text(page.locator("#moment-label").inner_text())
    expect(other.locator(RATE).first).to_have_value("0.005")
    expect(other.locator("#modified")).to_have_text(page.locator("#modified").text_content())
    expect(other).to_have_url(page.url)

    other.goto(re.sub(r"\?.*", "?tab=runs&train.learning_rate=0,001", page.url))
    is_open(other, "Runs")
    expect(other.locator("#address-told")).to_contain_text("write 0.001")
    other.locator("#address-told").get_by_role("button").click()
    expect(other.locator("#address-told")).to_be_hidden()
