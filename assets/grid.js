// What the list of runs needs in the browser: a drawing of each loss curve, and numbers as people read them.

window.dashAgGridComponentFunctions = {
  ...window.dashAgGridComponentFunctions,
  // A line through up to 32 losses; it falls when the model learns.
  Spark: ({ value }) => {
    const h = window.React.createElement;
    if (!value || value.length < 2) return h("span", { className: "quiet" }, "–");
    const [width, height] = [84, 20];
    const low = Math.min(...value);
    const span = Math.max(...value) - low || 1;
    const points = value
      .map((loss, i) => `${(i * width) / (value.length - 1)},${1 + (height - 2) * (1 - (loss - low) / span)}`)
      .join(" ");
    const label = `Loss from ${value[0].toFixed(2)} to ${value[value.length - 1].toFixed(2)}`;
    const line = h("polyline", { points, fill: "none", stroke: "currentColor", strokeWidth: 1.5 });
    return h("svg", { width, height, role: "img", "aria-label": label, className: "spark" }, line);
  },
};

// Beside its name a run has the colour of its curve while it is compared with others.
(() => {
  let colors = {}; // by run
  window.dashAgGridComponentFunctions.RunName = ({ value, data }) => {
    const h = window.React.createElement;
    const color = colors[data.id];
    const held = data.holds && h("span", { className: "quiet" }, ` (${data.holds})`);
    return h("span", null, color && h("span", { className: "chip", style: { background: color } }), value, held);
  };
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.runs = {
    chips: (fresh) => {
      colors = fresh || {};
      const redraw = (grid) => grid.refreshCells({ columns: ["name"], force: true });
      window.dash_ag_grid.getApiAsync("runs").then(redraw);
      return window.dash_clientside.no_update;
    },
  };
})();

window.dashAgGridFunctions = {
  ...window.dashAgGridFunctions,
  pinnedFirst: ({ nodes }) => {
    const pinned = nodes.filter((node) => node.data.pinned);
    const others = nodes.filter((node) => !node.data.pinned);
    nodes.splice(0, nodes.length, ...pinned, ...others);
  },
  loss: (value) => (value == null ? "–" : value.toFixed(3)),
  count: (value) => (value == null ? "–" : value.toLocaleString("en")),
  compact: (value) =>
    value == null ? "–" : new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value),
  clock: (seconds) => {
    const whole = Math.round(seconds || 0);
    const two = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  },
  day: (stamp) => new Date(1000 * stamp).toLocaleString("sv").slice(0, 16),
};
