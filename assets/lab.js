// What the page does without asking the server: the theme, a watchdog, and a keyboard shortcut.

// Dash switches the poll off while one is under way. When an answer is lost (the server was restarted,
// the computer slept) nothing would switch it on again.
(() => {
  const PATIENCE = 3000; // milliseconds
  let lastTick = Date.now();
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.lab = {
    ticked: () => {
      lastTick = Date.now();
      return window.dash_clientside.no_update;
    },
    only_on_runs: (tab) => (tab === "Runs" ? 2000 : 3600000), // milliseconds between two looks at the list
  };
  setInterval(() => {
    if (Date.now() - lastTick > PATIENCE && window.dash_clientside.set_props) {
      lastTick = Date.now();
      window.dash_clientside.set_props("tick", { disabled: false });
      // Those of tabs that have been opened: the others are not made yet.
      for (const [tab, tick] of [[".runs", "runs-tick"], [".pcn", "experiment-tick"]]) {
        if (document.querySelector(tab)) window.dash_clientside.set_props(tick, { disabled: false });
      }
    }
  }, 500);
})();

document.addEventListener("click", (event) => {
  if (!event.target.closest || !event.target.closest("#theme")) return;
  const root = document.documentElement;
  root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.bsTheme);
});

// Ctrl+Enter in the prompt generates, as in a chat.
document.addEventListener("keydown", (event) => {
  const inPrompt = event.target.tagName === "TEXTAREA" && event.target.closest(".generate");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inPrompt) {
    document.getElementById("generate").click();
  }
});

// A file goes to the server as it is; the page hears what became of it.
(() => {
  const send = (file, path, store, line, tooLarge, encoding = "") => {
    const tell = (data) => window.dash_clientside.set_props(store, { data: { ...data, at: Date.now() } });
    const bar = line.firstElementChild;
    const request = new XMLHttpRequest();
    const asked = new URLSearchParams(encoding ? { name: file.name, encoding } : { name: file.name });
    request.open("POST", path + "?" + asked);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      bar.style.width = (100 * event.loaded) / event.total + "%";
    };
    request.onload = () => {
      line.hidden = true;
      const refused = request.status === 413 && `${file.name} is too large: ${tooLarge}`;
      tell(request.response || { error: refused || "The lab did not take the file." });
    };
    request.onerror = () => {
      line.hidden = true;
      tell({ error: `${file.name} could not be sent: is the lab still running?` });
    };
    line.hidden = false;
    bar.style.width = "0";
    request.send(file);
  };
  let unread = null; // the file last chosen, to be sent again once its encoding is known
  const targets = {
    upload: (file, encoding) => {
      unread = file;
      const line = document.getElementById("upload-line");
      send(file, "/upload", "uploaded", line, "a corpus may have 50 MB.", encoding);
    },
    "run-import": (file) =>
      send(file, "/bring-in", "run-imported", document.getElementById("run-import-line"), "a run may have 4 GB."),
  };
  window.dash_clientside.lab.read_as = (clicks, encoding, source) => {
    if (source === "upload" && unread) targets.upload(unread, encoding);
    return window.dash_clientside.no_update;
  };
  document.addEventListener("change", (event) => {
    const target = targets[event.target.id];
    if (!target || !event.target.files.length) return;
    target(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      const place = event.target.closest && event.target.closest("#drop");
      if (!place) return;
      event.preventDefault();
      place.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) targets.upload(event.dataTransfer.files[0]);
    });
  }
})();

// Every chart can be saved as SVG or PNG: two buttons in its corner, shown on hover and on focus.
(() => {
  const save = async (plot, format) => {
    const { data, layout } = plot;
    const title = (layout.title && layout.title.text) || "chart";
    const style = getComputedStyle(document.body);
    const paper = style.getPropertyValue("--card").trim();
    const ink = style.getPropertyValue("--chart-ink").trim();
    const colors = { paper_bgcolor: paper, plot_bgcolor: paper, font: { ...layout.font, color: ink } };
    const { width, height } = plot.getBoundingClientRect();
    const url = await window.Plotly.toImage(
      { data, layout: { ...layout, ...colors } },
      { format, width, height, scale: format === "png" ? 2 : 1 },
    );
    const link = document.createElement("a");
    link.href = url;
    link.download = title.replace(/[^a-z0-9]+/gi, "-").toLowerCase() + "." + format;
    link.click();
  };
  const equip = (graph) => {
    const place = document.createElement("div");
    place.className = "save-chart";
    for (const format of ["svg", "png"]) {
      const button = document.createElement("button");
      button.textContent = format.toUpperCase();
      button.title = `Save this chart as ${format.toUpperCase()}`;
      button.onclick = () => save(graph.querySelector(".js-plotly-plot"), format);
      place.append(button);
    }
    graph.append(place);
  };
  new MutationObserver(() => {
    for (const graph of document.querySelectorAll(".dash-graph:has(.main-svg):not(:has(.save-chart))")) equip(graph);
  }).observe(document, { childList: true, subtree: true });
})();
