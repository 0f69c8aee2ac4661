// What the page does without asking the server: what becomes of its requests, the theme, files and charts.

// Dash never applies the end of a callback whose answer is lost: its poll and its buttons would stay off for
// ever, and a refusal would show nowhere. So what failed is told here, and is "nothing new" (204) to Dash.
// A poll that failed is answered late, and later each time, for the next one starts when it is answered.
// What a tab asks for when it is opened is asked again until it comes, or the tab would stay blank.
(() => {
  const HUNG = 120000; // milliseconds after which a poll is given up
  const [SOON, LATE] = [1000, 15000]; // how long a failed poll rests
  const GONE = "The lab does not answer: is it still running? The page goes on when it is back.";
  const AWAY = [502, 503, 504]; // said by a proxy that does not reach the lab
  const limits = JSON.parse(document.querySelector("meta[name=limits]").content);
  const config = () => JSON.parse(document.getElementById("_dash-config").textContent);
  const ask = window.fetch.bind(window);
  let told = ""; // "poll" or "action": what failed with the words that are shown
  let rest = SOON;
  let acting = 0; // requests under way that are no polls
  let following = false; // a poll for a newer moment of the model waits for them

  const tell = (kind, words) => {
    told = words ? kind : "";
    document.getElementById("refusal").textContent = words;
  };
  // The lab gives its reasons as {"error": sentence}; what stands between may answer with a page.
  const reason = (text, status, path) => {
    try {
      const { error } = JSON.parse(text);
      if (error) return error;
    } catch {}
    if (status === 413) return `This is too large for what stands between this page and the lab. ${limits[path].wayOut}`;
    return `The lab's answer was ${status}: reload the page, and look at what the lab prints if it happens again.`;
  };
  const tooLong = (path, size) => {
    const { most, wayOut } = limits[path];
    const mega = (bytes, digits) => (bytes / 1e6).toLocaleString("en", { maximumFractionDigits: digits });
    return size > most && `This has ${mega(size, 1)} MB; at most ${mega(most, 0)} MB fit. ${wayOut}`;
  };
  const nothing = () => new Response(null, { status: 204 });
  const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

  // A newer moment is not asked for while what is shown of the last one is still being computed.
  const settled = async () => {
    if (following) return false;
    following = true;
    while (acting) await pause(50);
    following = false;
    return true;
  };

  // What a tab shows is asked for when it is opened, and not while another one is.
  const owners = JSON.parse(document.querySelector("meta[name=owners]").content);
  const unseen = (body) => {
    if (!/"changedPropIds":\[(?:"(?:tabs\.active_tab|refresh\.data)",?)*\]/.test(body)) return false;
    const { output, inputs } = JSON.parse(body);
    const owner = owners[output.replace(/^\.\./, "").split("...")[0].replace(/\.\.$/, "")];
    return Boolean(owner) && owner !== inputs.flat().find(({ id }) => id === "tabs").value;
  };

  // Dash drops the answer to a request when the same callback is asked again meanwhile, be it only by a clock: what a
  // slow lab answers would never be shown. So a clock that comes while an answer is on its way gets that answer. And
  // where a callback fills parts by a pattern, Dash does not drop it: an answer that a newer request has overtaken would
  // be shown last. So it is "nothing new".
  const newest = new Map(); // the request that was sent last, by the callback's output
  const byClock = (body) => /"changedPropIds":\["[^"]*\.n_intervals"(?:,"[^"]*\.n_intervals")*\]/.test(body);
  const once = async (address, options) => {
    if (unseen(options.body)) return nothing();
    const { output } = JSON.parse(options.body);
    const last = newest.get(output);
    const request = byClock(options.body) && last?.answer ? last : { answer: callback(address, options) };
    newest.set(output, request);
    try {
      const answer = await request.answer;
      return newest.get(output) === request ? answer.clone() : nothing();
    } finally {
      request.answer = null; // it is not on its way any more
    }
  };

  const callback = async (address, options) => {
    if (/"changedPropIds":\["moment-tick\.n_intervals"\]/.test(options.body)) {
      return (await settled()) ? answer(address, options) : nothing();
    }
    const polls = /"changedPropIds":\[[^\]]*\.n_intervals"/.test(options.body);
    if (polls) return answer(address, options);
    acting++;
    try {
      return await answer(address, options);
    } finally {
      acting--;
    }
  };
  // A panel is made of new elements even when what it is to show is what it shows: what has the focus in it, or is just
  // being pressed, would be gone. So what is the same is taken out of the answer.
  const shows = (id, children) => {
    if (!document.getElementById(id)) return false;
    const shown = window.dash_component_api.getLayout(id.startsWith("{") ? JSON.parse(id) : id);
    return shown && JSON.stringify(shown.props.children) === JSON.stringify(children);
  };
  const fresh = (text) => {
    if (!text.includes('"children"')) return text;
    const said = JSON.parse(text);
    let same = 0;
    for (const [id, props] of Object.entries(said.response || {})) {
      if (typeof props?.children !== "object" || !props.children || !shows(id, props.children)) continue;
      delete props.children;
      same++;
    }
    return same ? JSON.stringify(said) : text;
  };

  const answer = async (address, options) => {
    const size = new Blob([options.body]).size;
    const poll = /"changedPropIds":\[[^\]]*\.n_intervals"/.test(options.body);
    const kind = poll ? "poll" : "action";
    const opened = /"changedPropIds":\[("[^"]*\.active_tab",?)*\]/.test(options.body);
    const path = "/_dash-update-component";
    const refused = tooLong(path, size);
    if (refused) {
      tell(kind, refused);
      return nothing();
    }
    try {
      const came = await ask(address, poll ? { ...options, signal: AbortSignal.timeout(HUNG) } : options);
      if (AWAY.includes(came.status)) throw new Error("away");
      const text = await came.text(); // which may be cut off, too
      if (came.ok) {
        rest = SOON;
        if (kind === told || told === "poll") tell(kind, "");
        return new Response(came.status === 204 ? null : fresh(text), came);
      }
      tell(kind, reason(text, came.status, path));
    } catch {
      tell("poll", GONE); // until any request is answered
      if (opened) {
        await pause(SOON);
        return answer(address, options);
      }
    }
    if (poll) {
      await pause(rest);
      rest = Math.min(2 * rest, LATE);
    }
    return nothing();
  };
  // What the page is to show, and the language that was chosen before where the address names none.
  const asked = () => {
    const chosen = document.documentElement.lang;
    if (chosen === "en" || new URLSearchParams(location.search).has("lang")) return location.search;
    return `${location.search || "?"}&lang=${chosen}`;
  };
  const opening = async (address, options) => {
    try {
      const came = await ask(address, options);
      if (!came.ok) tell("opening", reason(await came.clone().text(), came.status, "/_dash-update-component"));
      return came;
    } catch (lost) {
      tell("opening", GONE);
      throw lost;
    }
  };
  window.fetch = (address, options) => {
    const path = typeof address === "string" ? new URL(address, location.href).pathname : "";
    if (path.endsWith("/_dash-update-component")) return once(address, options);
    if (path.endsWith("/_dash-layout")) return opening(address + asked(), options); // ui/address.py reads it
    return path.endsWith("/_dash-dependencies") ? opening(address, options) : ask(address, options);
  };

  // A file or a pasted text goes to the server as it is; the page hears what became of it.
  const send = (data, name, { path, source, encoding, base, store, message, line }) => {
    const set = window.dash_clientside.set_props;
    const over = (answer) => {
      line.hidden = true;
      set(store, { data: { ...answer, at: Date.now() } });
    };
    set(message, { children: "" }); // what an earlier one said
    const refused = tooLong(path, data.size);
    if (refused) return over({ error: `${name}: ${refused}` });
    const request = new XMLHttpRequest();
    const query = new URLSearchParams({ name, ...(source && { source }), ...(encoding && { encoding }), ...(base && { base }) });
    request.open("POST", config().requests_pathname_prefix + path.slice(1) + "?" + query);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      line.firstElementChild.style.width = (100 * event.loaded) / event.total + "%";
    };
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {}
      if (request.status !== 200) answer = { ...answer, error: reason(request.responseText, request.status, path) };
      over(answer);
    };
    request.onerror = () => over({ error: `${name} could not be sent: is the lab still running?` });
    line.hidden = false;
    line.firstElementChild.style.width = "0";
    request.send(data);
  };
  const text = (data, name, source, encoding) =>
    send(data, name, {
      path: "/upload",
      source,
      encoding,
      store: "uploaded",
      message: "text-message",
      line: document.getElementById("upload-line"),
    });
  const run = (data, name) =>
    send(data, name, {
      path: "/bring-in",
      store: "run-imported",
      message: "runs-message",
      line: document.getElementById("run-import-line"),
    });
  const base = (data, name) =>
    send(data, name, {
      path: "/bring-in",
      base: document.getElementById("finetune-base").value, // of an adapter
      store: "base-imported",
      message: "base-message",
      line: document.getElementById("base-import-line"),
    });
  let unread = null; // the file last chosen, to be sent again once its encoding is known
  const targets = {
    upload: (file, encoding) => {
      unread = file;
      text(file, file.name, "uploaded", encoding);
    },
    "run-import": (file) => run(file, file.name),
    "base-import": (file) => base(file, file.name),
  };
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.lab = {
    acting: () => acting,
    only_on_runs: (tab) => (tab === "Runs" ? 2000 : 3600000), // milliseconds between two looks at the list
    read_as: (clicks, encoding, source) => {
      if (source === "upload" && unread) targets.upload(unread, encoding);
      return window.dash_clientside.no_update;
    },
  };
  document.addEventListener("change", (event) => {
    const target = targets[event.target.id];
    if (!target || !event.target.files.length) return;
    target(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest || !event.target.closest("#paste")) return;
    const [pasted, name] = ["paste-text", "paste-name"].map((id) => document.getElementById(id).value);
    text(new Blob([pasted]), name.trim() || "Pasted text", "pasted");
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

// Some parts of the page (tables, formulas) are scripts that the browser asks for when the first of them is shown.
// If one fails to load, those parts would stay empty for good. So it is requested again, and the failure is kept from
// the loader, which gives up by itself after WAITS: from then on only a reload of the page helps, and the page says so.
(() => {
  const [AGAIN, WAITS] = [1000, 120000]; // milliseconds
  const LOST = "A part of the page could not be loaded: reload the page. What trains goes on.";
  const begun = new Map(); // when a script failed for the first time, by its address

  const failed = (event) => {
    const { src } = event.target;
    if (event.target.tagName !== "SCRIPT" || !src.includes("/_dash-component-suites/")) return;
    event.stopImmediatePropagation();
    if (!begun.has(src)) begun.set(src, Date.now());
    if (Date.now() - begun.get(src) > WAITS) {
      window.dash_clientside.set_props("trouble", { children: LOST });
      return;
    }
    const again = Object.assign(document.createElement("script"), { src });
    setTimeout(() => document.head.append(again), AGAIN);
  };
  window.addEventListener("error", failed, true);
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
