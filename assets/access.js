// What a keyboard and a screen reader need and the components do not give: tabs with roles, ids and arrow keys,
// controls joined with their help and error, named sliders, help on focus and tap. (The focus is minded in focus.js.)
// Words that scripts say, in the language of the page (ui/languages/).
{
  const { words } = JSON.parse(document.querySelector("meta[name=languages]").content)[document.documentElement.lang] || {};
  window.spoken = (english) => words?.[english] ?? english;
}
(() => {
  let count = 0;
  const idOf = (element) => (element.id ||= `described-${(count += 1)}`);
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };

  // Tabs: one of them is in the order of Tab, arrow keys go to the others. (The library leaves all out of it.)
  const tabsOf = (list) => [...list.querySelectorAll(":scope > .nav-item > .nav-link")];
  const arrangeTabs = () => {
    for (const list of document.querySelectorAll(".nav-tabs")) {
      const panels = [...(list.parentElement.querySelector(":scope > .tab-content")?.children || [])];
      tabsOf(list).forEach((tab, i) => {
        const chosen = tab.classList.contains("active");
        set(tab.parentElement, "role", "presentation");
        set(tab, "id", `${idOf(list)}-tab-${i + 1}`);
        set(tab, "aria-selected", String(chosen));
        set(tab, "tabindex", chosen ? "0" : "-1");
        if (!panels[i]) return tab.removeAttribute("aria-controls");
        set(panels[i], "id", `${idOf(list)}-panel-${i + 1}`);
        set(panels[i], "aria-labelledby", tab.id);
        set(tab, "aria-controls", panels[i].id);
      });
    }
  };
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.(".nav-tabs .nav-link");
    if (!tab || event.altKey || event.ctrlKey || event.metaKey) return;
    const tabs = tabsOf(tab.closest(".nav-tabs"));
    const at = tabs.indexOf(tab);
    const goal = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1, " ": at }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    const next = tabs[(goal + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });

  // Controls: their sentence of help and their error are read with them, and sliders have a name.
  const CONTROL = "input, select, textarea, [role=slider]";
  const describe = () => {
    for (const field of document.querySelectorAll(".field")) {
      const help = field.querySelector(":scope > .field-help");
      const error = field.querySelector(":scope > .field-error");
      const parts = [help, error].filter(Boolean);
      if (!parts.length) continue;
      for (const control of field.querySelectorAll(CONTROL)) {
        set(control, "aria-describedby", parts.map(idOf).join(" "));
        if (error) set(control, "aria-invalid", String(Boolean(error.textContent)));
      }
    }
    for (const control of document.querySelectorAll(`[title] :is(${CONTROL})`)) {
      set(control, "aria-description", control.closest("[title]").title);
    }
    for (const slider of document.querySelectorAll("[role=slider]:not([aria-label])")) {
      const field = slider.closest(".field");
      const name = field?.querySelector(".field-label")?.textContent || slider.closest("[data-name]")?.dataset.name;
      if (name) slider.setAttribute("aria-label", name);
    }
  };

  // A sentence of help stands below its control, from where that begins; where the form ends before it does,
  // above it, or up to where the control ends.
  const fit = (field) => {
    const help = field?.querySelector(":scope > .field-help");
    if (!help) return;
    help.classList.remove("above", "other-side");
    const page = new DOMRect(0, 0, innerWidth, innerHeight);
    const form = help.closest(".scroll")?.getBoundingClientRect() ?? page;
    const place = help.getBoundingClientRect();
    help.classList.toggle("other-side", place.left < form.left || place.right > form.right);
    help.classList.toggle("above", place.bottom > Math.min(form.bottom, page.bottom));
  };
  const fitShown = () => document.querySelectorAll(".field:is(:focus-within, :hover)").forEach(fit);
  for (const kind of ["focusin", "pointerover"]) {
    document.addEventListener(kind, ({ target }) => fit(target.closest?.(".field")));
  }
  document.addEventListener("scroll", fitShown, { capture: true, passive: true });

  // Help of what has no sentence beside it: a title shows on hover by itself, here on focus and tap, too.
  const tip = Object.assign(document.createElement("div"), { id: "tip", hidden: true });
  tip.setAttribute("role", "tooltip");
  const helped = (target) => {
    const element = target?.closest?.("[title]");
    return element && element.title && !element.closest("svg") ? element : null;
  };
  const show = (element) => {
    tip.hidden = !element;
    if (!element) return;
    tip.textContent = element.title;
    const place = element.getBoundingClientRect();
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    const below = place.bottom + 6 + height <= innerHeight;
    tip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - width - 8))}px`;
    tip.style.top = `${below ? place.bottom + 6 : Math.max(8, place.top - height - 6)}px`;
  };
  document.addEventListener("focusin", ({ target }) => show(target.matches(":focus-visible") ? helped(target) : null));
  document.addEventListener("focusout", () => show(null));
  document.addEventListener("scroll", () => show(null), { capture: true, passive: true });
  document.addEventListener("keydown", ({ key }) => key === "Escape" && show(null));
  document.addEventListener("pointerup", ({ pointerType, clientX, clientY }) => {
    if (pointerType === "touch") show(helped(document.elementFromPoint(clientX, clientY)));
  });

  let due = false;
  const arrange = () => {
    due = false;
    arrangeTabs();
    describe();
    fitShown();
    document.dispatchEvent(new Event("arranged"));
  };
  const soon = () => {
    if (due) return;
    due = true;
    setTimeout(arrange);
  };
  // Only the tab that is open is watched, and which one that is.
  const inChart = ({ target }) => target.nodeType === 1 && target.closest("svg, .js-plotly-plot");
  const pane = new MutationObserver((changes) => changes.every(inChart) || soon());
  const watch = () => {
    pane.disconnect();
    for (const open of document.querySelectorAll("#main > .tab-content > .tab-pane.active")) {
      pane.observe(open, { attributeFilter: ["class", "disabled", "hidden"], childList: true, subtree: true });
    }
    soon();
  };
  const begin = () => {
    const tabs = document.querySelector("#main > .nav-tabs");
    if (!tabs) return setTimeout(begin, 50);
    // Where the tabs are wider than the window, the open one is in the middle of what shows.
    const centre = () => {
      const [bar, open] = [tabs, tabs.querySelector(".active")].map((one) => one?.getBoundingClientRect());
      if (open) tabs.scrollLeft += open.left + open.width / 2 - bar.left - bar.width / 2;
    };
    const turned = () => { watch(); centre(); };
    new MutationObserver(turned).observe(tabs, { attributeFilter: ["class"], subtree: true });
    addEventListener("resize", centre);
    turned();
  };
  document.addEventListener("DOMContentLoaded", () => document.body.append(tip));
  if (document.body) document.body.append(tip);
  begin();
})();
