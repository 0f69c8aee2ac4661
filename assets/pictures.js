// Charts leave the page. Every one as SVG or PNG: two buttons in its corner, shown on hover and on focus.
(() => {
  const house = () => {
    const style = getComputedStyle(document.body);
    const paper = style.getPropertyValue("--card").trim();
    const ink = style.getPropertyValue("--chart-ink").trim();
    const ground = { paper_bgcolor: paper, plot_bgcolor: paper };
    return { paper, ink, colors: (layout) => ({ ...ground, font: { ...layout.font, color: ink } }) };
  };
  const give = (url, name) => {
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    link.click();
  };
  const save = async (plot, format) => {
    const { data, layout } = plot;
    const title = (layout.title && layout.title.text) || "chart";
    const { colors } = house();
    const { width, height } = plot.getBoundingClientRect();
    const url = await window.Plotly.toImage(
      { data, layout: { ...layout, ...colors(layout) } },
      { format, width, height, scale: format === "png" ? 2 : 1 },
    );
    give(url, title.replace(/[^a-z0-9]+/gi, "-").toLowerCase() + "." + format);
  };
  // All charts of a comparison on one sheet, two side by side, below its title and its verdict.
  const [WIDTH, MARGIN, GAP, LINE, LETTERS] = [560, 24, 20, 18, 150]; // pixels, and letters of a line
  const escaped = (words) => words.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
  const wrapped = (words) =>
    words.split(" ").reduce((lines, word) => {
      const last = lines[lines.length - 1];
      return last.length + word.length < LETTERS ? [...lines.slice(0, -1), `${last} ${word}`] : [...lines, word];
    }, [""]);
  const sheet = async ({ title, said, figures }) => {
    const { paper, ink, colors } = house();
    const font = `font-family="sans-serif" fill="${ink}"`;
    const lines = wrapped(said).map((line) => escaped(line.trim()));
    const words = [
      `<text x="${MARGIN}" y="${MARGIN + LINE}" font-size="20" font-weight="600" ${font}>${escaped(title)}</text>`,
      ...lines.map((line, i) => `<text x="${MARGIN}" y="${MARGIN + (i + 3) * LINE}" font-size="13" ${font}>${line}</text>`),
    ];
    const ends = Array(2).fill(MARGIN + (lines.length + 4) * LINE); // how far each column is filled
    const charts = [];
    for (const { data, layout } of figures) {
      const [column, height] = [ends[0] <= ends[1] ? 0 : 1, layout.height];
      const whole = { data, layout: { ...layout, ...colors(layout) } };
      const made = await window.Plotly.toImage(whole, { format: "svg", width: WIDTH, height, imageDataOnly: true });
      charts.push(made.replace("<svg ", `<svg x="${MARGIN + column * (WIDTH + GAP)}" y="${ends[column]}" `));
      ends[column] += height + GAP;
    }
    const [width, height] = [2 * (WIDTH + MARGIN) + GAP, Math.max(...ends) + MARGIN];
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const ground = `<rect width="${width}" height="${height}" fill="${paper}"/>`;
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${ground}${words.join("")}${charts.join("")}</svg>`;
    return { url: "data:image/svg+xml," + encodeURIComponent(svg), width, height };
  };
  const painted = async ({ url, width, height }) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
    return canvas.toDataURL("image/png");
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest(".save-sheet");
    if (!button || button.disabled) return;
    const { charts, form, name } = button.dataset;
    button.disabled = true; // until it is saved
    try {
      const answer = await fetch(charts);
      if (!answer.ok) return;
      const made = await sheet(await answer.json());
      give(form === "png" ? await painted(made) : made.url, `${name}.${form}`);
    } finally {
      button.disabled = false;
    }
  });
  const equip = (graph) => {
    const place = document.createElement("div");
    place.className = "save-chart";
    for (const format of ["svg", "png"]) {
      const button = document.createElement("button");
      button.textContent = format.toUpperCase();
      button.title = `Save this chart as ${format.toUpperCase()}`;
      button.onclick = () => {
        const plot = graph.querySelector(".js-plotly-plot");
        if (plot && plot.layout) save(plot, format);
      };
      place.append(button);
    }
    graph.append(place);
  };
  document.addEventListener("arranged", () => {
    for (const graph of document.querySelectorAll(".dash-graph:not(:has(.save-chart))")) equip(graph);
  });
})();
