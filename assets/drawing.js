// Dash tells every part of the page of every change of its store, and each looks up its own properties to see whether
// it has to be drawn anew. How far a callback has come is nothing that is drawn; and of what changes in one go (an
// answer with ten properties; a thousand parts just put in, for each of which Dash notes that its count of changes
// begins anew) one word at the end is enough. Without this a tab that puts in a thousand parts makes a million look-ups.
// What a person does is told at once, since a field that is typed into must not wait for what stands in it.
// Dash's own observers, which run the callbacks, listen before the store is put where we see it: they are told of all.
(() => {
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
      const drawn = Object.keys(now).some((part) => part !== "callbacks" && now[part] !== seen[part]);
      seen = now;
      if (!drawn) return;
      if (window.event && window.event.type !== "message") return tell(); // React's own turns are messages
      if (!due) queueMicrotask(() => due && tell());
      due = true;
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
