"""A lab and its page without a browser: requests go straight to the server's test client."""

import contextlib
import functools
import io
import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from dash import Dash
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from transformer_lab.cli import main
from transformer_lab.exchange.forms import FORMS
from transformer_lab.lab.cost import step_time
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.queue import Queue, Waiting
from transformer_lab.lab.training import pace
from transformer_lab.recipes import Setup
from transformer_lab.ui import ids
from transformer_lab.ui.server import CALLBACKS, LATE, TABS, create_app
from waiting import PATIENCE, until

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


class Values(dict[tuple[str, str], Any]):
    """The value of every property; one of a tab that is still closed opens that tab."""

    def __init__(self, opened: Callable[[str], None]) -> None:
        super().__init__()
        self.opened = opened

    def __missing__(self, key: tuple[str, str]) -> Any:
        self.opened(key[0])
        return dict(self)[key]

    def get(self, key: tuple[str, str], default: Any = None) -> Any:
        if key not in self:
            self.opened(key[0])
        return super().get(key, default)


class Page:
    """What a browser keeps of the page: the value of every property, by component and name.

    `set`, `click` and `tick` send what the browser would, and take the answer in. A late tab is
    made once a part of it is asked for.
    """

    owners: ClassVar[dict[str, str]] = {}  # the late tab in which a part stands as it is made

    def __init__(self, app: Dash, address: str = "") -> None:
        self.app = app
        self.client: FlaskClient = app.server.test_client()
        self._made: dict[str, Any] = {}
        self._closed = {tab.TITLE for tab in LATE}
        self.values = Values(self._reach)
        self.last: TestResponse | None = None
        served = self.client.get(f"/_dash-layout{address}")
        assert served.status_code == 200
        self._keep(served.get_json())
        self.values["tabs", "active_tab"] = TABS[0].TITLE
        if not self.owners:
            for tab in LATE:
                before = set(self._made)
                self._open(tab.TITLE)
                self.owners.update(dict.fromkeys(set(self._made) - before, tab.TITLE))
        self.fire("plan.data", "recipe.value")
        self.fire("cursor.data", "plan.data")

    @property
    def components(self) -> dict[str, Any]:
        """Every component by its name, when every tab has been opened once."""
        for tab in LATE:
            self._open(tab.TITLE)
        return self._made

    def open_tab(self, title: str) -> None:
        """Open a tab, which is made if it is one of the late ones."""
        self._closed.discard(title)
        self.values["tabs", "active_tab"] = title
        self.fire(f"{ids.late(title)}.children", "tabs.active_tab")

    def _open(self, title: str) -> None:
        """Make a late tab, but keep what a test has put into it, and stay where one is."""
        if title not in self._closed:
            return
        put = {key: value for key, value in self.values.items() if key[0] not in self._made}
        now = self.values["tabs", "active_tab"]
        self.open_tab(title)
        self.values |= {**put, ("tabs", "active_tab"): now}

    def _reach(self, component: str) -> None:
        """Open the tab in which a part stands, or the parts of a pattern."""
        if '["ALL"]' in component and self._closed:
            pattern = json.loads(component)
            titles = {self.owners[name] for name in self.owners if matches(name, pattern)}
        else:
            titles = {self.owners[component]} if component in self.owners else set()
        for title in titles & self._closed:
            self._open(title)

    def _keep(self, component: Any) -> None:
        if isinstance(component, list):
            for child in component:
                self._keep(child)
        elif isinstance(component, dict) and "props" in component:
            props = component["props"]
            if "id" in props:
                name = name_of(props["id"])
                self._made[name] = component
                self.values |= {(name, key): value for key, value in props.items()}
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
        self._reach(component)
        return [one(name) for name in self._made if matches(name, pattern)]

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
    group, name = key.split(".")
    if group == "sample":
        return name_of({"type": "sample-setting", "name": name})
    return name_of({"type": "setting", "group": group, "name": name})


@functools.cache
def _parts(name: str) -> dict[str, Any]:
    return json.loads(name)  # type: ignore[no-any-return]


