"""The Runs tab, without a browser."""

import contextlib
import csv
import io
from typing import get_args

import pytest

from transformer_lab.experiments.comparison import comparison_from
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.queue import Kind, Waiting
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.ui.runs.grid import columns, height
from transformer_lab.ui.runs.queue import waiting_line

GRID = "runs"
SMALL = (
    "data.corpus", "model.layers", "model.heads", "model.embedding_dim", "model.sequence_length",
    "train.batch_size", "train.evaluation_batches", "train.threads",
)  # fmt: skip


def listed(page):
    """The lines of the list after one more look."""
    page.values["tabs", "active_tab"] = "Runs"
    changes = page.fire("runs-known.data", "runs-tick.n_intervals")
    return changes.get(GRID, {}).get("rowTransaction")


def choose(page, *run_ids):
    page.values[GRID, "selectedRows"] = [{"id": run_id} for run_id in run_ids]
    page.fire("runs-picked.data", "runs.selectedRows")


def opened(page):
    page.fire("runs-seen.data", "runs-picked.data")


def press(page, button, output="branch.data"):
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    return page.fire(output, f"{button}.n_clicks")


@pytest.fixture
def two(page, lab, until):
    """Two finished runs that differ in one setting."""
    for rate in ("0.001", "0.01"):
        page.set({"train.learning_rate": rate})
        page.click("start")
        until(
            lambda: (
                lab.trainings.current is not None
                and lab.trainings.current.ended
                and lab.trainings.wait(0) is not None
            )
        )
        until(lambda rate=rate: lab.trainings.current.setup.train.learning_rate == float(rate))
        until(lambda: lab.trainings.current.ended)
        lab.runs.refresh()
    return page


def test_the_list_sends_what_is_new_and_then_only_what_changed(two, lab):
    changes = listed(two)
    assert [line["id"] for line in changes["add"]] == ["quick-start-2", "quick-start-1"]
    line = changes["add"][0]
    assert (line["state"], line["step"], line["steps"]) == ("finished", 40, 40)
    assert line["best"] < 5
    assert len(line["spark"]) > 5
    assert listed(two) is None
    lab.runs.describe("quick-start-1", pinned=True)
    changes = listed(two)
    assert [line["id"] for line in changes["update"]] == ["quick-start-1"]
    assert (changes["add"], changes["remove"]) == ([], [])


def samples_of(lab):
    return lab.runs.open("quick-start-2").samples()


def test_a_run_opens_to_everything_there_is_of_it(two, lab, until):
    until(lambda: [sample.step for sample in samples_of(lab)][-1:] == [40])
    listed(two)
    choose(two, "quick-start-2")
    opened(two)
    shown = {name: two.text(f"detail-{name}") for name in (
        "title", "facts", "settings", "samples", "checkpoints", "environment", "log", "away",
    )}  # fmt: skip
    assert two.get("runs-detail", "hidden") is False
    assert shown["title"].startswith("quick-start-2")
    assert "step 40 of 40" in shown["facts"]
    assert "Learning Rate0.01" in shown["settings"]
    assert "after step 40" in shown["samples"]
    assert "Branch from here" in shown["checkpoints"]
    assert lab.runs.open("quick-start-2").manifest["corpus"]["sha256"] in shown["environment"]
    assert "finished" in shown["log"]
    figure = two.get("detail-loss", "figure")
    assert len(figure["data"][0]["x"]) == 40
    opened(two)
    assert two.last.status_code == 204  # nothing is sent twice


def test_two_runs_are_compared_in_one_chart_and_only_what_differs_is_listed(two):
    listed(two)
    choose(two, "quick-start-1", "quick-start-2")
    for axis, furthest in (("steps", 40), ("tokens", 40 * 4 * 16)):
        two.values["overlay-axis", "value"] = axis
        two.fire("overlay.figure", "runs-picked.data")
        figure = two.get("overlay", "figure")
        assert {trace["name"] for trace in figure["data"]} == {"quick-start-1", "quick-start-2"}
        assert figure["data"][0]["x"][-1] == furthest
        assert figure["data"][0]["line"]["color"] != figure["data"][1]["line"]["color"]
    two.values |= {("overlay-shown", "value"): "train", ("overlay-smooth", "value"): "10"}
    two.fire("overlay.figure", "overlay-smooth.value")
    assert "mean of 10 steps" in two.get("overlay", "figure")["layout"]["title"]["text"]
    drawn = two.get("overlay", "figure")["data"]
    colors = {trace["name"]: trace["line"]["color"] for trace in drawn}
    assert two.get("runs-colors", "data") == colors  # of the chips in the list
    table = two.text("differences")
    assert "Learning Rate0.010.001" in table
    assert "Layers" not in table
    choose(two, "quick-start-1")
    two.fire("overlay.figure", "runs-picked.data")
    assert two.get("overlay-card", "hidden") is True
    assert two.get("runs-colors", "data") == {}


