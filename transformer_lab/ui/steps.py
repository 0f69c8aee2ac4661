"""What the page does for a learner at the press of one button, as steps of `assets/learn.js`."""

import json
from typing import Any

Step = dict[str, Any]


def name_of(component: Any) -> str:
    """An id as the page spells it."""
    if isinstance(component, str):
        return component
    return json.dumps(component, sort_keys=True, separators=(",", ":"))


def open_tab(title: str) -> Step:
    """Open a tab."""
    return {"tab": title}


def set_to(component: Any, value: Any, prop: str = "value") -> Step:
    """Give a property of a component a value."""
    return {"set": component, "prop": prop, "value": value, "at": name_of(component)}


def press(component: Any) -> Step:
    """Press a button."""
    return {"press": name_of(component)}


def show(component: Any) -> Step:
    """Bring something into view."""
    return {"show": name_of(component)}