def matches(name: str, pattern: dict[str, Any]) -> bool:
    """Whether an id is one of those a pattern stands for."""
    if not name.startswith("{"):
        return False
    parts = _parts(name)
    return parts.keys() == pattern.keys() and all(
        value in (["ALL"], parts[key]) for key, value in pattern.items()
    )


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("the tests have no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.delenv("TRANSFORMER_LAB_DATA", raising=False)


_speed = functools.cache(step_time.measured_speed)


@functools.cache
def _probed(setup: Setup, vocabulary_size: int, micro_batch: int, flops: float) -> float | None:
    return step_time.probe(setup, vocabulary_size, micro_batch, flops)


@pytest.fixture(scope="module", autouse=True)  # tests of other folders may come after
def _measured_once() -> Iterator[None]:
    """The speed of this computer and of each model is measured by the first lab that asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "measured_speed", _speed)
        patch.setattr(pace, "probe", _probed)
        yield


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
def trained_lab(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Lab, Callable[[], Page]]]:
    """A lab in which a tiny model has trained, and how to open its page; for looking only."""
    lab = Lab(tmp_path_factory.mktemp("trained_lab"))
    first = Page(create_app(lab))
    first.set(TINY)
    first.click("start")
    while not (lab.trainings.current and lab.trainings.current.ended):
        time.sleep(0.01)
    yield lab, lambda: Page(first.app)
    lab.close()


@pytest.fixture
def open_page(app: Dash) -> Callable[[], Page]:
    """Another visitor of the same lab."""
    return lambda: Page(app)


@pytest.fixture(scope="session")
def page_of() -> type[Page]:
    """How to open the page of an application that has a lab of its own."""
    return Page


@pytest.fixture(name="until")
def until_fixture():
    """Wait for something to become true; gives it."""
    return until


@pytest.fixture
def trained(page: Page, lab: Lab, until: Callable[[Callable[[], Any]], Any]) -> Page:
    """The page after a short training has finished."""
    page.click("start")
    until(lambda: lab.trainings.current is not None and lab.trainings.current.ended)
    page.tick()
    return page


class Everything:
    """Opens all there is of a home: every tab, every download, every command. Keeps what failed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.failed: list[str] = []
        self.count = 0

    def tried(self, what: str, act: Callable[[], Any]) -> Any:
        """Do one thing; that it raises, or answers with a traceback, is noted."""
        self.count += 1
        handler = _Errors()
        logging.getLogger().addHandler(handler)
        try:
            answer = act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it would have reached a person
            self.failed.append(f"{what}: {type(error).__name__}: {error}")
            return None
        finally:
            logging.getLogger().removeHandler(handler)
            self.failed += [f"{what}: {error}" for error in handler.found]
        return answer

    def look(self, suspect: str) -> dict[str, str]:
        """Open the page on it, for one run with every download; the state of each run by its id."""
        lab = self.tried("start", lambda: Lab(self.home))
        if lab is None:
            return {}
        try:
            page = self.tried("page", lambda: Page(create_app(lab)))
            if page is not None:
                self._tabs(page, lab)
                self._downloads(page, lab, suspect)
            return {run.id: run.state for run in lab.runs.store.list()}
        finally:
            self.tried("close", lab.close)

    def _tabs(self, page: Page, lab: Lab) -> None:
        runs = [run.id for run in lab.runs.store.list()]
        for run_id in ["latest", *runs]:
            page.values |= {("run", "value"): run_id, ("runs", "selectedRows"): [{"id": run_id}]}
            page.values |= {("tabs", "active_tab"): "Runs", ("runs-seen", "data"): {}}
            for output, changed in (
                ("cursor.data", "run.value"),
                ("runs-known.data", "runs-tick.n_intervals"),
                ("runs-picked.data", "runs.selectedRows"),
                ("runs-seen.data", "runs-picked.data"),
            ):
                self.tried(f"{run_id} {output}", lambda o=output, c=changed: page.fire(o, c))
        page.values["runs", "selectedRows"] = [{"id": run_id} for run_id in runs]
        for axis in ("steps", "seconds"):
            page.values |= {("overlay-axis", "value"): axis, ("overlay-smooth", "value"): "10"}
            self.tried("picked", lambda: page.fire("runs-picked.data", "runs.selectedRows"))
            self.tried("compare", lambda: page.fire("overlay.figure", "runs-picked.data"))
        for tab in TABS:
            page.values["tabs", "active_tab"] = tab.TITLE
            self.tried(tab.TITLE, lambda: page.react("tabs.active_tab"))
        self._listening(page)
        for run_id in runs:
            page.values["model", "value"] = run_id
            self.tried(f"generate {run_id}", lambda: page.generate(length="2"))

    def _listening(self, page: Page) -> None:
        """Every callback that is not begun by pressing a button, as if its first input changed."""
        for key, known in page.app.callback_map.items():
            first = next(iter(known["inputs"]), None)
            if first and "callback" in known and "n_clicks" not in str(known["inputs"]):
                changed = f"{first['id']}.{first['property']}"
                self.tried(key[:60], lambda k=key, c=changed: page.fire(k, c))

    def _downloads(self, page: Page, lab: Lab, suspect: str) -> None:
        for run in lab.runs.store.list():
            for form in FORMS if run.id == suspect else ("run.zip",):
                path = f"/download/{quote(run.id)}/{form}"
                answer = self.tried(path, lambda p=path: page.client.get(p))
                if answer is not None and answer.status_code not in (200, 409):
                    self.failed.append(f"{path}: {answer.status}")

    def command(self, *line: str) -> int | None:
        """A command with this home, as a person would type it; no traceback may come of it."""
        out = io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                return main([*line, "--home", str(self.home)])

        code = self.tried(" ".join(line), run)
        if code not in (0, 1, 2, None) or "Traceback" in out.getvalue():
            self.failed.append(f"{' '.join(line)}: {code}, {out.getvalue()[-300:]}")
        if (
            code in (1, 2)
            and "--json" not in line
            and not out.getvalue().strip().endswith((".", "?"))
        ):
            self.failed.append(f"{' '.join(line)} says no sentence: {out.getvalue()[-300:]!r}")
        if "cannot be written" in out.getvalue():
            self.failed.append(f"{' '.join(line)}: {out.getvalue()[-300:]!r}")
        return code

    def commands(self, run_id: str, folder: Path) -> None:
        """Every command that has to do with a run."""
        self.command("runs")
        self.command("runs", "--json")
        self.command("generate", "--run", run_id, "--length", "2")
        self.command("audit", run_id, "--json")
        for form in ("run.zip", "metrics.csv"):
            self.command("export", run_id, "--as", form, "--out", str(folder / form))
        if (folder / "run.zip").is_file():
            self.command("import", str(folder / "run.zip"))
        self.command("resume", run_id, "--json")
        self.command("extend", run_id, "--steps", "1", "--json")


class _Errors(logging.Handler):
    """Collects what is logged with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.getMessage()} {type(error).__name__}: {error}")


@pytest.fixture
def everything() -> type[Everything]:
    return Everything


@pytest.fixture(scope="session")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which everything lies that a lab writes: copy it before anything is changed."""
    home = tmp_path_factory.mktemp("trained_lab-in") / "home"
    lab = Lab(home)
    text = "The king is here. The queen is there. Who goes there? A friend of the king.\n" * 40
    name = lab.texts.library.add(text.encode(), "A play", "typed").name
    values = TINY | {"data.corpus": name, "train.steps": "8", "train.evaluate_every": "4"}
    setup = Setup().with_values(values | {"train.keep_best": True, "sample.length": "3"})
    for recipe in ("first", "second"):
        lab.trainings.start(setup, recipe)
        while not (
            lab.trainings.current and lab.trainings.current.ended and lab.runs.view().sample
        ):
            time.sleep(0.01)
    lab.runs.describe("first-1", title="The first", notes="It learns.")
    assert lab.models.audit("first-1")[1].wait(PATIENCE)
    lab.close()
    Queue(home).add(Waiting(kind="new", recipe="third", setup=setup.to_mapping()))
    kept = home.parent / "kept"  # a copy, in which no connection that ends late changes anything
    return Path(shutil.copytree(home, kept))
