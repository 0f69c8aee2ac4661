// What the PCN Experiments tab does without asking the server.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.pcn = {
  // A guess can be handed in once an answer is chosen.
  guessable: (option) => {
    const chosen = option !== null && option !== undefined;
    return [!chosen, chosen ? "" : "Choose an answer first"];
  },
};
