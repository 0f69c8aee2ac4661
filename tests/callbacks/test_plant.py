"""Watch it fail: a leak planted into a copy of a model, on the page."""

from transformer_lab.inspection.audit import PROOFS
from transformer_lab.inspection.planted import LEAKS
from transformer_lab.inspection.repetition import fingerprint


def press(page):
    page.values["plant-start", "n_clicks"] = 1
    page.fire("plant-job.data", "plant-start.n_clicks")


def follow(page, until):
    until(lambda: page.react("plant-tick.n_intervals") or not page.get("plant-start", "disabled"))


def test_one_press_plants_a_leak_and_the_run_stays_as_it_is(trained, lab, until):
    run_id = lab.trainings.current.status.run_id
    weights = fingerprint(lab.models.snapshot(run_id).model())
    trained.values |= {("audit-model", "value"): run_id, ("plant-kind", "value"): "cache"}
    press(trained)
    assert trained.get("plant-start", "disabled")
    assert not trained.get("plant-stop", "disabled")
    follow(trained, until)
    told = trained.text("plant-found")
    assert told.startswith("Loss in nats")
    for words in (
        "validation text",
        "random tokens",
        "impossible",
        "Caught by Token by token: ",
        "Your own model is unchanged",
    ):
        assert words in told
    rows = trained.get("plant-found", "children")[-1]["props"]["children"]
    assert len(rows) == len(PROOFS)
    assert "failed" in str(rows[0])
    assert trained.text("plant-caption") == f"a copy of {run_id} at step 40"
    assert fingerprint(lab.models.snapshot(run_id).model()) == weights
    assert not lab.runs.open(run_id).events("audit")
    lab.runs.refresh()
    assert not lab.runs.all()[0].audit


def test_it_can_be_stopped(trained, lab, until):
    trained.values["plant-kind", "value"] = "mask"
    press(trained)
    trained.values["plant-stop", "n_clicks"] = 1
    trained.react("plant-stop.n_clicks")
    follow(trained, until)
    assert trained.text("plant-caption").endswith(" · stopped")
    assert trained.get("plant-stop", "disabled")


def test_each_kind_is_listed_with_its_lines(page):
    for kind, leak in LEAKS.items():
        page.values["plant-kind", "value"] = kind
        page.react("plant-kind.value")
        assert leak.help in page.text("plant-help")
        assert f"class {leak.model.__name__}(" in page.text("plant-help")


def test_what_cannot_be_planted_is_one_sentence(page):
    shown = page.text("plant-help")
    for kind in (None, "no such leak", 7):
        page.values["plant-kind", "value"] = kind
        press(page)
        assert "choose one of mask, loss" in page.text("plant-caption")
        page.react("plant-kind.value")
        assert page.text("plant-help") == shown
    page.values["plant-kind", "value"] = "mask"
    press(page)
    assert "train one first" in page.text("plant-caption")
    assert page.get("plant-tick", "disabled")
