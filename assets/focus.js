// The focus stays where it was. A panel that is drawn anew is made of new elements: what had the focus gives it to the
// one that stands in its place now, and a press that began on the old one counts for the new one. It never falls to the
// page as a whole, where keys do nothing.
(() => {
  const BUTTONS = "button, summary, input[type=checkbox], input[type=radio]"; // pressed by Space, too
  const usable = (element) => element.isConnected && !element.disabled && element.getClientRects().length > 0;

  // --- where an element stands, in words that hold when its panel is drawn anew --------------------------------------

  const lasting = (element) => element.id && !element.id.startsWith("described-"); // access.js makes those up
  const kindOf = (element) => {
    const { state, ...marks } = element.dataset; // a slider and its like say in `state` how they stand
    return JSON.stringify([element.tagName, element.getAttribute("role"), marks]);
  };
  const nameOf = (element) => element.getAttribute("aria-label") || element.textContent.trim();
  const alike = (within, element) => {
    const kind = kindOf(element);
    return [...within.querySelectorAll(element.tagName)].filter((one) => kindOf(one) === kind);
  };
  const placeOf = (element) => {
    const around = [];
    for (let one = element; one; one = one.parentElement) if (lasting(one)) around.push(one);
    const panels = around.map(({ id }) => id);
    if (around[0] === element || !around.length) return { panels, element };
    const others = alike(around[0], element);
    const name = nameOf(element);
    const same = others.filter((one) => nameOf(one) === name);
    return { panels, element, name, nth: others.indexOf(element), count: others.length, again: same.indexOf(element) };
  };
  // The element that stands in this place now, if there is one.
  const standing = ({ panels, element, name, nth, count, again }) => {
    if (element.isConnected) return element;
    const panel = panels.length ? document.getElementById(panels[0]) : null;
    if (!panel || panels[0] === element.id) return panel;
    const others = alike(panel, element);
    const same = others.filter((one) => nameOf(one) === name);
    return same[again] || (others.length === count ? others[nth] : null);
  };

  // --- who has the focus, and who gets it ----------------------------------------------------------------------------

  let place = null; // of what had the focus last, unless the learner has left it
  let holder = null; // a panel that has the focus until something stands in that place again

  const give = (element) => {
    const { element: old } = place;
    element.focus({ preventScroll: true });
    if (old.selectionStart != null && element.setSelectionRange && element !== old) {
      element.setSelectionRange(old.selectionStart, old.selectionEnd);
    }
  };
  // After what is switched off or hidden comes the one it names, or the next one of its group.
  const following = (element) => {
    const named = element.dataset.next && document.getElementById(element.dataset.next);
    if (named) return { named };
    const group = element.closest(".actions, .card, .column, .tab-pane");
    const others = group ? [...group.querySelectorAll("button, select, input, a[href]")].filter(usable) : [];
    const after = others.filter((one) => element.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);
    return { next: after[0] || others.at(-1) };
  };
  const hold = () => {
    const panel = place.panels.map((id) => document.getElementById(id)).find((one) => one && usable(one));
    if (!panel || panel === place.element) return;
    if (!panel.hasAttribute("tabindex")) panel.tabIndex = -1;
    holder = panel;
    panel.focus({ preventScroll: true });
  };
  const look = () => {
    const now = document.activeElement;
    if (!place || (now && now !== document.body && now !== holder)) return;
    const found = standing(place);
    if (found && usable(found)) return found !== now && (found !== place.element || now === holder) && give(found);
    if (!found) return now === holder || hold();
    const { named, next } = following(found);
    if (named) return usable(named) && named.focus({ preventScroll: true }); // or it comes later
    if (next) next.focus({ preventScroll: true });
    else if (now !== holder) hold();
  };

  document.addEventListener("focusin", ({ target }) => {
    if (target === holder) return;
    holder = null;
    place = target.closest(".ag-root-wrapper") ? null : placeOf(target); // the grid minds its own cells
  });
  document.addEventListener("focusout", () => setTimeout(look));
  document.addEventListener("pointerdown", () => (place = holder = null));
  document.addEventListener("arranged", look); // something was switched off, or hidden
  // New elements stand there before any key or click is heard: the observer is called as soon as they do.
  const anew = new MutationObserver(() => {
    if (place && place.element.isConnected) return void (holder || (place = placeOf(place.element)));
    look();
  });

  // --- a press that began on what was drawn anew meanwhile -----------------------------------------------------------

  let pressed = null;
  const press = ({ target }, kinds) => {
    const element = target.closest?.(kinds);
    pressed = element ? placeOf(element) : null;
  };
  const release = (hit) => {
    const was = pressed;
    pressed = null;
    if (!was || was.element.isConnected) return;
    const now = standing(was);
    if (now && usable(now) && hit(now)) setTimeout(() => now.click());
  };
  document.addEventListener("pointerdown", (event) => press(event, `${BUTTONS}, a[href], .nav-link`));
  document.addEventListener("pointercancel", () => (pressed = null));
  document.addEventListener("pointerup", ({ clientX, clientY }) =>
    release((now) => now.contains(document.elementFromPoint(clientX, clientY))));
  document.addEventListener("keydown", (event) => event.key === " " && !event.repeat && press(event, BUTTONS));
  document.addEventListener("keyup", (event) => event.key === " " && release((now) => now === document.activeElement));

  const begin = () => {
    const main = document.getElementById("main");
    if (!main) return setTimeout(begin, 50);
    anew.observe(main, { childList: true, subtree: true });
  };
  begin();
})();
