// The slider through a model's life: which moment is shown, and playing it.
(() => {
  const idle = () => window.dash_clientside.no_update;
  const icon = (name) => ({
    type: "I",
    namespace: "dash_html_components",
    props: { className: `bi bi-${name}`, "aria-hidden": "true" },
  });
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.moments = {
    // Whoever looks at the newest weights goes on looking at the newest; others stay where they are.
    lived: (life, max, value, at) => {
      const steps = (life && life.steps) || [];
      const last = Math.max(steps.length - 1, 0);
      const same = at && life && at.run === life.run;
      if (!same || at.step === null) return [last, last];
      const place = steps.indexOf(at.step);
      return [last, place < 0 ? Math.min(value, last) : place];
    },
    at: (value, life, before) => {
      const steps = (life && life.steps) || [];
      if (!steps.length) return [{ run: "", step: null }, (life && life.problem) || ""];
      const place = Math.min(value, steps.length - 1);
      const newest = place === steps.length - 1;
      const fresh = { run: life.run, step: newest ? null : steps[place], newest: newest ? steps[place] : null };
      const words = `${life.run}, ${newest ? "newest, " : ""}after step ${steps[place].toLocaleString("en")}`;
      return [JSON.stringify(fresh) === JSON.stringify(before) ? idle() : fresh, words];
    },
    play: (pressed, tick, resting, value, max) => {
      const byButton = window.dash_clientside.callback_context.triggered[0].prop_id.startsWith("play.");
      if (byButton && !resting) return [true, icon("play-fill"), idle()];
      if (byButton) return [false, icon("pause-fill"), value >= max ? 0 : value];
      if (value >= max) return [true, icon("play-fill"), idle()];
      return [idle(), idle(), value + 1];
    },
  };
})();
