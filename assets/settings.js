// Which advanced settings are shown: those that have an effect, or those whose name or help has the words searched for.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.settings = {
  shown: (values, search, problems, controls, fields, needs) => {
    const value = Object.fromEntries(controls.map(({ group, name }, i) => [`${group}.${name}`, values[i]]));
    const applies = ({ group, name }) => {
      const rules = Object.entries(needs[`${group}.${name}`] || {});
      return !rules.length || rules.some(([key, allowed]) => allowed.includes(value[key]));
    };
    const wanted = (search || "").toLowerCase().split(/\s+/).filter(Boolean);
    const found = ({ group, name }) => {
      const field = [...document.querySelectorAll(".setting-field")].find(
        (one) => one.id === JSON.stringify({ group, name, type: "setting-field" }),
      );
      const words = `${group}.${name} ${field ? field.textContent : ""}`.toLowerCase();
      return wanted.every((word) => words.includes(word));
    };
    const wrong = ({ group, name }) => {
      const place = document.getElementById(JSON.stringify({ group, name, type: "problem" }));
      return Boolean(place && place.textContent);
    };
    const hidden = fields.map((one) => (wanted.length ? !found(one) : !applies(one) && !wrong(one)));
    return [hidden, fields.map((one) => `setting-field${applies(one) ? "" : " out-of-use"}`)];
  },
};
