// The address says what the page shows (ui/address.py): it is written as something changes, without loading anything.
// The server reads it when the page opens; at Back and Forward it is read here. Another tab is another entry of the
// history.
(() => {
  const SOON = 300; // milliseconds after which what changed is written, since browsers refuse a flood
  const LONGEST = 1500; // characters of a text; a longer one would not fit where addresses are pasted
  const find = (id) => document.getElementById(id);
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const slug = (title) => title.toLowerCase().replaceAll(" ", "-");
  const text = (value) => (value && value.length <= LONGEST ? value : undefined);
  const older = (name) => (name === "latest" ? undefined : name);

  // What is open in a tab that is made when it is first opened: how it is read from the page, and put there.
  const chosen = (type, key) => {
    const button = document.querySelector(`[id*='"${type}"']:is([aria-current=true], [aria-current=page])`);
    return button && JSON.parse(button.id)[key];
  };
  const press = (type, key, value) => find(JSON.stringify({ [key]: value, type }))?.click();
  const button = (tab, type, key) => ({ tab, get: () => chosen(type, key), put: (value) => press(type, key, value) });
  const number = (tab, id) => ({
    tab,
    get: () => find(id) && String(Number(find(id).value) + 1),
    put: (value) => say(id, { value: String(value - 1) }),
  });
  const LATE = {
    look: {
      tab: "look-inside",
      get: () => document.querySelector("#look-tabs .nav-link.active")?.textContent,
      put: (value) => say("look-tabs", { active_tab: value }),
    },
    layer: number("look-inside", "look-layer"),
    head: number("look-inside", "look-head"),
    text: {
      tab: "look-inside",
      get: () => typed && text(find("look-text")?.value),
      put: (value) => say("look-text", { value }),
    },
    question: button("compare", "compare-button", "question"),
    experiment: button("pcn-experiments", "experiment-button", "experiment"),
    lesson: button("learn", "lesson-button", "lesson"),
    find: {
      tab: "runs",
      get: () => text(find("runs-search")?.value),
      put: (value) => say("runs-search", { value }),
    },
  };

  const given = () => Object.fromEntries(new URLSearchParams(location.search));
  const { lock, lang } = given(); // controls that the link keeps as they are, and its language
  let now = {}; // what the parts say that are always there
  let opened = null; // the recipe with which the page opened
  let typed = Boolean(given().text); // whether the text of Look inside is the learner's own
  let led = false; // whether Back or Forward led to what is open
  let due = 0;

  // Read from the page itself, for Dash tells of another tab only when it has nothing more urgent.
  const titles = JSON.parse(document.querySelector("meta[name=tabs]").content); // in any language
  const links = () => [...document.querySelectorAll("#main > .nav-tabs .nav-link")];
  const tab = () => slug(titles[links().findIndex((one) => one.classList.contains("active"))] || "Train");
  const words = () => {
    const open = tab();
    const late = Object.entries(LATE).filter(([, part]) => part.tab === open);
    const inside = late.map(([name, part]) => [name, part.get()]);
    const said = [...Object.entries({ tab: open === "train" ? "" : open, ...now, lock, lang }), ...inside].filter(([, value]) => value);
    return `?${new URLSearchParams(said)}`;
  };
  const place = (search, name) => new URLSearchParams(search).get(name);
  const write = () => {
    clearTimeout(due);
    due = 0;
    if (!now.recipe) return; // the form was not read yet
    const search = words();
    const clean = `?${new URLSearchParams({ recipe: opened })}`; // what a page without an address shows
    if (search === location.search || (search === clean && !location.search)) return;
    const turned = ["tab", "look"].some((name) => {
      const [before, after] = [place(location.search, name), place(search, name)];
      return before !== after && (name === "tab" || (before && after && place(location.search, "tab") === tab()));
    });
    if (!location.search && turned) history.replaceState(null, "", clean); // Back leads to what was open before
    history[turned && !led ? "pushState" : "replaceState"](null, "", search);
  };
  const soon = () => (due ||= setTimeout(write, SOON));
  addEventListener("pagehide", write);
  for (const kind of ["change", "click", "input"]) {
    document.addEventListener(kind, ({ target }) => {
      if (kind !== "click" && target.id === "look-text") typed = true;
      if (kind === "click" && target.closest?.("#look-again")) typed = false;
      soon();
    });
  }
  document.addEventListener("arranged", soon); // something came that was asked for
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, () => (led = false), true);

  // Back and Forward: what is open, not the form, whose changes nobody takes back by leaving a tab.
  addEventListener("popstate", () => {
    const said = given();
    led = true;
    say("address-places", { data: Object.fromEntries(Object.entries(said).filter(([name]) => name in LATE)) });
    const tab = said.tab || "train";
    const title = titles.find((one) => slug(one) === tab);
    if (title) say("tabs", { active_tab: title });
    for (const [name, part] of Object.entries(LATE)) {
      if (part.tab === tab && said[name] && part.get() && part.get() !== said[name]) part.put(said[name]);
    }
    say("run", { value: said.run || "latest" });
    say("writer", { value: said.model || "latest" });
    say("moment-goal", { data: said.moment ? { run: said.model || null, step: Number(said.moment) } : null });
  });

  // The lesson that is open is kept by the browser, so that of an address is opened as by a press.
  const lesson = given().lesson;
  const opening = lesson && setInterval(() => {
    if (!chosen("lesson-button", "lesson")) return;
    clearInterval(opening);
    if (chosen("lesson-button", "lesson") !== lesson) LATE.lesson.put(lesson);
  }, 100);

  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#address-told button")) find("address-told").hidden = true;
  });

  // Another language: kept by the browser, and the page is opened anew in it.
  document.addEventListener("change", ({ target }) => {
    if (target.id !== "language-choice") return;
    localStorage.setItem("language", target.value);
    write();
    const said = new URLSearchParams(location.search);
    if (said.has("lang")) said.set("lang", target.value);
    location.search === `?${said}` || !said.size ? location.reload() : location.assign(`?${said}`);
  });

  // A link to the view, for the clipboard where the browser allows it, else to be copied by hand.
  document.addEventListener("click", async ({ target }) => {
    const copy = target.closest?.("#copy-address");
    if (!copy) return;
    write();
    const told = find("copied");
    try {
      await navigator.clipboard.writeText(location.href);
      told.textContent = window.spoken("Link copied");
    } catch {
      told.textContent = window.spoken("Copy the address of this page");
    }
    setTimeout(() => (told.textContent = ""), 3000);
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.address = {
    changed: (_tab, form, run, model, at, samples, ids) => {
      const past = at && at.run && typeof at.step === "number"; // an older checkpoint stays one of that run
      const own = form ? ids.map(({ name }, i) => [name, samples[i]]) : [];
      const changes = own.filter(([name, value]) => String(value ?? "") !== String(form.samples[name] ?? ""));
      opened ??= form?.said.recipe;
      now = {
        ...(form && form.said),
        ...Object.fromEntries(changes.map(([name, value]) => [`sample.${name}`, text(String(value ?? ""))])),
        run: older(run),
        model: past ? at.run : older(model),
        moment: past ? String(at.step) : undefined,
      };
      soon();
      return window.dash_clientside.no_update;
    },
  };
})();
