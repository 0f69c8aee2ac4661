// The slider through a model's checkpoints: which moment is shown, and playing it.
(() => {
  const idle = () => window.dash_clientside.no_update;
  const icon = (name) => ({
    type: "I",
    namespace: "dash_html_components",
    props: { className: `bi bi-${name}`, "aria-hidden": "true" },
  });
  // In Generate the next checkpoint waits until this one has written its text.
  const waits = (tab, at, writing, written, done) => {
    if (tab !== "Generate" || !at || !at.run) return false;
    const mine = writing && writing.at && writing.at.run === at.run && writing.at.step === at.step;
    const read = written && written["0"] && mine && written["0"].id === writing.shown[0];
    return !(read && done);
  };
  let reached = null; // the goal of an address to which the slider has been moved
  // Keys pressed on the slider after another model was chosen and before its checkpoints are known are meant for those.
  let meant = [];
  const MOVES = { Home: -Infinity, End: Infinity, ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 };
  const moved = (last) => (meant || []).reduce((place, key) => Math.max(0, Math.min(last, place + MOVES[key])), last);
  document.addEventListener("change", ({ target }) => target.id === "writer" && (meant = []));
  document.addEventListener("keydown", ({ target, key }) => {
    if (meant && key in MOVES && target.closest?.("#moment")) meant.push(key);
  }, true);
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.moments = {
    // An answer about a model that is no longer chosen is dropped.
    still_chosen: (found, name) => (found && found.asked === name ? found : idle()),
    // Whoever looks at the newest weights goes on looking at the newest; others stay where they are.
    // The checkpoint that an address names is gone to once, when those of its run are known.
    listed: (found, goal, max, value, at) => {
      const steps = (found && found.steps) || [];
      const last = Math.max(steps.length - 1, 0);
      const first = moved(last); // where the slider of another model begins
      if (found && found.asked === document.getElementById("writer")?.value) meant = null;
      if (goal && goal !== reached && steps.length && (!goal.run || goal.run === found.run)) {
        reached = goal;
        const place = steps.indexOf(goal.step);
        return [last, place < 0 ? last : place];
      }
      const same = at && found && at.run === found.run;
      if (!same) return [last, first];
      if (at.step === null) return [last, last];
      const place = steps.indexOf(at.step);
      return [last, place < 0 ? Math.min(value, last) : place];
    },
    at: (value, found, before) => {
      const steps = (found && found.steps) || [];
      if (!steps.length) return [{ run: "", step: null }, (found && found.problem) || ""];
      const place = Math.min(value, steps.length - 1);
      const newest = place === steps.length - 1;
      const fresh = { run: found.run, step: newest ? null : steps[place], newest: newest ? steps[place] : null };
      const words = `${found.run}, ${newest ? "newest, " : ""}after step ${steps[place].toLocaleString("en")}`;
      return [JSON.stringify(fresh) === JSON.stringify(before) ? idle() : fresh, words];
    },
    play: (pressed, tick, resting, value, max, tab, at, writing, written, done) => {
      const byButton = window.dash_clientside.callback_context.triggered[0].prop_id.startsWith("play.");
      if (byButton && !resting) return [true, icon("play-fill"), idle()];
      if (byButton) return [false, icon("pause-fill"), value >= max ? 0 : value];
      if (tab === "Generate" && writing && writing.failed) return [true, icon("play-fill"), idle()];
      if (waits(tab, at, writing, written, done)) return [idle(), idle(), idle()];
      if (value >= max) return [true, icon("play-fill"), idle()];
      return [idle(), idle(), value + 1];
    },
  };
})();

// Tokens of a written text: click one, or move with the arrow keys, to see what else could have come.
(() => {
  const pick = (token) => {
    for (const other of document.querySelectorAll(".tok[aria-current]")) other.removeAttribute("aria-current");
    token.setAttribute("aria-current", "true");
    const { writing, place } = token.dataset;
    window.dash_clientside.set_props("picked", { data: { writing, place } });
  };
  const tokenOf = (event) => event.target.closest && event.target.closest(".tok[data-place]");
  document.addEventListener("click", (event) => {
    const token = tokenOf(event);
    if (token) pick(token);
  });
  document.addEventListener("keydown", (event) => {
    const token = tokenOf(event);
    if (!token) return;
    const step = { ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10 }[event.key];
    if (step === undefined && event.key !== "Enter") return;
    event.preventDefault();
    const tokens = [...token.parentElement.querySelectorAll(".tok")];
    const place = Math.min(Math.max(tokens.indexOf(token) + (step || 0), 0), tokens.length - 1);
    tokens[place].focus();
    pick(tokens[place]);
  });
})();
