// Learn: the buttons of lessons press the page's real controls; the list, the keys, the search, and the tour.
(() => {
  const WIDE = matchMedia("(min-width: 1100px)"); // where a lesson stands beside another tab
  const [LOOK, REST] = [2000, 3600000]; // milliseconds between two looks at the learner's run
  const PATIENCE = 15000; // milliseconds a step waits while nothing is under way
  const HUNG = 120000; // while something is, but nothing is answered
  const LONGEST = 600000; // and in any case
  const [TURN, CALM] = [40, 5]; // milliseconds of a turn, and how many without a request are calm
  const find = (id) => document.getElementById(id);
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

  // --- what a button does -------------------------------------------------------------------------

  // Requests under way, polls left out: a step begins when the page has asked for nothing more for several turns,
  // since what is pressed while an answer is still on its way would be taken for a part of what led to it.
  let busy = 0;
  let polls = 0; // that have been answered
  let lastAnswer = 0; // when one that was no poll was
  const answered = new Map(); // when the server last answered a change of a property
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    const asks = typeof address === "string" && address.includes("/_dash-update-component");
    const poll = asks && /"changedPropIds":\[[^\]]*\.n_intervals"/.test(options.body);
    const counts = asks && !poll;
    busy += counts;
    try {
      return await ask(address, options);
    } finally {
      busy -= counts;
      polls += poll;
      if (counts) lastAnswer = performance.now();
      const changed = counts && /"changedPropIds":\[([^\]]*)\]/.exec(options.body)?.[1];
      for (const [, name] of (changed || "").matchAll(/"([^"\\]*)"/g)) answered.set(name, lastAnswer);
    }
  };
  // Waits while the server is computing, but not for ever for what does not come.
  const until = async (test, why) => {
    const begun = performance.now();
    for (let [idle, last] = [0, begun]; ; ) {
      const found = test();
      if (found) return found;
      const now = performance.now();
      // While the page draws for seconds nothing can be looked at, so that one turn counts little.
      idle = busy ? 0 : idle + Math.min(now - last, 5 * TURN);
      last = now;
      const hung = busy && now - Math.max(begun, lastAnswer) > HUNG;
      if (hung || idle > PATIENCE || now - begun > LONGEST) throw new Error(why());
      await pause(TURN);
    }
  };
  const settled = async () => {
    let calm = 0; // turns without a request
    const still = () => (calm = busy ? 0 : calm + 1) > CALM;
    await until(still, () => "The lab is still computing: press again when it has answered.");
  };
  // A recipe fills the controls, which must not come after what is set next.
  const filled = ({ at, prop }, since) =>
    until(
      () => answered.get(`${at}.${prop}`) > since,
      () => "The lab did not answer when the recipe was chosen: press again.",
    );

  const titles = JSON.parse(document.querySelector("meta[name=tabs]").content); // in any language
  const tabs = () => [...document.querySelector(".nav-tabs").querySelectorAll(".nav-link")];
  const inSight = (id) => find(id)?.getClientRects().length && find(id);
  const gone = (id) => () => `What this step needs (${id}) did not appear: reload the page, and press again.`;
  // What a teacher's link keeps as it is (ui/address.py).
  const kept = (set) => {
    const locked = (new URLSearchParams(location.search).get("lock") || "").split(",");
    const name = set === "recipe" ? set : set?.type === "setting" && `${set.group}.${set.name}`;
    return name && (locked.includes("all") || locked.includes(name));
  };
  const label = (control) => control.closest(".field").querySelector(".field-label").textContent;
  const take = {
    tab: async ({ tab }) => {
      const link = tabs()[titles.indexOf(tab)];
      if (!link) throw new Error(`This lab has no tab ${tab}.`);
      if (link.classList.contains("active")) return link; // to open it again would compute it again
      say("tabs", { active_tab: tab });
      await until(() => link.classList.contains("active"), () => `${tab} did not open: press again.`);
      return link;
    },
    set: async ({ set, prop, value, at }) => {
      const control = await until(() => find(at), gone(at));
      const shown = control.type === "checkbox" ? control.checked : control.value;
      if (kept(set) && String(shown) !== String(value)) throw new Error(`${label(control)} is kept as it is by the link.`);
      say(set, { [prop]: value });
      return control;
    },
    press: async ({ press }) => {
      await until(() => find(press), gone(press));
      const why = () => find(press)?.title || find("why")?.textContent || "It cannot be pressed now.";
      // Most buttons are enabled by the next poll, or not at all.
      const [begun, before] = [performance.now(), polls];
      const over = () => polls >= before + 3 && performance.now() - begun > 2500;
      await until(() => find(press) && (!find(press).disabled || over()), why);
      const button = find(press);
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
  let before = Promise.resolve(); // the buttons pressed before this one
  const ofLesson = (button) => Boolean(button.closest("#learn")); // the coach on Train has one too
  const perform = async (button) => {
    const steps = JSON.parse(button.dataset.do);
    const words = button.parentElement.querySelector(".did-words");
    if (steps[0].tab && WIDE.matches && ofLesson(button)) document.body.classList.add("beside");
    let last = null;
    try {
      for (const [at, step] of steps.entries()) {
        // Settings are set together; anything else may lead to what the next step needs.
        if (!(step.set?.type && steps[at - 1]?.set?.type)) await settled();
        const kind = Object.keys(take).find((name) => name in step);
        const since = performance.now();
        last = await take[kind](step);
        if (step.at === "recipe") await filled(step, since);
      }
      await settled();
      words.textContent = window.spoken("Done.");
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
  way.innerHTML = '<span role="status"></span><button class="btn btn-primary btn-sm"></button>';
  way.querySelector("button").textContent = window.spoken("Back to the lesson");
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
    const button = event.target.closest?.("[data-do]");
    if (button && !button.hasAttribute("aria-busy")) {
      doing = doing || ofLesson(button);
      tell("");
      button.setAttribute("aria-busy", "true");
      button.parentElement.querySelector(".did-words").textContent = "…";
      before = before.then(() => perform(button)); // one after the other
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

  const SMALL = new Set("a an and are at be do does doesn't for how i in is isn't it its my no not of on or so that the to what when why will with".split(" "));
  const stem = (word) => (word.length > 5 ? word.replace(/(ting|ing|ed|es|s)$/, "") : word);
  document.addEventListener("input", (event) => {
    if (event.target.id !== "lesson-search") return;
    const words = event.target.value.toLowerCase().split(/[^\p{L}\p{N}-]+/u).filter(Boolean);
    const telling = words.filter((word) => !SMALL.has(word));
    const wanted = (telling.length ? telling : words).map(stem);
    const entries = [...document.querySelectorAll(".symptom")];
    const found = entries.map((entry) => {
      const text = entry.textContent.toLowerCase();
      return wanted.filter((word) => text.includes(word)).length;
    });
    const most = Math.max(...found); // of the words, where no entry has all of them
    for (const [i, entry] of entries.entries()) entry.hidden = wanted.length && (!found[i] || found[i] < most);
    const told = find("lesson-unfound");
    told.hidden = most === wanted.length;
    told.textContent = window.spoken(most ? "No entry has all of these words; these have the most." : "No entry has any of these words.");
  });

  // --- the first visit --------------------------------------------------------------------------------

  const STOPS = [
    ["start", "Press Start Training: a small GPT learns on this computer. What it costs stands above the button."],
    ["loss-chart", "The loss falls here while it learns. Lower is better; the dotted lines are milestones."],
    ["sample", "Here the model writes, from noise to words. It is the model you train, no recording."],
    ["Look inside", "Then open it up: attention, predictions, and every part of it, on your own text."],
    ["Learn", "The lessons explain all of it, with buttons that do it for you.", "Open lesson 1"],
  ];
  const target = (name) =>
    find(name) || tabs()[titles.indexOf(name)];
  const card = document.createElement("aside");
  card.id = "tour";
  card.setAttribute("aria-label", window.spoken("A short tour"));
  let pointedAt = null;
  let stopped = ""; // what the card speaks of
  const mark = () => {
    const place = stopped && target(stopped);
    if (pointedAt && pointedAt !== place) delete pointedAt.dataset.did;
    pointedAt = place || null;
    if (pointedAt && !("did" in pointedAt.dataset)) pointedAt.dataset.did = "";
  };
  document.addEventListener("arranged", () => stopped && mark()); // it may have been drawn anew
  const over = () => {
    localStorage.setItem("tour", "seen");
    stopped = "";
    mark();
    card.remove();
  };
  const tour = (stop) => {
    const [name, words, open] = STOPS[stop];
    stopped = name;
    mark();
    card.innerHTML = '<p role="status"></p><div><span class="quiet"></span><button class="link"></button><button></button></div>';
    card.querySelector("p").textContent = window.spoken(words);
    card.querySelector("span").textContent = window.spoken("{stop} of {count}").replace("{stop}", stop + 1).replace("{count}", STOPS.length);
    const [away, next] = card.querySelectorAll("button");
    away.textContent = window.spoken("No tour");
    away.onclick = over;
    next.className = "btn btn-primary btn-sm";
    next.textContent = window.spoken(open || "Next");
    next.onclick = () => {
      if (!open) return tour(stop + 1);
      say("tabs", { active_tab: "Learn" });
      over();
    };
    if (!card.isConnected) document.body.append(card);
  };
  document.addEventListener("click", ({ target }) => { // who does what the card says has read it
    const stop = STOPS.findIndex(([name]) => name === stopped);
    if (stop < 0 || !pointedAt?.matches("button, [role=tab]") || !pointedAt.contains(target)) return;
    if (stop + 1 < STOPS.length) tour(stop + 1);
    else over();
  });
  addEventListener("keydown", (event) => event.key === "Escape" && card.isConnected && over());
  const begin = new MutationObserver(() => {
    if (!find("start")) return;
    begin.disconnect();
    document.body.append(way);
    if (!localStorage.getItem("tour")) tour(0);
  });
  begin.observe(document, { childList: true, subtree: true });
})();
