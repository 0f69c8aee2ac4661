"""A class: limits, the teacher's view, what is sent and what is shared."""

import json
from pathlib import Path
from typing import Any

import pytest
from school import BYTES, LONG, RUN, SECRET, SETUP, TEACHER, School, fingerprint, rested

from transformer_lab.exchange import ImportRefusedError
from transformer_lab.lab.classroom.classroom import ClassroomFullError
from transformer_lab.lab.classroom.notices import query_of
from transformer_lab.lab.classroom.quota import Quota
from transformer_lab.lab.lab import LabError
from transformer_lab.settings import ConfigError
from waiting import until

# --- limits -------------------------------------------------------------------------------------


def test_each_limit_is_told_in_a_sentence_with_the_way_out(tmp_path, page_of):
    school = School(tmp_path, page_of, quota=Quota(runs=1, nbytes=150_000, seconds=1e9))
    client = school.learner("Jo")
    lab, person = school.lab_of("Jo"), school.person("Jo")
    lab.trainings.start(SETUP, "mine")
    rested(lab)
    with pytest.raises(LabError, match=r"You have 1 runs, .* delete some on the Runs tab"):
        lab.trainings.start(SETUP, "mine")
    lab.trainings.enqueue(SETUP, "mine")
    until(lambda: lab.trainings.queue.list()[0].problem)
    assert "delete some on the Runs tab" in lab.trainings.queue.list()[0].problem
    sent = client.post("/bring-in?name=x.zip", data=b"PK", **BYTES)
    assert (sent.status_code, sent.json["error"][:10]) == (413, "You have 1")
    sent = client.post("/upload?name=a.txt", data=b"x" * 160_000, **BYTES)
    assert sent.status_code == 413
    assert "MB are all it may have in this class: delete runs" in sent.json["error"]
    assert client.post("/upload?name=a.txt", data=b"words " * 200, **BYTES).status_code == 200
    lab.runs.delete("mine-1")
    assert (lab.home / "trash" / "mine-1").is_dir()
    (lab.home / "large").write_bytes(b"x" * 150_000)
    school.classroom.look(person.id, school.classroom._rooms[person.id])
    assert list((lab.home / "trash").glob("*")) == []  # for good, as the room is needed
    with pytest.raises(LabError, match="Your workspace has 0 MB, and 0 MB are all"):
        lab.trainings.start(SETUP, "mine")
    school.close()


def test_a_training_ends_when_its_person_has_had_all_the_time_there_is(tmp_path, page_of):
    school = School(tmp_path, page_of, quota=Quota(seconds=0.05))
    school.learner("Jo")
    lab, person = school.lab_of("Jo"), school.person("Jo")
    lab.trainings.start(LONG, "mine")
    until(lambda: lab.trainings.current.ended)  # the class looks now and then
    assert lab.trainings.current.status.state == "stopped"
    assert "ask your teacher for more time" in lab.trainings.current.status.reason
    with pytest.raises(LabError, match="more time"):
        lab.trainings.resume(lab.trainings.current.status.run_id)
    school.classroom.close_idle(-1.0)
    assert school.classroom.used(person).seconds > 0.05  # a lab that was closed begins no new count
    with pytest.raises(LabError, match="more time"):
        school.lab_of("Jo").trainings.start(SETUP, "mine")
    school.classroom.more_time()
    school.lab_of("Jo").trainings.start(SETUP, "mine")
    school.close()


def test_files_of_the_computer_are_the_teachers_alone(school, jo, tmp_path):
    (tmp_path / "server.txt").write_text(f"{SECRET} " * 200)
    path = str(tmp_path / "server.txt")
    client = school.learner("Ned")
    lab = school.lab_of("Ned")
    for wrong in (lambda: lab.texts.corpus(path), lambda: lab.texts.add_file(Path(path))):
        with pytest.raises(ConfigError, match="cannot be named by its path"):
            wrong()
    with pytest.raises(ImportRefusedError, match="can be named by its path"):
        lab.runs.bring_in_path(tmp_path)
    shown = client.get("/_dash-layout", query_string={"data.corpus": path}).text
    assert SECRET not in shown
    assert "while others may visit the lab" in shown
    page = school.page("Ned", client)
    page.set({"data.corpus": path})
    assert "cannot be named by its path" in page.error_at("data.corpus")
    assert school.lab.texts.corpus(path).text.startswith(SECRET)
    assert str(school.lab.home) not in shown


# --- the teacher's view -------------------------------------------------------------------------


@pytest.fixture
def desk(school: School, jo: Any) -> Any:
    """The teacher's page with the Class tab open."""
    page = school.page("", school.browser(TEACHER))
    page.open_tab("Class")
    return page


