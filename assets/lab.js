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
