// Dash tells every component of the page of every change of its store, and each looks up its properties to see whether it
// has to be drawn anew. Two kinds of change are told less often here. How far a callback has come (`callbacks`) is nothing
// that a component shows: nobody is told. For each component that is put in, Dash notes that its count of changes
// begins anew (`layoutHashes`): a tab of a thousand components would make a million look-ups, so all are told once, at
// the end of the turn. Every other change is told at once, since a property that changes twice must be seen twice.
// Dash's own observers, which run the callbacks, listen before the store is put where we see it: they are told of all.
(() => {
  const UNSEEN = ["callbacks", "layoutHashes"];

  const tellLess = (store) => {
    const listeners = new Set();
    let seen = store.getState();
    let due = false;
    const tell = () => {
      due = false;
      for (const listener of [...listeners]) listener();
    };
    store.subscribe(() => {
      const now = store.getState();
      const changed = Object.keys(now).filter((part) => now[part] !== seen[part]);
      seen = now;
      if (changed.some((part) => !UNSEEN.includes(part))) return tell();
      if (!changed.includes("layoutHashes") || due) return;
      due = true;
      queueMicrotask(() => due && tell());
    });
    store.subscribe = (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
  };

  window.dash_stores = window.dash_stores || [];
  window.dash_stores.push = (...stores) => {
    stores.forEach(tellLess);
    return Array.prototype.push.apply(window.dash_stores, stores);
  };
})();
