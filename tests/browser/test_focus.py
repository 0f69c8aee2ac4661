"""What has the focus keeps it while its panel is drawn anew, and no press is lost meanwhile."""

from playwright.sync_api import BrowserContext, expect

from steady import still

# Draw a panel anew, as the answer to a request does: all of its elements are new ones.
DRAWN = """([id, between]) => {
  const { set_props } = window.dash_clientside;
  const { children } = window.dash_component_api.getLayout(id).props;
  const old = document.getElementById(id).firstElementChild;
  if (between !== null) set_props(id, { children: between });
  const anew = () => set_props(id, { children: structuredClone(children) });
  return new Promise((done) => {
    const look = () => {
      const now = document.getElementById(id).firstElementChild;
      const drawn = now && now !== old && (between === null || now.childElementCount);
      drawn ? done() : setTimeout(look, 5);
    };
    between === null ? anew() : setTimeout(anew, 100);
    look();
  });
}"""
LISTED = "([found, at]) => window.dash_clientside.moments.listed(found, null, 9, 9, at)"
ASKED_AGAIN = """body => fetch("/_dash-update-component", {
  method: "POST", headers: { "Content-Type": "application/json" }, body,
}).then((answer) => answer.json()).then(({ response }) => response)"""


def test_a_panel_drawn_anew_keeps_the_focus_and_loses_no_press(context: BrowserContext, model: str):
    look = context.new_page()
    asked: list[str] = []
    look.on("request", lambda request: asked.append(request.post_data or ""))
    look.goto(f"/?tab=look-inside&model={model}")
    still(look.locator(".flow-attention"))
    body = next(one for one in asked[::-1] if one.startswith('{"output":"..overview.children'))
    answer = look.evaluate(ASKED_AGAIN, body)  # which is what stands there
    assert "children" not in answer["overview"]

    block = look.locator(".flow-attention").last  # of the first layer
    block.focus()
    for between in (None, "for a moment there is nothing"):
        look.evaluate(DRAWN, ["overview", between])
        expect(block).to_be_focused()
    look.keyboard.down("Space")
    look.evaluate(DRAWN, ["overview", None])
    look.keyboard.up("Space")
    attention = look.get_by_role("tab", name="Attention", exact=True)
    expect(attention).to_have_attribute("aria-selected", "true")
    expect(attention).to_be_focused()

    look.get_by_role("tab", name="Overview").click()
    still(block).hover()
    look.mouse.down()
    look.evaluate(DRAWN, ["overview", None])
    look.mouse.up()
    expect(attention).to_have_attribute("aria-selected", "true")

    writer, slider = look.locator("#writer"), look.locator("#moment [role=slider]")
    writer.dispatch_event("change")  # another model was chosen, whose checkpoints are not known yet
    slider.press("Home")
    slider.press("ArrowRight")
    found = {"asked": writer.input_value(), "run": "another", "steps": [0, 10, 20]}
    moved = look.evaluate(LISTED, [found, {"run": model}])
    assert moved == [2, 1]  # the last of its checkpoints, and the one that the keys lead to
