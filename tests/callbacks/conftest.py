"""A lab and its page without a browser: requests go straight to the server's test client."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dash import Dash
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids
from transformer_lab.ui.server import CALLBACKS, LATE, TABS, create_app
from waiting import until

TINY = {
    "data.corpus": "python_docs",
    "model.layers": "1",
    "model.heads": "2",
    "model.embedding_dim": "16",
    "model.sequence_length": "16",
    "train.batch_size": "4",
    "train.steps": "40",
    "train.evaluate_every": "20",
    "train.evaluation_batches": "1",
    "train.threads": "1",
}


class Page:
    """What a browser keeps of the page: the value of every property, by component and name.

    `set`, `click` and `tick` send what the browser would, and take the answer in.
    """

    def __init__(self, app: Dash) -> None:
        self.app = app
        self.client: FlaskClient = app.server.test_client()
        self.components: dict[str, Any] = {}
        self.values: dict[tuple[str, str], Any] = {}
        self.last: TestResponse | None = None
        served = self.client.get("/_dash-layout")
        assert served.status_code == 200
        self._keep(served.get_json())
        for tab in LATE:  # as if each had been opened once
            self.open_tab(tab.TITLE)
        self.values["tabs", "active_tab"] = TABS[0].TITLE
        self.fire("plan.data", "recipe.value")
        self.fire("cursor.data", "plan.data")

    def open_tab(self, title: str) -> None:
        """Open a tab, which is made if it is one of the late ones."""
        self.values["tabs", "active_tab"] = title
        self.fire(f"{ids.late(title)}.children", "tabs.active_tab")

    def _keep(self, component: Any) -> None:
        if isinstance(component, list):
            for child in component:
                self._keep(child)
        elif isinstance(component, dict) and "props" in component:
            props = component["props"]
            if "id" in props:
                self.components[name_of(props["id"])] = component
                self.values |= {(name_of(props["id"]), key): v for key, v in props.items()}
            self._keep(props.get("children"))

    def get(self, component: Any, prop: str) -> Any:
        """A property as it stands now; None when nothing has set it."""
        return self.values.get((name_of(component), prop))

    def text(self, component: Any) -> str:
        """The words of a part of the page."""
        return text_of(self.get(component, "children"))

    def react(self, changed: str) -> None:
        """Run every callback that listens to a property such as `runs.cellValueChanged`."""
        for key, known in self.app.callback_map.items():
            names = [f"{one['id']}.{one['property']}" for one in known["inputs"]]
            if changed in names and "callback" in known:
                self.fire(key, changed)

    def callback(self, output: str) -> tuple[str, dict[str, Any]]:
        """The callback that owns an output such as `message.children`."""
        return next(
            (key, known)
            for key, known in self.app.callback_map.items()
            if output in key[2:-2].split("...") or output == key
        )

    def body(self, output: str, changed: str) -> dict[str, Any]:
        """The well-formed request for the callback that owns `output`."""
        key, known = self.callback(output)
        parts = key[2:-2].split("...") if key.startswith("..") else [key]
        outputs = [self._filled(*part.rsplit(".", 1), with_value=False) for part in parts]
        return {
            "output": key,
            "outputs": outputs if key.startswith("..") else outputs[0],
            "inputs": [self._filled(one["id"], one["property"]) for one in known["inputs"]],
            "state": [self._filled(one["id"], one["property"]) for one in known["state"]],
            "changedPropIds": [changed],
        }

    def _filled(self, component: str, prop: str, *, with_value: bool = True) -> Any:
        def one(name: str) -> dict[str, Any]:
            shown = json.loads(name) if name.startswith("{") else name
            value = {"value": self.values.get((name, prop))} if with_value else {}
            return {"id": shown, "property": prop, **value}

        if '["ALL"]' not in component:
            return one(component)
        pattern = json.loads(component)
        return [one(name) for name in self.components if matches(name, pattern)]

    def post(self, body: Any, **options: Any) -> TestResponse:
        """Send a request for a callback as it is."""
        sent = json.dumps(body)
        return self.client.post(CALLBACKS, data=sent, content_type="application/json", **options)

    def fire(self, output: str, changed: str) -> dict[str, Any]:
        """Run one callback and keep what it answers; empty when there is nothing new."""
        self.last = self.post(self.body(output, changed))
        assert self.last.status_code in (200, 204), self.last.get_data(as_text=True)
        if self.last.status_code == 204:
            return {}
        answer = self.last.get_json()
        changes = answer.get("response", {}) | answer.get("sideUpdate", {})
        for component, props in changes.items():
            for prop, value in props.items():
                self.values[name_of(component), prop] = value
                if prop == "children":
                    self._keep(value)
        return changes

    def set(self, values: dict[str, Any]) -> None:
        """Type into the controls of settings, and let the page check them."""
        for key, value in values.items():
            self.values[control(key), "value"] = value
        self.fire("plan.data", f"{control(next(iter(values)))}.value")

    def click(self, button: str) -> dict[str, Any]:
        """Press a button of the Train tab."""
        self.values[button, "n_clicks"] = (self.values.get((button, "n_clicks")) or 0) + 1
        return self.fire("message.children", f"{button}.n_clicks")

    def tick(self) -> dict[str, Any]:
        """One poll."""
        return self.fire("cursor.data", "tick.n_intervals")

    def error_at(self, key: str) -> str:
        """The message at the control of a setting."""
        group, name = key.split(".")
        kind = "sample-problem" if group == "sample" else "problem"
        return self.get({"type": kind, "group": group, "name": name}, "children") or ""

    def generate(self, button: str = "generate", **settings: Any) -> dict[str, Any]:
        """Press a button of the Generate tab, after typing into its controls."""
        for name, value in settings.items():
            self.values[control(f"sample.{name}"), "value"] = value
        self.values[button, "n_clicks"] = (self.values.get((button, "n_clicks")) or 0) + 1
        return self.fire("writing.data", f"{button}.n_clicks")

    def read_text(self) -> str:
        """What Generate shows now, the prompt included."""
        self.values["written", "data"] = {}  # so that all of it comes, not only what is new
        self.fire("output.children", "generate-tick.n_intervals")
        return text_of(self.get("output", "children"))


def text_of(children: Any) -> str:
    """The words of a part of the page."""
    if isinstance(children, list):
        return "".join(text_of(child) for child in children)
    if isinstance(children, dict):
        return text_of(children["props"].get("children"))
    return "" if children is None else str(children)


def name_of(component: Any) -> str:
    """An id as Dash spells it in names of properties."""
    if isinstance(component, dict):
        return json.dumps(component, sort_keys=True, separators=(",", ":"))
    return str(component)


def control(key: str) -> str:
    """The id of a setting's control."""
    group, name = key.split(".")
    if group == "sample":
        return name_of({"type": "sample-setting", "name": name})
    return name_of({"type": "setting", "group": group, "name": name})


