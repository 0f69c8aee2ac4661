"""Looking inside a model, by mouse and by keyboard."""

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from steady import FITS, PARTS, still

SHARE = re.compile(r"([\d.]+)\u00a0%")


def open_look(page: Page) -> None:
    page.get_by_role("tab", name="Look inside").click()
    expect(tokens(page).first).to_be_visible()
    expect(page.locator(".flow-attention").first).to_be_visible()
    page.get_by_role("tab", name="Attention").click()
    expect(page.locator("#head-chart .gtitle")).to_contain_text("Layer 1")


def tokens(page: Page) -> Locator:
    return page.locator("#look-tokens [data-place]")


@pytest.fixture
def look(context: BrowserContext, model: str) -> Page:
    """The tab, on that model."""
    page = context.new_page()
    page.goto("/")
    page.get_by_role("tab", name="Look inside").click()
    page.locator("#writer").select_option(model)
    open_look(page)
    return page


def marks(page: Page) -> list[list[float]]:
    """What is framed in the picture of the head: from where to where, in tokens from 1."""
    return page.evaluate(
        "(document.querySelector('#head-chart .js-plotly-plot').layout.shapes || [])"
        ".map(({x0, x1, y0, y1}) => [x0, x1, y0, y1])"
    )


def test_the_mouse_links_tokens_with_the_picture_and_the_picture_with_tokens(look: Page):
    tokens(look).nth(9).hover()
    expect(look.locator("#look-caption")).to_contain_text("(10) attends to")
    expect(tokens(look).nth(9)).to_have_class(re.compile(r"\bat\b"))
    assert look.locator("#look-lines path.looks-there").count() > 0
    assert marks(look)[0] == [0.5, 10.5, 9.5, 10.5]
    assert marks(look)[1][:2] == [9.5, 10.5]
    shares = [float(share) for share in SHARE.findall(look.locator("#look-caption").inner_text())]
    assert 0 < sum(shares[:4]) <= 100.5
    look.mouse.move(700, 60)
    expect(look.locator("#look-caption")).not_to_contain_text("(10) attends to")
    box = look.locator("#head-chart .nsewdrag").bounding_box()
    assert box
    size = tokens(look).count()
    at = (12.5 / size, 3.5 / size)  # the middle of query 13 and source 4
    look.mouse.move(box["x"] + at[1] * box["width"], box["y"] + at[0] * box["height"], steps=5)
    expect(look.locator("#look-caption")).to_contain_text("(13) gives")
    expect(look.locator("#look-caption")).to_contain_text("(4).")
    expect(tokens(look).nth(12)).to_have_class(re.compile(r"\bat\b"))
    expect(tokens(look).nth(3)).to_have_class(re.compile(r"\bpointed\b"))
    box = still(look.locator("#tiles-chart .nsewdrag")).bounding_box()
    assert box
    look.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])
    expect(look.locator("#head-chart .gtitle")).to_contain_text("Layer 2")
    assert look.locator("#look-layer").input_value() == "1"


def test_everything_is_reached_by_keyboard_alone(look: Page):
    expect(tokens(look).last).to_have_attribute("aria-selected", "true")
    look.locator("#look-again").focus()
    look.keyboard.press("Tab")
    assert look.evaluate("document.activeElement.getAttribute('role')") == "option"
    look.keyboard.press("Home")
    for _ in range(6):
        look.keyboard.press("ArrowRight")
    expect(tokens(look).nth(6)).to_be_focused()
    expect(tokens(look).nth(6)).to_have_attribute("aria-selected", "true")
    expect(look.locator("#look-caption")).to_contain_text("(7) attends to")
    expect(look.locator("#stage-words")).to_contain_text("(7)")
    look.locator("#stage-next").focus()
    for _ in range(4):
        title = look.locator("#stage-title").inner_text()
        look.keyboard.press("ArrowRight")
        expect(look.locator("#stage-title")).not_to_have_text(title)
    expect(look.locator("#stage-title")).to_contain_text("Softmax")
    look.locator("#look-layer").focus()
    look.keyboard.press("ArrowDown")
    expect(look.locator("#head-chart .gtitle")).to_contain_text("Layer 2")
    look.get_by_role("tab", name="Overview").click()
    still(look.locator(".flow-attention").last).focus()  # of the first layer
    look.keyboard.press("Enter")
    expect(look.locator("#head-chart .gtitle")).to_contain_text("Layer 1")
    expect(look.get_by_role("tab", name="Attention")).to_be_focused()
    look.get_by_role("tab", name="Overview").click()
    still(look.locator(".flow-feedforward")).focus()
    look.keyboard.press("Enter")
    expect(look.locator("#block-code pre").first).to_contain_text("class FeedForward")
    look.get_by_role("tab", name="Cause").focus()
    look.keyboard.press("Enter")
    button = look.locator(".site").first
    expect(button).to_be_visible()
    button.focus()
    look.keyboard.press("Space")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(look.locator("#cause-effect")).to_contain_text("1 part changed")


def test_slow_motion_walks_through_the_blocks_and_rests(look: Page):
    look.get_by_role("tab", name="Architecture").click()
    expect(look.locator("#block-code pre").first).to_contain_text("def forward")
    look.locator("#slow-motion").click()
    expect(look.locator("#slow-words")).to_contain_text("Positions")
    look.locator("#slow-motion").click()
    expect(look.locator("#slow-motion")).to_contain_text("Slow motion")
    still(look.locator("#slow-words"))  # what was asked for before comes yet
    rested = look.locator("#slow-words").inner_text()
    look.wait_for_timeout(2500)
    assert look.locator("#slow-words").inner_text() == rested
    expect(look.locator('.block-button[aria-current="true"]')).to_have_count(1)


def test_the_slider_shows_an_earlier_checkpoint_and_a_phone_needs_no_sideways_scrolling(look: Page):
    now = look.locator("#measures .ag-cell[col-id='entropy']").first.inner_text()
    thumb = look.get_by_role("slider").first
    thumb.focus()
    look.keyboard.press("Home")
    expect(look.locator("#moment-label")).to_contain_text("after step 0")
    expect(look.locator("#measures .ag-cell[col-id='entropy']").first).not_to_have_text(now)
    look.set_viewport_size({"width": 390, "height": 844})
    for title, place in PARTS.items():
        look.get_by_role("tab", name=title, exact=True).click()
        expect(look.locator(place).first).to_contain_text(re.compile(r"\w"))
        look.wait_for_function(FITS)
