"""Every tab fits every width: no card lies on another, nothing is wider than the window."""

from playwright.sync_api import Page, expect

from steady import FITS
from transformer_lab.ui.server import TABS

WIDTHS = (360, 390, 768, 1024, 1100, 1366, 1920, 2560)
OVERLAPS = """() => {
  const cards = [...document.querySelectorAll(".card")].filter((card) => card.offsetParent);
  const over = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const found = [];
  for (const [i, one] of cards.entries())
    for (const other of cards.slice(i + 1))
      if (!one.contains(other) && !other.contains(one))
        if (over(one.getBoundingClientRect(), other.getBoundingClientRect()))
          found.push([one.id || one.className, other.id || other.className]);
  return found;
}"""
OPEN_TAB_SHOWS = """() => {
  const open = document.querySelector("#main > .nav-tabs .active");
  const { left, right } = open.getBoundingClientRect();
  return left >= 0 && right <= innerWidth;
}"""
CUT = """(select) => {
  const { font, paddingLeft, paddingRight } = getComputedStyle(select);
  const pen = Object.assign(document.createElement("canvas").getContext("2d"), { font });
  const room = select.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  return pen.measureText(select.selectedOptions[0].text).width > room;
}"""


def test_no_card_lies_on_another_and_nothing_is_wider_than_the_window(page: Page, model: str):
    for tab in TABS:
        page.get_by_role("tab", name=tab.TITLE, exact=True).click()
        expect(page.locator(".tab-pane.active .late")).to_have_count(0)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(FITS)
            assert page.evaluate(OVERLAPS) == [], f"{tab.TITLE} at {width}"
            page.wait_for_function(OPEN_TAB_SHOWS)


def test_what_is_chosen_in_the_form_is_read_whole(page: Page):
    page.goto("/?recipe=tiny_shakespeare")
    page.set_viewport_size({"width": 1366, "height": 768})
    expect(page.locator("#recipe option:checked")).to_have_text("Tiny Shakespeare")
    page.locator(".advanced > summary").click()
    for select in page.locator(".fields select:visible").all():
        assert select.evaluate(CUT) is False


def test_on_a_phone_start_and_the_loss_come_first_and_are_easy_to_hit(page: Page, model: str):
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#start")).to_be_visible()
    tops = [
        page.locator(place).bounding_box()["y"] for place in ("#start", "#loss-chart", "#recipe")
    ]
    assert tops == sorted(tops)
    for place in ("#start", "#initialize", "#stop", "#recipe", ".nav-tabs .nav-link"):
        assert page.locator(place).first.bounding_box()["height"] >= 44