def matches(name: str, pattern: dict[str, Any]) -> bool:
    """Whether an id is one of those a pattern stands for."""
    if not name.startswith("{"):
        return False
    parts = json.loads(name)
    return parts.keys() == pattern.keys() and all(
        value in (["ALL"], parts[key]) for key, value in pattern.items()
    )


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("the tests have no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.delenv("TRANSFORMER_LAB_DATA", raising=False)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def app(lab: Lab) -> Dash:
    return create_app(lab, allowed_hosts=["lab.school"])


@pytest.fixture
def page(app: Dash) -> Page:
    """The page as it opens, with a tiny model on a text that is always there."""
    opened = Page(app)
    opened.set(TINY)
    return opened


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page for tests that change nothing: one lab for all of them."""
    lab = Lab(tmp_path_factory.mktemp("visited"))
    yield Page(create_app(lab, allowed_hosts=["lab.school"]))
    lab.close()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Callable[[], Page]]]:
    """A lab in which a tiny model has trained, and how to open its page; for looking only."""
    lab = Lab(tmp_path_factory.mktemp("lived"))
    first = Page(create_app(lab))
    first.set(TINY)
    first.click("start")
    while not (lab.current and lab.current.ended):
        time.sleep(0.01)
    yield lab, lambda: Page(first.app)
    lab.close()


@pytest.fixture
def open_page(app: Dash) -> Callable[[], Page]:
    """Another visitor of the same lab."""
    return lambda: Page(app)


@pytest.fixture(name="until")
def until_fixture():
    """Wait for something to become true; gives it."""
    return until


@pytest.fixture
def trained(page: Page, lab: Lab, until: Callable[[Callable[[], Any]], Any]) -> Page:
    """The page after a short training has finished."""
    page.click("start")
    until(lambda: lab.current is not None and lab.current.ended)
    page.tick()
    return page