def test_the_teacher_sees_how_everybody_stands_with_all_curves_in_one_chart(school, desk):
    client = school.learner("Tom")
    lab = school.lab_of("Tom")
    lab.trainings.start(SETUP, "toms")
    rested(lab)
    client.get("/")
    desk.fire("class-people.children", "class-people-tick.n_intervals")
    told = json.dumps(desk.get("class-people", "children"))
    assert "toms-1" in told
    assert "jos-own-2" in told
    lines = {line["name"]: line for line in desk.get("class-curves", "figure")["data"]}
    assert lines["Tom"]["x"] == [4]
    assert lines["Tom"]["y"] == [pytest.approx(lab.runs.view().validation_loss, abs=1e-3)]
    assert desk.fire("class-people.children", "class-people-tick.n_intervals").keys() <= {
        "class-people-seen",
        "class-people",
    }
    for name in ("Jo", "Tom"):  # nobody but the teacher has it
        assert "class-curves" not in json.dumps(
            school.door.page_of(school.person(name)).callback_map, default=str
        )


def press(page: Any, button: str, output: str) -> dict[str, Any]:
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    return page.fire(output, f"{button}.n_clicks")


def test_pause_all_holds_every_learner_until_all_go_on(school, desk):
    client = school.learner("Pia")
    lab = school.lab_of("Pia")
    lab.trainings.start(LONG, "pias")
    until(lambda: lab.trainings.current.status.step > 1)
    press(desk, "class-hold", "class-hold.children")
    assert desk.get("class-hold", "children") == "Let all go on"
    lab.trainings.wait()  # for the step under way
    step = lab.trainings.current.stream.since()[1]
    later = school.learner("Que")  # who comes in now is held, too
    other = school.lab_of("Que")
    other.trainings.start(SETUP, "ques")
    other.trainings.wait()
    assert lab.trainings.current.stream.since()[1] == step
    assert other.trainings.current.stream.since()[1] == 0
    page = school.page("Pia", client)
    page.fire("class-notice.children", "class-notice-tick.n_intervals")
    assert "paused all trainings" in json.dumps(page.get("class-notice", "children"))
    press(desk, "class-hold", "class-hold.children")
    until(lambda: other.trainings.current.ended)
    until(lambda: lab.trainings.current.stream.since()[1] > step)
    page.fire("class-notice.children", "class-notice-tick.n_intervals")
    assert page.get("class-notice", "children") == []
    lab.trainings.stop()
    rested(lab)
    assert later.get("/").status_code == 200


def test_what_the_teacher_sends_stands_on_every_page_until_it_is_closed(school, jo, desk):
    desk.values["class-address", "value"] = (
        "http://lab.school/?tab=learn&lesson=01-first-model&x=a%26b"
    )
    desk.values["class-words", "value"] = "<b>Read</b> this first."
    press(desk, "class-send", "class-sent.children")
    assert desk.get("class-address-problem", "children") == ""
    page = school.page("Jo", jo.client)
    page.fire("class-notice.children", "class-notice-tick.n_intervals")
    words, link = page.get("class-notice", "children")[0]["props"]["children"]
    assert words == "<b>Read</b> this first. "
    assert link["props"]["href"] == "/?tab=learn&lesson=01-first-model&x=a%26b"
    assert page.fire("class-notice.children", "class-notice-tick.n_intervals").keys() == {
        "class-notice-seen"
    }
    press(page, "class-notice-close", "class-notice.children")
    assert page.get("class-notice", "children") == []
    assert page.get("class-notice-close", "hidden") is True
    desk.values["class-words", "value"] = ""
    press(desk, "class-send", "class-sent.children")
    page.fire("class-notice.children", "class-notice-tick.n_intervals")
    assert "Your teacher sends you" in json.dumps(page.get("class-notice", "children"))
    press(desk, "class-take-back", "class-sent.children")
    page.fire("class-notice.children", "class-notice-tick.n_intervals")
    assert page.get("class-notice", "children") == []


@pytest.mark.parametrize(
    ("address", "words", "problem"),
    [
        ("", "", "names no view"),
        ("javascript:alert(1)", "", "names no view"),
        ("http://evil.example/path", "", "names no view"),
        ("?tab=look&model=my-run-1", "", "names a model of yours"),
        ("?tab=train", "w" * 201, "201 characters"),
    ],
)
def test_what_cannot_be_sent_is_told_at_its_control(school, desk, address, words, problem):
    desk.values["class-address", "value"] = address
    desk.values["class-words", "value"] = words
    press(desk, "class-send", "class-sent.children")
    told = [desk.get(f"class-{name}-problem", "children") for name in ("address", "words")]
    assert problem in "".join(told)
    assert school.classroom.notice is None


def test_a_link_that_is_sent_leads_nowhere_but_to_the_lab():
    for address in (
        "https://evil.example/?tab=train",
        "javascript://x/?tab=train",
        "//evil/?tab=train",
    ):
        assert query_of(address) == "tab=train"
    assert query_of('?find="><script>') == "find=%22%3E%3Cscript%3E"


