"""What pages that show the same are told once for all of them, and what each is told alone."""

import itertools
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab.ui.train import callbacks, live
from transformer_lab.ui.train.shared import Shared, Told
from transformer_lab.ui.web import quick
from transformer_lab.ui.web.values import _read_slowly, read_json

CLOCK = "tick.n_intervals"


def told(**parts):
    return Told.of(SimpleNamespace(), parts)


def test_pages_that_ask_for_the_same_share_one_answer_until_it_is_old_or_something_begins():
    count = itertools.count()
    shared, forever = Shared(seconds=0.0), Shared(seconds=1e6)

    def make():
        return told(number=next(count))

    assert forever.get("a", "running", make) is forever.get("a", "running", make)
    assert forever.get("b", "running", make).parts["number"] == 1  # another question
    assert forever.get("a", "paused", make).parts["number"] == 2
    assert forever.get("a", None, make).parts["number"] == 3  # asked for anew
    assert shared.get("a", "running", make) is not shared.get("a", "running", make)
    assert list(shared._kept) == ["a"]
    shared.get("c", "running", make)
    assert list(shared._kept) == ["c"]  # what is old is not kept


def test_an_error_is_told_to_the_page_that_met_it_and_is_not_kept():
    shared = Shared(seconds=1e6)

    def fail():
        raise OSError("the disk")

    shared.get("a", 1, lambda: told(number=1))
    for _ in range(2):
        with pytest.raises(OSError, match="the disk"):
            shared.get("a", 2, fail)
    assert shared.get("a", 2, lambda: told(number=2)).parts == {"number": 2}


def test_while_one_page_makes_an_answer_the_others_wait_for_it():
    shared, going, made = Shared(seconds=1e6), threading.Event(), []

    def make():
        going.wait(60)
        made.append(1)
        return told(number=1)

    asking = [threading.Thread(target=shared.get, args=("a", 1, make)) for _ in range(4)]
    for one in asking:
        one.start()
    going.set()
    for one in asking:
        one.join()
    assert made == [1]


@pytest.mark.parametrize("lacks", ["nothing", "some parts", "points", "everything"])
def test_the_quick_answer_to_a_poll_is_the_one_of_dash(trained_lab, lacks, monkeypatch):
    monkeypatch.setattr(live, "memory", lambda: "1 GB used")  # as long as this test takes
    monkeypatch.setattr(callbacks, "preflight", lambda *_: ([], False))
    page = trained_lab[1]()
    page.tick()
    cursor = page.get("cursor", "data")
    if lacks == "some parts":
        cursor["seen"] |= {"state": 1, "start_title": 1, "start_disabled": 1}
    if lacks in ("points", "everything"):
        cursor |= {"n": 37, "shown": 37}
    if lacks == "everything":
        cursor["seen"] = {}
    body = page.body("cursor.data", CLOCK)
    quickly = page.post(body)
    monkeypatch.setitem(page.app.server.extensions, quick.NAME, {})
    by_dash = page.post(body)
    assert quickly.status_code == by_dash.status_code == (204 if lacks == "nothing" else 200)
    if lacks != "nothing":
        assert quickly.mimetype == by_dash.mimetype
        assert quickly.get_json() == by_dash.get_json()


@pytest.mark.parametrize(
    ("output", "clock", "tab"),
    [
        ("writer.options", "moment-tick.n_intervals", "Generate"),
        ("audit-model.options", "experiment-tick.n_intervals", "PCN Experiments"),
    ],
)
def test_a_list_of_models_that_is_as_before_is_no_answer(trained_lab, output, clock, tab):
    page = trained_lab[1]()
    page.values["tabs", "active_tab"] = tab
    page.values["moment-bar", "hidden"] = False
    page.fire(output, clock)
    page.fire(output, clock)
    assert page.last is not None
    assert page.last.status_code == 204  # no_update alone would be a 200 with nothing in it


def test_a_page_is_not_told_of_the_form_of_another(visited):
    for steps in ("77", "78", "77"):
        visited.set({"train.steps": steps})
        visited.fire("cursor.data", CLOCK)
        assert visited.get("loss-chart", "figure")["layout"]["xaxis"]["range"] == [0, int(steps)]
    visited.values["plan", "data"] = None
    visited.fire("cursor.data", CLOCK)
    assert "Correct the marked settings first." in visited.text("panel")


NUMBERS = st.integers(-(10**18), 10**18).map(str) | st.floats().map(repr)
ODD = st.sampled_from(["1e400", "-1E+99", "5e-4", "NaN", '"\\ud800"', '"\\u00fc"', '"3e5"', "1.50"])


@given(st.lists(NUMBERS | ODD | st.text().map(repr)))
def test_json_is_read_quickly_where_it_reads_the_same(parts):
    data = f"[{','.join(parts)}]".encode(errors="surrogatepass")

    def read(how):
        try:
            return repr(how(data))
        except ValueError:
            return "refused"

    assert read(read_json) == read(_read_slowly)
