"""Waiting for a page that stands still, before a key is pressed or a place is clicked."""

from playwright.sync_api import Locator

from waiting import PATIENCE

STEADY = """async (element, patience) => {
  const turn = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const where = () => JSON.stringify(element.getBoundingClientRect());
  const begun = performance.now();
  for (let quiet = 0, before = ""; quiet < 6; before = where()) {
    await turn();
    if (!element.isConnected) return false;
    if (performance.now() - begun > 1000 * patience) throw new Error("it never stood still");
    const calm = element.getClientRects().length && !window.dash_clientside.lab.acting();
    quiet = calm && before === where() ? quiet + 1 : 0;
  }
  return true;
}"""


def still(locator: Locator) -> Locator:
    """The first such element, in sight and at rest: drawn, and no request but polls under way."""
    while not locator.first.evaluate(STEADY, PATIENCE):
        pass  # it was drawn anew, so another one is waited for
    return locator.first
