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
  };
  setInterval(() => {
    if (Date.now() - lastTick > PATIENCE && window.dash_clientside.set_props) {
      lastTick = Date.now();
      window.dash_clientside.set_props("tick", { disabled: false });
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
  const tell = (data) => window.dash_clientside.set_props("uploaded", { data: { ...data, at: Date.now() } });
  const send = (file) => {
    const line = document.getElementById("upload-line");
    const bar = document.getElementById("upload-bar");
    const request = new XMLHttpRequest();
    request.open("POST", "/upload?name=" + encodeURIComponent(file.name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      bar.style.width = (100 * event.loaded) / event.total + "%";
    };
    request.onload = () => {
      line.hidden = true;
      const tooLarge = request.status === 413 && `${file.name} is too large: a corpus may have 50 MB.`;
      tell(request.response || { error: tooLarge || "The lab did not take the file." });
    };
    request.onerror = () => {
      line.hidden = true;
      tell({ error: `${file.name} could not be sent: is the lab still running?` });
    };
    line.hidden = false;
    bar.style.width = "0";
    request.send(file);
  };
  document.addEventListener("change", (event) => {
    if (event.target.id !== "upload" || !event.target.files.length) return;
    send(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      const place = event.target.closest && event.target.closest("#drop");
      if (!place) return;
      event.preventDefault();
      place.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    });
  }
})();
