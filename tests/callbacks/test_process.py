"""The Train tab with a training in a process of its own."""

import os
import signal
import stat

from transformer_lab.runs.control import CONTROL


def test_the_buttons_reach_a_process_and_a_killed_one_leaves_a_sentence(page, lab, until):
    def ticked():
        page.tick()
        return page.text("state")

    def pressed(button):
        page.click(button)
        return page.text("message")

    page.set({"train.steps": "1000000", "train.where": "process", "train.save_every": "20"})
    assert pressed("start") == ""
    assert "its process starts" in ticked()
    assert page.get("stop", "disabled") is False
    until(lambda: lab.runs.view().step > 20 and lab.trainings.remote())
    run_id = lab.runs.view().run_id
    assert f"{run_id}running" in ticked().lower()
    assert page.get("start", "title") == f"{run_id} trains in a process of its own: stop it first."
    assert page.get("live-actions", "hidden") is False
    assert stat.S_IMODE((lab.runs.open(run_id).folder / CONTROL).stat().st_mode) == 0o600

    page.set({"train.learning_rate": "1e-5"})
    assert pressed("apply-rate") == "Learning Rate is 1e-05 from the next step."
    assert pressed("keep") == "This checkpoint is kept with the run."
    pressed("pause")
    until(lambda: "paused" in ticked())
    assert page.get("pause", "children") == "Resume"
    pressed("pause")
    until(lambda: "running" in ticked())

    (child,) = lab.trainings.children()
    os.kill(child.process.pid, signal.SIGKILL)
    until(lambda: "Its process was killed (SIGKILL) after step " in ticked())
    assert "Nothing else was harmed. Resume goes on after step " in page.text("state")
    assert page.get("pause", "disabled") is False
    pressed("pause")  # which is Resume: a process again
    until(lambda: "running" in ticked() and lab.trainings.remote(run_id))
    pressed("stop")
    until(lambda: lab.runs.open(run_id).state()[0] == "stopped")
    until(lambda: lab.trainings.resting())