# --- sharing ------------------------------------------------------------------------------------


def test_a_shared_run_is_seen_by_all_copied_by_some_and_changed_by_nobody(tmp_path, page_of):
    school = School(tmp_path, page_of, quota=Quota(runs=2))
    jo, al = school.learner("Jo"), school.learner("Al")
    lab = school.lab_of("Jo")
    lab.trainings.start(SETUP, "jos-own")
    rested(lab)
    lab.runs.describe(RUN, title="<b>Mine</b>")
    mine, theirs = school.page("Jo", jo), school.page("Al", al)
    mine.values["class-own-run", "value"] = RUN
    press(mine, "class-share", "class-shared-said.children")
    assert "The class sees a copy of <b>Mine</b> now." in mine.get("class-shared-said", "children")
    theirs.open_tab("Class")
    theirs.fire("class-shared-table.children", "class-shared-tick.n_intervals")
    row = json.dumps(theirs.get("class-shared-table", "children"))
    assert "<b>Mine</b>" in row
    assert '"Jo"' in row
    shared = school.classroom.shared.all()[0]
    place = school.classroom.people.folder / "shared" / f"{shared.id}.zip"
    before = place.read_bytes(), fingerprint(lab.home)
    theirs.values["class-shared", "value"] = shared.id
    press(theirs, "class-share-back", "class-shared-said.children")
    assert "Only Jo and the teacher" in json.dumps(theirs.get("class-shared-said", "children"))
    for copied in (RUN, "jos-own-1-1"):
        press(theirs, "class-take", "class-shared-said.children")
        assert theirs.get("class-shared-said", "children") == f"It is {copied} among your runs."
    press(theirs, "class-take", "class-shared-said.children")  # a third is more than two
    assert "You have 2 runs" in json.dumps(theirs.get("class-shared-said", "children"))
    own = school.lab_of("Al")
    own.runs.describe(RUN, title="Another")
    own.runs.delete("jos-own-1-1")
    weights = [
        (one.runs.open(RUN).checkpoints()[-1] / "weights.safetensors").read_bytes()
        for one in (lab, own)
    ]
    assert weights[0] == weights[1]
    assert (place.read_bytes(), fingerprint(lab.home)) == before
    school.classroom.look(school.person("Jo").id, school.classroom._rooms[school.person("Jo").id])
    assert school.classroom.used(school.person("Jo")).nbytes >= shared.nbytes
    desk = school.page("", school.browser(TEACHER))
    desk.values["class-shared", "value"] = shared.id
    press(desk, "class-share-back", "class-shared-said.children")
    assert "no longer shared" in desk.get("class-shared-said", "children")
    assert not place.exists()
    school.close()


def test_what_is_not_there_is_neither_shared_nor_copied(school, jo):
    page = school.page("Nia", school.learner("Nia"))
    kept = sorted(path.name for path in (school.classroom.people.folder / "shared").iterdir())
    for named in ("", RUN, f"../{school.person('Jo').id}/runs/{RUN}", "../people.json", "\0"):
        page.values |= {("class-own-run", "value"): named, ("class-shared", "value"): named}
        press(page, "class-share", "class-shared-said.children")
        assert "Choose one of your runs" in json.dumps(page.get("class-shared-said", "children"))
        for button in ("class-take", "class-share-back"):
            press(page, button, "class-shared-said.children")
            assert "no longer shared" in json.dumps(page.get("class-shared-said", "children"))
    after = sorted(path.name for path in (school.classroom.people.folder / "shared").iterdir())
    assert after == kept


def test_who_is_removed_is_out_and_loses_nothing(school, desk):
    client = school.learner("Rob")
    lab, person = school.lab_of("Rob"), school.person("Rob")
    lab.trainings.start(LONG, "robs")
    until(lambda: lab.trainings.current.status.step > 1)
    desk.values["class-again", "value"] = person.id
    told = press(desk, "class-remove", "class-code.children")
    assert "Rob is not in the class any more" in json.dumps(told)
    assert client.get("/_dash-layout").status_code == 404
    kept = school.classroom.people.folder / "removed" / person.id / "runs" / "robs-1"
    assert (kept / "run.json").exists()
    with pytest.raises(ClassroomFullError):
        school.classroom.lab_of(person)
    school.learner("Rob")  # another one
    assert school.person("Rob").id != person.id
    assert school.lab_of("Rob").runs.all() == []


def test_one_learner_cannot_hold_every_thread_that_answers(school, jo):
    client, other = school.learner("Uma"), school.learner("Vic")
    school.door._asking[school.person("Uma").id] = 8
    refused = client.get("/_dash-layout")
    assert refused.status_code == 429
    assert "more at once" in refused.text
    assert other.get("/_dash-layout").status_code == 200
    school.door._asking[school.person("Uma").id] = 0
    assert client.get("/_dash-layout").status_code == 200
    assert not +school.door._asking
