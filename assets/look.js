// Look inside: tokens linked with the picture of a head, both ways, and the slow motion through the blocks.
(() => {
  const DRAWN = 6; // lines from a token, and to it
  const FAINT = 200; // hundredths of a percent, below which no line is drawn
  const SETTLED = 120; // milliseconds a token is chosen before the page follows
  const SVG = "http://www.w3.org/2000/svg";
  const idle = () => window.dash_clientside.no_update;
  const find = (id) => document.getElementById(id);
  const quiet = matchMedia("(prefers-reduced-motion: reduce)");
  const say = (id, props) => window.dash_clientside.set_props(id, props);

  let links = null; // who looks at whom in the head that is enlarged
  let chosen = null; // the token that was clicked or reached by keys
  let pointed = null; // the token under the pointer, or the cell of the picture
  let waiting = 0;

  const tokens = () => [...document.querySelectorAll("#look-tokens [data-place]")];
  const place = (token) => Number(token.dataset.place);
  const shown = () => find("head-chart")?.offsetParent && links;
  // What is looked at: under the pointer, or chosen, or the last.
  const current = (count) => {
    const at = pointed ? pointed.query : chosen;
    return at === null || at >= count ? count - 1 : at;
  };

  // --- lines over the text ------------------------------------------------------------------------

  const middle = (token, box) => {
    const rect = token.getBoundingClientRect();
    return { x: rect.left + rect.width / 2 - box.left, y: rect.top - box.top, height: rect.height };
  };

  const line = (svg, from, to, share, kind) => {
    const path = document.createElementNS(SVG, "path");
    const [top, rise] = [Math.min(from.y, to.y), 8 + Math.min(26, Math.abs(from.x - to.x) / 5)];
    path.setAttribute("d", `M${from.x},${from.y} C${from.x},${top - rise} ${to.x},${top - rise} ${to.x},${to.y}`);
    path.setAttribute("class", kind);
    path.style.strokeWidth = 1 + (4 * share) / 10000;
    path.style.opacity = 0.35 + (0.65 * share) / 10000;
    svg.append(path);
  };

  const around = (at) => ({
    sources: links.sources[at].map((other, i) => [other, links.given[at][i]]),
    lookers: links.lookers[at].map((other, i) => [other, links.taken[at][i]]),
  });

  const draw = () => {
    const board = find("look-lines");
    if (!board) return;
    board.replaceChildren();
    const all = tokens();
    for (const token of all) token.classList.remove("source", "looker", "at", "pointed");
    if (!shown() || !all.length || all.length !== links.pieces.length) return;
    const at = current(all.length);
    const strip = board.parentElement;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("width", strip.scrollWidth);
    svg.setAttribute("height", strip.scrollHeight);
    svg.setAttribute("aria-hidden", "true");
    board.append(svg);
    const box = board.getBoundingClientRect();
    const { sources, lookers } = around(at);
    const from = middle(all[at], box);
    all[at].classList.add("at");
    all[pointed?.source]?.classList.add("pointed");
    for (const [other, share] of lookers.slice(0, DRAWN)) {
      if (other === at || share < FAINT) continue;
      line(svg, middle(all[other], box), from, share, "looks-here");
      all[other].classList.add("looker");
    }
    for (const [other, share] of sources.slice(0, DRAWN)) {
      if (other === at || share < FAINT) continue;
      line(svg, from, middle(all[other], box), share, "looks-there");
      all[other].classList.add("source");
    }
  };

  // --- the same in words --------------------------------------------------------------------------

  const name = (at) => `“${links.pieces[at]}” (${at + 1})`;
  const percent = (share) => `${(share / 100).toFixed(share < 1000 ? 1 : 0)}\u00a0%`;
  const listed = (others) =>
    others.filter(([, share]) => share > 0).slice(0, 4).map(([other, share]) => `${name(other)} ${percent(share)}`).join(", ");

  const tell = () => {
    const caption = find("look-caption");
    if (!caption) return;
    const all = tokens();
    const at = current(all.length);
    if (!shown() || all.length !== links.pieces.length) {
      const piece = all[at]?.textContent;
      caption.textContent = piece ? `Chosen: “${piece}” (${at + 1}). Arrow keys or a click choose another.` : "";
      return;
    }
    const { sources, lookers } = around(at);
    let words = "";
    if (pointed && pointed.source !== undefined) {
      const many = links.pieces.length > links.cells; // then a cell holds several tokens
      if (!many) words = `${name(at)} gives ${percent(10000 * pointed.share)} to ${name(pointed.source)}. `;
    }
    const back = lookers.filter(([other]) => other !== at);
    caption.textContent =
      `${words}In ${links.name}, ${name(at)} attends to ${listed(sources)}. ` +
      (back.some(([, share]) => share > 0) ? `It is attended to by ${listed(back)}.` : "No later token attends to it.");
  };

  // --- the same in the picture --------------------------------------------------------------------

  const mark = () => {
    const plot = find("head-chart")?.querySelector(".js-plotly-plot");
    if (!plot || !plot.layout || !window.Plotly) return;
    const shapes = [];
    if (shown() && links.pieces.length) {
      const last = links.pieces.length + 0.5; // along the axes, tokens are counted from 1
      const at = current(links.pieces.length) + 1;
      const style = { type: "rect", line: { color: "#f59322", width: 1.5 } };
      shapes.push({ ...style, x0: 0.5, x1: at + 0.5, y0: at - 0.5, y1: at + 0.5 });
      shapes.push({ ...style, x0: at - 0.5, x1: at + 0.5, y0: at - 0.5, y1: last, line: { ...style.line, dash: "dot" } });
    }
    if (JSON.stringify(plot.layout.shapes || []) !== JSON.stringify(shapes)) window.Plotly.relayout(plot, { shapes });
  };

  const refresh = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      draw();
      tell();
      mark();
    });
  };

  // --- pointing and choosing ----------------------------------------------------------------------

  // One token can be reached with Tab, the others with the arrow keys.
  const rove = () => {
    const all = tokens();
    const at = chosen !== null && chosen < all.length ? chosen : all.length - 1;
    all.forEach((token, i) => {
      token.tabIndex = i === at ? 0 : -1;
      token.setAttribute("aria-selected", i === at);
    });
    const lens = find("lens-chart"); // which may be wider than its box
    if (lens?.offsetParent && all.length) {
      const box = lens.parentElement;
      box.scrollLeft = (lens.scrollWidth * at) / all.length - box.clientWidth / 2;
    }
  };

  let settling = 0;
  const choose = (at) => {
    chosen = at;
    rove();
    refresh();
    clearTimeout(settling);
    settling = setTimeout(() => say("look-place", { data: { place: at } }), SETTLED);
  };

  const token = (event) => event.target.closest && event.target.closest("#look-tokens [data-place]");
  document.addEventListener("mouseover", (event) => {
    const found = token(event);
    if (!found && !pointed) return;
    if (!found && pointed.source !== undefined) return;
    pointed = found ? { query: place(found) } : null;
    refresh();
  });
  document.addEventListener("click", (event) => {
    const found = token(event);
    if (found) found.focus();
  });
  document.addEventListener("focusin", (event) => {
    const found = token(event);
    if (found && place(found) !== chosen) choose(place(found));
  });

  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  // To the token above or below, as in any text.
  const beside = (all, from, direction) => {
    const { left, top } = all[from].getBoundingClientRect();
    const rows = all.map((each, i) => [i, each.getBoundingClientRect()]);
    const others = rows.filter(([, rect]) => direction * (rect.top - top) > 4);
    if (!others.length) return from;
    const nearest = direction * Math.min(...others.map(([, rect]) => direction * rect.top));
    const row = others.filter(([, rect]) => Math.abs(rect.top - nearest) < 4);
    return row.reduce((a, b) => (Math.abs(b[1].left - left) < Math.abs(a[1].left - left) ? b : a))[0];
  };
  document.addEventListener("keydown", (event) => {
    const found = token(event);
    if (found) {
      const all = tokens();
      const from = place(found);
      let to = null;
      if (event.key in steps) to = Math.max(0, Math.min(all.length - 1, from + steps[event.key]));
      if (event.key === "ArrowUp") to = beside(all, from, -1);
      if (event.key === "ArrowDown") to = beside(all, from, 1);
      if (to === null) return;
      event.preventDefault();
      pointed = null;
      all[to].focus();
      return;
    }
    const stage = event.target.closest && event.target.closest("#stepper");
    const button = { ArrowLeft: "stage-back", ArrowRight: "stage-next" }[event.key];
    if (stage && button && !find(button).disabled) {
      event.preventDefault();
      find(button).click();
    }
  });
  window.addEventListener("resize", refresh);

  // A block of the drawing opens its part; whoever came by keyboard goes on at the tab that opened.
  document.addEventListener("click", (event) => {
    const block = event.target.closest && event.target.closest(".flow-block");
    if (!block) return;
    const { tab, layer, part } = block.dataset;
    say("block", { data: { index: Number(part) } });
    if (layer && tab === "Attention") say("look-layer", { value: layer });
    say("look-tabs", { active_tab: tab });
    let tries = 100;
    const follow = () => {
      const active = document.querySelector("#look-tabs > .nav-item > .nav-link.active");
      if (active?.textContent !== tab && tries--) return void setTimeout(follow, 20);
      active?.focus();
    };
    follow();
  });

  // Charts with colours of their own are drawn anew in the other theme.
  new MutationObserver(() => {
    // The tab is made when it is first opened; it asks for the theme then.
    if (document.querySelector(".look")) say("look-theme", { data: document.documentElement.dataset.bsTheme });
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });

  const icon = (name, words) => [
    { type: "I", namespace: "dash_html_components", props: { className: `bi bi-${name}`, "aria-hidden": "true" } },
    ` ${words}`,
  ];

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.look = {
    theme: (tab, known) => {
      const now = document.documentElement.dataset.bsTheme;
      return now === known ? idle() : now;
    },
    linked: (fresh, drawn, at) => {
      links = fresh || null;
      chosen = at && Number.isInteger(at.place) ? at.place : chosen;
      pointed = null;
      setTimeout(() => {
        rove();
        refresh();
      }, 60); // once the tokens stand where they will
      return idle();
    },
    hovered: (hover) => {
      const point = hover && hover.points && hover.points[0];
      if (point && links) {
        pointed = { query: Math.floor(point.y) - 1, source: Math.floor(point.x) - 1, share: point.z };
      } else {
        pointed = null;
      }
      refresh();
      return idle();
    },
    // A press plays or rests; where motion is unwelcome, each press goes one block on.
    slow: (pressed, tick, sub, tab, resting, at, known) => {
      const count = (known && known.count) || 1;
      const now = (at && at.index) || 0;
      const next = { index: now + 1 < count ? now + 1 : 0 };
      const by = window.dash_clientside.callback_context.triggered[0].prop_id;
      setTimeout(() => {
        const [box, button] = [find("blocks"), document.querySelector('.block-button[aria-current="true"]')];
        if (button) box.scrollTop = button.offsetTop - box.offsetTop - box.clientHeight / 2;
      }, 400);
      const rest = icon("play-fill", "Slow motion");
      if (by.startsWith("slow-motion.") && quiet.matches) return [true, icon("skip-end-fill", "Next block"), next];
      if (by.startsWith("slow-motion.") && resting) {
        return [false, icon("pause-fill", "Pause"), now + 1 < count ? idle() : { index: 1 }];
      }
      if (by.startsWith("slow-tick.") && !resting && now + 1 < count) return [idle(), idle(), next];
      return [true, rest, idle()];
    },
  };
})();
