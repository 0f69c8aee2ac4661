// Learn: the buttons of lessons press the page's real controls; the list, the keys, the search, and the tour.
(() => {
  const WIDE = matchMedia("(min-width: 1100px)"); // where a lesson stands beside another tab
  const [LOOK, REST] = [2000, 3600000]; // milliseconds between two looks at the learner's run
  const PATIENCE = 15000; // milliseconds a step may take
  const find = (id) => document.getElementById(id);
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

  // --- what a button does -------------------------------------------------------------------------

  // A step is over when the server has answered everything it led to; polls do not count.
  let busy = 0;
  let quietSince = 0;
  const answered = new Map(); // when the server last answered a change of a property
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    const counts =
      typeof address === "string" &&
      address.includes("/_dash-update-component") &&
      !/"changedPropIds":\[[^\]]*\.n_intervals"/.test(options.body);
    busy += counts;
    try {
      return await ask(address, options);
    } finally {
      busy -= counts;
      if (counts) {
        quietSince = performance.now();
        const changed = /"changedPropIds":\["([^"]*)"/.exec(options.body)?.[1];
        if (changed) answered.set(changed, quietSince);
      }
    }
  };
  const until = async (test, why) => {
    const end = performance.now() + PATIENCE;
    for (;;) {
      const found = test();
      if (found) return found;
      if (performance.now() > end) throw new Error(why());
      await pause(40);
    }
  };
  // A recipe fills the controls, which must not come after what is set next.
  const filled = async ({ at, prop }, since) => {
    const end = since + PATIENCE;
    while (!(answered.get(`${at}.${prop}`) > since) && performance.now() < end) await pause(40);
  };
  const settled = async () => {
    await pause(60);
    await until(() => !busy && performance.now() - quietSince > 80, () => "The lab is busy: try again.");
  };

  const tabs = () => [...document.querySelector(".nav-tabs").querySelectorAll(".nav-link")];
  const inSight = (id) => find(id)?.getClientRects().length && find(id);
  const gone = (id) => () => `There is no ${id} on this page now.`;
  const take = {
    tab: async ({ tab }) => {
      const link = tabs().find((one) => one.textContent === tab);
      if (!link) throw new Error(`This lab has no tab ${tab}.`);
      say("tabs", { active_tab: tab });
      await until(() => link.classList.contains("active"), () => `${tab} did not open.`);
      return link;
    },
    set: async ({ set, prop, value, at }) => {
      const control = await until(() => find(at), gone(at));
      say(set, { [prop]: value });
      return control;
    },
    press: async ({ press }) => {
      const button = await until(() => find(press), gone(press));
      const why = () => button.title || find("why")?.textContent || "It cannot be pressed now.";
      for (let tries = 0; button.disabled && tries < 25; tries++) await pause(100);
      if (button.disabled) throw new Error(why());
      button.click();
      return button;
    },
    show: async ({ show }) => until(() => inSight(show), gone(show)),
  };
  const point = (element) => {
    const place = element.closest(".field") || element;
    place.scrollIntoView({ block: "nearest" });
    place.dataset.did = "";
    setTimeout(() => delete place.dataset.did, 2500);
  };
  const perform = async (button) => {
    const steps = JSON.parse(button.dataset.do);
    const words = button.parentElement.querySelector(".did-words");
    button.setAttribute("aria-busy", "true");
    words.textContent = "…";
    if (steps[0].tab && WIDE.matches) document.body.classList.add("beside");
    let last = null;
    try {
      for (const [at, step] of steps.entries()) {
        const kind = Object.keys(take).find((name) => name in step);
        const since = performance.now();
        last = await take[kind](step);
        if (step.at === "recipe") await filled(step, since);
        // Settings are set together; anything else may lead to what the next step needs.
        if (!(step.set?.type && steps[at + 1]?.set?.type)) await settled();
      }
      words.textContent = "Done.";
    } catch (trouble) {
      words.textContent = trouble.message;
      tell(trouble.message);
    }
    if (last) point(last);
    button.removeAttribute("aria-busy");
  };

  // --- a lesson beside another tab, or the way back to it -------------------------------------------

  const way = document.createElement("div");
  way.id = "back-to-lesson";
  way.innerHTML = '<span role="status"></span><button class="btn btn-primary btn-sm">Back to the lesson</button>';
  way.querySelector("button").onclick = () => say("tabs", { active_tab: "Learn" });
  const tell = (words) => (way.querySelector("span").textContent = words);
  let doing = false; // whether a lesson led to where the page is
  const place = () => {
    const learn = find("learn");
    const away = doing && !learn?.closest(".tab-pane")?.classList.contains("active");
    way.classList.toggle("shown", Boolean(away && !WIDE.matches));
  };
  const leave = () => {
    document.body.classList.remove("beside");
    say("lesson-tick", { interval: REST });
    window.dispatchEvent(new Event("resize"));
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.learn = {
    // Which lesson is open, and which were read.
    go: (entries, back, next, ids, data) => {
      const { triggered, triggered_id: pressed } = window.dash_clientside.callback_context;
      if (!triggered.length || !triggered[0].value) return window.dash_clientside.no_update;
      const all = ids.map((id) => id.lesson);
      const at = Math.max(0, all.indexOf(data?.at));
      const read = new Set(Array.isArray(data?.read) ? data.read : []);
      if (pressed === "lesson-next") read.add(all[at]);
      const turned = { "lesson-back": at - 1, "lesson-next": at + 1 }[pressed];
      const to = turned === undefined ? all.indexOf(pressed.lesson) : turned;
      document.querySelector(".lesson").scrollTop = 0;
      if (!document.body.classList.contains("beside")) window.scrollTo(0, 0);
      return { at: all[Math.min(Math.max(to, 0), all.length - 1)], read: [...read] };
    },
    // Its checks rest while it is not in sight.
    pace: (tab) => {
      const seen = tab === "Learn" || document.body.classList.contains("beside");
      setTimeout(place, 100);
      setTimeout(() => window.dispatchEvent(new Event("resize")), 200); // charts have another width
      return seen ? LOOK : REST;
    },
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".do");
    if (button && !button.hasAttribute("aria-busy")) {
      doing = true;
      tell("");
      perform(button);
    }
    const id = event.target.id;
    if (id === "lesson-close") leave();
    if (id === "lesson-whole") say("tabs", { active_tab: "Learn" });
    if (id === "tour-again") tour(0);
  });

  document.addEventListener("keydown", (event) => {
    const turn = { ArrowLeft: "lesson-back", ArrowRight: "lesson-next" }[event.key];
    if (!turn || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const inLesson = find("learn")?.contains(event.target);
    const open = find("learn")?.closest(".tab-pane.active") && event.target === document.body;
    if (!(inLesson || open) || event.target.matches("input, textarea, select")) return;
    if (!find(turn).disabled) find(turn).click();
  });

  document.addEventListener("input", (event) => {
    if (event.target.id !== "lesson-search") return;
    const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const entry of document.querySelectorAll(".symptom")) {
      const text = entry.textContent.toLowerCase();
      entry.hidden = !wanted.every((word) => text.includes(word));
      count += !entry.hidden;
    }
    const none = find("lesson-unfound");
    none.hidden = count > 0;
    none.textContent = "No entry has all of these words: try one of them.";
  });

  // --- the first visit --------------------------------------------------------------------------------

  const STOPS = [
    ["start", "Press Start Training: a small GPT learns on this computer. What it costs stands above the button."],
    ["loss-chart", "The loss falls here while it learns. Lower is better; the dotted lines are milestones."],
    ["sample", "Here the model writes, from noise to words. It is your own model, trained just now."],
    ["Look inside", "Then open it up: attention, predictions, and every part of it, on your own text."],
    ["Learn", "The lessons explain all of it, with buttons that do it for you.", "Open lesson 1"],
  ];
  const target = (name) =>
    find(name) || tabs().find((one) => one.textContent === name);
  const card = document.createElement("aside");
  card.id = "tour";
  card.setAttribute("aria-label", "A short tour");
  let pointedAt = null;
  const over = () => {
    localStorage.setItem("tour", "seen");
    if (pointedAt) delete pointedAt.dataset.did;
    card.remove();
  };
  const tour = (stop) => {
    if (pointedAt) delete pointedAt.dataset.did;
    const [name, words, open] = STOPS[stop];
    pointedAt = target(name);
    if (pointedAt) pointedAt.dataset.did = "";
    card.innerHTML = '<p role="status"></p><div><span class="quiet"></span><button class="link"></button><button></button></div>';
    card.querySelector("p").textContent = words;
    card.querySelector("span").textContent = `${stop + 1} of ${STOPS.length}`;
    const [away, next] = card.querySelectorAll("button");
    away.textContent = "No tour";
    away.onclick = over;
    next.className = "btn btn-primary btn-sm";
    next.textContent = open || "Next";
    next.onclick = () => {
      if (!open) return tour(stop + 1);
      say("tabs", { active_tab: "Learn" });
      over();
    };
    if (!card.isConnected) document.body.append(card);
  };
  addEventListener("keydown", (event) => event.key === "Escape" && card.isConnected && over());
  const begin = new MutationObserver(() => {
    if (!find("start")) return;
    begin.disconnect();
    document.body.append(way);
    if (!localStorage.getItem("tour")) tour(0);
  });
  begin.observe(document, { childList: true, subtree: true });
})();
