"""Waiting for a page: until it stands still, until a part is filled, until nothing is too wide."""

from playwright.sync_api import Locator

from waiting import PATIENCE

PARTS = {  # of Look inside, and what shows that it is filled
    "Predictions": "#attribution-sum",
    "Cause": ".site",
    "Embeddings": "#neighbours",
    "Health": "#health-signs li",
    "Architecture": ".block-button",
    "Attention": "#measures .ag-row",
    "Overview": ".flow-block",
}
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
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
