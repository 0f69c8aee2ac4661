// Dash notifies every component of the page of every change of its store, and each looks up its properties to see
// whether it has to be drawn anew. Of three kinds of change they are notified less often here. How far a callback has
// come (`callbacks`) and which components wait for one (`loading`) is nothing that this page shows: they are not
// notified. For each component that is added, Dash notes that its count of changes begins at 0 (`layoutHashes`): a tab
// of a thousand components would make a million look-ups, so they are notified once, in a microtask. Of every other
// change they are notified at once, since a property that changes twice must be seen twice. Dash's own observers, which
// run the callbacks, subscribe before the store is put where this script sees it: they are notified of everything.
(() => {
  const UNSEEN = ["callbacks", "layoutHashes", "loading"];

  const notifyLess = (store) => {
    const listeners = new Set();
    let seen = store.getState();
    let due = false;
    const notify = () => {
      due = false;
      for (const listener of [...listeners]) listener();
    };
    store.subscribe(() => {
      const now = store.getState();
      const changed = Object.keys(now).filter((part) => now[part] !== seen[part]);
      seen = now;
      if (changed.some((part) => !UNSEEN.includes(part))) return notify();
      if (!changed.includes("layoutHashes") || due) return;
      due = true;
      queueMicrotask(() => due && notify());
    });
    store.subscribe = (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
  };

  window.dash_stores = window.dash_stores || [];
  window.dash_stores.push = (...stores) => {
    stores.forEach(notifyLess);
    return Array.prototype.push.apply(window.dash_stores, stores);
  };
})();
