// Train: two runs chosen in the list of Runs, which is made when its tab is opened.
(() => {
  const say = (id, props) => window.dash_clientside.set_props(id, props);
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const PATIENCE = 30000; // milliseconds
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
    grid.deselectAll();
    for (const id of runs) row(id)?.setSelected(true);
    const card = document.getElementById("overlay-card");
    if (await until(() => card.getClientRects().length)) card.scrollIntoView({ block: "nearest" });
  };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.train = {
    compare: (pressed, run, before) => {
      if (pressed && run && before) choose([run, before]);
      return window.dash_clientside.no_update;
    },
  };
})();