def test_titles_pins_and_notes_are_kept(two, lab):
    for field, value in (("name", "  The good\none "), ("pinned", True)):
        change = {"rowId": "quick-start-1", "colId": field, "value": value}
        two.values[GRID, "cellValueChanged"] = [change]
        two.react("runs.cellValueChanged")
    listed(two)
    choose(two, "quick-start-1")
    two.values["run-notes", "value"] = "It <b>learns</b>."
    two.react("run-notes.n_blur")
    about = lab.runs.open("quick-start-1").about
    assert (about.title, about.notes, about.pinned) == ("The good one", "It <b>learns</b>.", True)
    opened(two)
    assert two.get("run-notes", "value") == "It <b>learns</b>."
    two.values[GRID, "cellValueChanged"] = [{"rowId": "../x", "colId": "name", "value": "a"}]
    two.react("runs.cellValueChanged")
    assert "There is no run" in two.text("runs-message")


def test_runs_are_deleted_and_brought_back(two, lab):
    listed(two)
    choose(two, "quick-start-1", "quick-start-2")
    press(two, "run-delete", "run-deleted.data")
    assert "Deleted quick-start-1, quick-start-2" in two.get("runs-message", "children")
    assert two.get("run-undo", "hidden") is False
    assert {line["id"] for line in listed(two)["remove"]} == {"quick-start-1", "quick-start-2"}
    press(two, "run-undo", "run-deleted.data")
    assert "Brought back" in two.get("runs-message", "children")
    assert len(listed(two)["add"]) == 2
    assert two.get("run-undo", "hidden") is True


def test_the_list_is_as_high_as_it_needs_and_its_columns_fit_a_small_window():
    few, many = columns(more=False), columns(more=True)
    assert [one["field"] for one in few] == [one["field"] for one in many]
    shown = [one for one in few if not one.get("hide")]
    assert sum(one.get("minWidth", one["width"]) for one in shown) < 1010  # beside the queue
    assert not any(one.get("hide") for one in many)
    assert height(1) != height(7) != height(1000)
    assert height(1000)["height"].endswith("50vh)")


def test_a_loss_of_exactly_nothing_is_drawn(page, lab, until):
    page.set({"data.corpus": lab.texts.library.add(b"a" * 2000, "a.txt", "pasted").id})
    for name in ("quick-start-1", "quick-start-2"):
        page.click("start")
        until(
            lambda name=name: (
                lab.trainings.current.status.run_id == name and lab.trainings.current.ended
            )
        )
    lab.runs.refresh()
    listed(page)
    choose(page, "quick-start-1", "quick-start-2")
    page.fire("overlay.figure", "runs-picked.data")
    assert [trace["y"] for trace in page.get("overlay", "figure")["data"][:2]] == [[0, 0]] * 2


def test_a_finished_run_is_extended_from_the_list(two, lab, until):
    listed(two)
    choose(two, "quick-start-2")
    two.values["run-more", "value"] = "none"
    press(two, "run-extend", "branch.data")
    assert "Steps is 'none'" in two.get("runs-message", "children")
    two.values["run-more", "value"] = "1.000"
    press(two, "run-extend", "branch.data")
    assert "write 1000 or 1." in two.get("runs-message", "children")
    two.values["run-more", "value"] = "5"
    press(two, "run-extend", "branch.data")
    assert two.get("tabs", "active_tab") == "Train"
    until(
        lambda: (
            lab.trainings.current.status.run_id == "quick-start-2-more-1"
            and lab.trainings.current.ended
        )
    )
    two.tick()
    shapes = two.get("loss-chart", "figure")["layout"]["shapes"]
    assert any(shape["x0"] == shape["x1"] == 40 for shape in shapes)


