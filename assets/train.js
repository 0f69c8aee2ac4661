// Train: smoothing of the loss, and two runs chosen in the list of Runs, which is made when its tab is opened.
(() => {
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const [PATIENCE, SETTLED] = [30000, 100]; // milliseconds
  const until = async (find) => {
    for (const begun = performance.now(); performance.now() - begun < PATIENCE; await pause(50)) {
      const found = find();
      if (found) return found;
    }
  };

  const choose = async (runs) => {
    say("tabs", { active_tab: "Runs" });
    if (!(await until(() => document.querySelector("#runs .ag-root")))) return;
    const grid = await window.dash_ag_grid.getApiAsync("runs");
    const row = (id) => grid.getRowNode(id);
    await until(() => row(runs[1])); // the list has been filled
    if (!row(runs[0])) say("runs-fold", { value: false }); // it stands in the row of a comparison
    await until(() => runs.every(row));
    // When rows have come, the grid chooses again, a moment later, what it knew as chosen before: nothing.
    for (let tries = 0; tries < 20; tries++) {
      grid.deselectAll();
      for (const id of runs) row(id)?.setSelected(true);
      await pause(SETTLED);
      if (runs.every((id) => row(id)?.isSelected())) break;
    }
    const card = document.getElementById("overlay-card");
    if (await until(() => card.getClientRects().length)) card.scrollIntoView({ block: "nearest" });
  };

  // --- smoothing -------------------------------------------------------------------------------------

  const [RAW, SMOOTHED] = [0, 2]; // lines of the loss chart
  const REACH = { light: 4, strong: 16 }; // of the mean, in mean distances between two points
  const FAINT = 0.3;
  let kind = "off";

  // A mean whose weights fall off with the steps that lie between, over the points up to each.
  const trailing = (x, y, reach) => {
    let [sum, weight] = [0, 0];
    return y.map((value, i) => {
      const apart = Math.abs(x[i] - x[i ? i - 1 : 1]);
      const kept = Math.exp(-apart / reach);
      sum = kept * sum + apart * value;
      weight = kept * weight + apart;
      return sum / weight;
    });
  };
  const smoothed = (x, y, reaches) => {
    const reach = (reaches * (x.at(-1) - x[0])) / (x.length - 1);
    const before = trailing(x, y, reach);
    const after = trailing([...x].reverse(), [...y].reverse(), reach).reverse();
    return before.map((value, i) => (value + after[i]) / 2);
  };
  const draw = (plot) => {
    const [raw, line] = [plot.data[RAW], plot.data[SMOOTHED]];
    if (!line) return;
    const wanted = REACH[kind] && raw.x.length > 2;
    const length = wanted ? raw.x.length : 0;
    const state = `${kind} ${raw.x[0]} ${raw.x.at(-1)}`;
    if (line.x.length === length && (!wanted || plot.smoothed === state)) return;
    plot.smoothed = state;
    const [x, y] = wanted ? [[...raw.x], smoothed(raw.x, raw.y, REACH[kind])] : [[], []];
    const lines = { x: [raw.x, x], y: [raw.y, y], opacity: [wanted ? FAINT : 1, 1] };
    window.Plotly.restyle(plot, lines, [RAW, SMOOTHED]);
  };
  const smooth = async () => {
    const plot = await until(() => document.querySelector("#loss-chart .js-plotly-plot"));
    if (!(await until(() => plot?.on && plot.data))) return;
    if (!plot.watched) plot.on("plotly_afterplot", () => draw(plot));
    plot.watched = true;
    draw(plot);
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.train = {
    smooth: (chosen) => {
      kind = chosen;
      smooth();
      return window.dash_clientside.no_update;
    },
    compare: (pressed, run, before) => {
      if (pressed && run && before) choose([run, before]);
      return window.dash_clientside.no_update;
    },
  };
})();
