"""The leak audit, on the page, in the list of runs and in the terminal."""

import json

from transformer_lab.cli import main
from transformer_lab.inspection.audit import PROOFS


def audited(page, until):
    page.values["audit-start", "n_clicks"] = 1
    page.fire("audit-job.data", "audit-start.n_clicks")
    until(lambda: page.react("audit-tick.n_intervals") or not page.get("audit-start", "disabled"))


def test_one_press_proves_a_trained_model_and_leaves_a_badge(trained, lab, until):
    run_id = lab.trainings.current.status.run_id
    trained.values |= {("tabs", "active_tab"): "PCN Experiments"}
    trained.fire("audit-model.options", "tabs.active_tab")
    assert trained.get("audit-model", "value") == run_id
    audited(trained, until)
    told = trained.text("audit-proofs")
    assert told.startswith(" Passed. ")
    for title in ("Editing the future", "passed"):
        assert title in told
    assert told.count("passed") >= len(PROOFS)
    (step, detail) = lab.runs.open(run_id).events("audit")[0]
    assert step == 40
    kept = json.loads(detail)
    assert len(kept["proofs"]) == len(PROOFS)
    assert f"(Seed {kept['seed']}.)" in told
    lab.runs.refresh()
    (run,) = lab.runs.all()
    assert run.audit == "passed"


def test_a_model_that_knows_nothing_is_not_judged(page, lab, until):
    page.set({"model.qk_norm": True})
    page.click("initialize")
    until(lambda: lab.trainings.current.status.state == "ready")
    page.values["audit-model", "value"] = "untrained"
    audited(page, until)
    assert "Not informative yet" in page.text("audit-proofs")


def test_without_a_model_it_says_what_to_do(page):
    page.values["audit-model", "value"] = None
    page.fire("audit-job.data", "audit-start.n_clicks")
    assert "train one first" in page.text("audit-caption")


def test_a_run_that_went_on_says_after_which_step_it_was_audited(trained, lab, until):
    run_id = lab.trainings.current.status.run_id
    verdict = {"outcome": "passed", "sentence": "Nothing leaks."}
    lab.runs.open(run_id).add_event("audit", 20, json.dumps(verdict))
    lab.runs.refresh()
    assert lab.runs.all()[0].audit == "passed at step 20"


def test_the_terminal_tells_the_same(trained, lab, capsys):
    home = ["--home", str(lab.home)]
    assert main(["audit", *home]) == 0
    told = capsys.readouterr().out
    assert told.count("  passed ") == len(PROOFS)
    assert told.splitlines()[-1].startswith("passed: ")
    numbers = []
    for _ in range(2):
        assert main(["audit", *home, "--json", "--seed", "7"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines[-1]["outcome"] == "passed"
        numbers.append([line.get("numbers") for line in lines])
    assert numbers[0] == numbers[1]
    assert main(["audit", *home, "no-such-run"]) == 1