def test_a_branch_fills_the_form_and_starts_from_the_checkpoint(two, lab, until):
    listed(two)
    choose(two, "quick-start-1")
    opened(two)
    two._keep(two.get("detail-checkpoints", "children"))
    button = next(name for name in two.components if '"checkpoint-button"' in name)
    press(two, button, "branch.data")
    assert two.get("branch", "data") == {"run": "quick-start-1", "checkpoint": "step-00000040"}
    two.fire('{"group":["ALL"],"name":["ALL"],"type":"setting"}.value', "branch.data")
    two.fire("branch-line.children", "branch.data")
    assert "after step 40" in two.get("branch-line", "children")
    two.set({"train.steps": "3", "train.learning_rate": "0.002"})
    two.click("start")
    until(
        lambda: (
            lab.trainings.current.status.run_id == "quick-start-1-branch-1"
            and lab.trainings.current.ended
        )
    )
    assert lab.trainings.current.status.step == 43
    assert two.get("branch", "data") is None


def test_what_waits_can_be_put_in_order_and_taken_out(page, lab, until):
    page.set({"train.steps": "1000000"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 0)
    page.tick()
    assert page.get("enqueue", "hidden") is False
    for steps in ("11", "12"):
        page.set({"train.steps": steps})
        page.click("enqueue")
    assert "2 in the queue" in page.text("message")
    page.fire("queue.children", "runs-tick.n_intervals")
    assert page.get("queue-head", "children") == "2 waiting"
    page._keep(page.get("queue", "children"))
    last = lab.trainings.queue.list()[1]
    for what, expected in (("up", ["12", "11"]), ("remove", ["11"])):
        name = next(n for n in page.components if last.id in n and f'"{what}"' in n)
        press(page, name, "queue.children")
        assert [
            str(item.setup["train"]["steps"]) for item in lab.trainings.queue.list()
        ] == expected
    page.click("stop")
    until(lambda: lab.trainings.current.ended and lab.trainings.current.status.step == 11)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_training_can_be_listed_while_it_waits(kind):
    item = Waiting(kind=kind, recipe="first", run="first-1", setup=Setup().to_mapping())
    words = str(waiting_line(item, 1))
    assert "steps" in words
    assert "first" in words


@pytest.mark.parametrize("odd", ["0", "99", "²", "", None, "-1", "1.5"])
def test_no_odd_number_of_trainings_runs_at_once(page, lab, odd):
    page.values["at-once", "value"] = odd
    page.fire("queue.children", "at-once.value")
    assert lab.trainings.queue.at_once == 1


def test_a_run_that_was_cut_off_is_offered_and_resumed_at_one_press(page, lab, until):
    page.set({"train.steps": "1000000"})
    page.click("start")
    until(lambda: lab.trainings.current.status.step > 3)
    lab.trainings._worker.submit(lambda: lab.trainings.current.stop("By hand.", "interrupted"))
    until(lambda: lab.trainings.current.ended)
    lab.runs.refresh()
    page.tick()
    assert page.get("resume-offer", "hidden") is False
    assert "quick-start-1 was interrupted at step" in page.get("resume-words", "children")
    page.fire("resume-dismissed.data", "resume-later.n_clicks")
    page.fire("cursor.data", "resume-dismissed.data")
    assert page.get("resume-offer", "hidden") is True
    before = lab.trainings.current.status.step
    page.click("resume-now")
    until(lambda: lab.trainings.current.status.step > before)
    assert lab.trainings.current.status.run_id == "quick-start-1"
    page.click("stop")
    until(lambda: lab.trainings.current.ended)


def test_lanes_of_a_comparison_are_one_row_that_opens_and_goes_as_a_whole(page, lab, until):
    base = setup_from(page.get("plan", "data")["setup"])
    lanes = {"a": base, "b": base.with_values({"train.learning_rate": 0.01})}
    for seed in (1, 2):
        lab.trainings.race(f"own-1.{seed}", lanes, numbered=False)
        until(lambda: not lab.trainings.busy())
    lab.runs.refresh()
    (line,) = listed(page)["add"]
    assert (line["id"], line["name"], line["holds"]) == ("comparison:own-1", "own-1", "4 runs")
    assert (line["state"], line["step"], line["steps"], line["race"]) == (
        "finished", 160, 160, "a, b"
    )  # fmt: skip
    assert line["best"] == min(run.best_loss for run in lab.runs.all())
    choose(page, line["id"])
    picked = page.get("runs-picked", "data")
    assert sorted(picked) == sorted(run.id for run in lab.runs.all())
    assert page.get("run-delete", "title") == "Delete the comparison own-1 (4 runs)"
    _open_as_one(page)
    rename = {"rowId": line["id"], "colId": "name", "value": "mine"}
    page.values[GRID, "cellValueChanged"] = [rename]
    page.react("runs.cellValueChanged")
    assert page.get("runs-message", "children") == ""
    (line,) = listed(page)["update"]
    assert (line["name"], line["holds"]) == ("mine", "4 runs")
    _taken_away(page, "mine")
    assert {run.id for run in lab.runs.all()} == {run.name for run in lab.runs.all()}
    page.values[GRID, "cellValueChanged"] = [rename | {"colId": "pinned", "value": True}]
    page.react("runs.cellValueChanged")
    lab.runs.refresh()
    assert all(run.pinned for run in lab.runs.all())
    page.values["runs-fold", "value"] = False
    changes = page.fire("runs-known.data", "runs-fold.value")[GRID]["rowTransaction"]
    assert len(changes["add"]) == 4
    assert changes["remove"] == [{"id": "comparison:own-1"}]
    press(page, "run-delete", "run-deleted.data")
    assert page.text("runs-message").strip() == "Deleted the comparison mine (4 runs)."
    assert not lab.runs.all()
    press(page, "run-undo", "run-deleted.data")
    assert len(lab.runs.all()) == 4


def _open_as_one(page):
    """The card of a comparison that is chosen, though no result of it was kept."""
    page.fire("race-seen.data", "runs-comparison.data")
    assert page.get("race-card", "hidden") is False
    assert page.text("race-facts").startswith("2 lanes · 2 seeds · 4 runs")
    assert "After 40 steps of the same batches" in page.text("race-verdict")
    figure = page.get("race-curves", "figure")
    assert {line["name"] for line in figure["data"] if line.get("name")} == {"a", "b"}
    assert "1." in page.text("race-tables")
    assert page.fire("race-seen.data", "runs-known.data") == {}  # nothing new
    page.fire("overlay.figure", "runs-picked.data")
    assert page.get("overlay-card", "hidden") is True


def _taken_away(page, title):
    """Its one CSV, and what its one picture is made from."""
    page.fire("race-seen.data", "runs-known.data")
    assert page.text("race-title").startswith(title)
    answer = page.client.get("/download-comparison/own-1.csv")
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert {(row["lane"], row["seed"]) for row in rows} == {
        ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")}  # fmt: skip
    assert {row["step"] for row in rows} == {"20", "40"}
    away = page.get("race-away", "children")
    addresses = [part["props"]["data-charts"] for part in away if "data-charts" in str(part)]
    assert len(addresses) == 2  # SVG and PNG
    drawn = page.client.get(f"/{addresses[0]}").get_json()
    assert drawn["title"] == title
    assert "the lowest validation loss" in drawn["said"]
    assert len(drawn["figures"]) == 4
    assert all(figure["layout"]["height"] > 100 for figure in drawn["figures"])
    assert page.client.get("/comparison-charts/none-1.json").status_code == 404
    assert page.client.get("/download-comparison/none-1.csv").status_code == 404


def test_what_a_comparison_measured_goes_and_comes_back_with_its_runs(page, lab, until):
    tiny = setup_from(page.get("plan", "data")["setup"]).values()
    base = {key: tiny[key] for key in SMALL}
    vary = {"train.learning_rate": [0.001, 0.01]}
    asked = lab.comparisons.start(
        comparison_from({"base": base, "vary": vary, "compare": {"steps": 5, "seeds": 1}})
    )
    assert asked.job.wait(60)
    losses = [cell.losses for cell in asked.outcome.cells]
    lab.runs.refresh()
    (line,) = listed(page)["add"]
    choose(page, line["id"])
    press(page, "run-delete", "run-deleted.data")
    assert lab.comparisons.find("own-1") is None
    with contextlib.closing(Lab(lab.home)) as again:
        assert again.comparisons.newest() is None
    assert page.client.get("/download-comparison/own-1.csv").status_code == 404
    press(page, "run-undo", "run-deleted.data")
    assert [cell.losses for cell in lab.comparisons.find("own-1").outcome.cells] == losses
    with contextlib.closing(Lab(lab.home)) as again:
        assert [cell.losses for cell in again.comparisons.newest().outcome.cells] == losses
