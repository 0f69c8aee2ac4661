"""The tabs of the page: one module each, with TITLE, layout(lab) and register(app, lab)."""
