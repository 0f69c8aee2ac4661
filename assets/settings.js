// Which advanced settings are shown: those that have an effect, or those whose name or help has the words searched for.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.settings = {
  show: (unused, search) => {
    const idle = new Set(unused);
    const wanted = (search || "").toLowerCase().split(/\s+/).filter(Boolean);
    let found = false;
    for (const field of document.querySelectorAll(".setting-field")) {
      const key = field.dataset.key;
      const words = `${key} ${field.textContent}`.toLowerCase();
      field.classList.toggle("out-of-use", idle.has(key));
      const hidden = wanted.length ? !wanted.every((word) => words.includes(word)) : idle.has(key);
      field.hidden = hidden;
      found ||= !hidden;
    }
    return found ? "" : "No advanced setting has these words in its name or help.";
  },
};
