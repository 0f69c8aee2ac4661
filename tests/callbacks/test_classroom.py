"""A class: who comes in, as whom, and that nobody reaches what is another's."""

import hashlib
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse

from transformer_lab.exchange import ImportRefusedError
from transformer_lab.lab.classroom.classroom import Classroom, ClassroomFullError, Limits
from transformer_lab.lab.classroom.notices import query_of
from transformer_lab.lab.classroom.people import Person
from transformer_lab.lab.classroom.quota import Quota
from transformer_lab.lab.common import Common
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError
from transformer_lab.ui.classroom.door import Door
from transformer_lab.ui.classroom.gates import Cookies
from transformer_lab.ui.web.access import Access
from waiting import until

TEACHER, LEARNERS = "the-token-of-the-teacher", "the-token-of-the-class-x"
SECRET = "MARKER-OF-JO"  # in everything of Jo's that can be read
RUN = "jos-own-1"
SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 4,
        "train.evaluate_every": 4,
        "train.evaluation_batches": 1,
        "train.threads": 1,
    }
)
LONG = SETUP.with_values({"train.steps": 1_000_000})
JSON = {"content_type": "application/json"}
FORM = {"content_type": "application/x-www-form-urlencoded"}
BYTES = {"content_type": "application/octet-stream"}


class School:
    """A class on one door, with a browser for each person."""

    def __init__(self, home: Path, page_of: Any, base: str = "", **limits: Any) -> None:
        self.page_of = page_of
        self.common = Common()
        self.lab = Lab(home, common=self.common)
        self.classroom = Classroom(self.lab, self.common, Limits(**limits))
        self.base = base
        self.door = Door(self.classroom, teacher=TEACHER, learners=LEARNERS, base_path=base)

    def browser(self, token: str = "") -> Client:
        client = Client(self.door)
        if token:
            assert client.get(f"{self.base}/?token={token}").status_code == 303
        return client

    def enter(self, name: str, client: Client | None = None, code: str = "") -> TestResponse:
        client = client or self.browser(LEARNERS)
        return client.post(f"{self.base}/enter", data={"name": name, "code": code})

    def learner(self, name: str) -> Client:
        client = self.browser(LEARNERS)
        assert self.enter(name, client).status_code == 303
        return client

    def person(self, name: str) -> Person:
        return next(one for one in self.classroom.people.all() if one.name == name)

    def lab_of(self, name: str) -> Lab:
        return self.classroom.lab_of(self.person(name))

    def page(self, name: str, client: Client) -> Any:
        """A page, whose requests go through the door; of the teacher without a name."""
        known = (self.door.page_of(self.person(name)) if name else self.door.teacher).callback_map
        through = SimpleNamespace(test_client=lambda: client)
        return self.page_of(SimpleNamespace(server=through, callback_map=known))

    def close(self) -> None:
        self.classroom.close()
        self.lab.close()
        self.common.thread.close()


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, page_of: Any) -> Iterator[School]:
    made = School(tmp_path_factory.mktemp("school"), page_of)
    yield made
    made.close()


@pytest.fixture(scope="module")
def jo(school: School) -> Iterator[SimpleNamespace]:
    """Jo has trained, trains (which rests now), has a text, a job, and something in the queue."""
    client = school.learner("Jo")
    lab = school.lab_of("Jo")
    lab.trainings.start(SETUP, "jos-own")
    until(lambda: lab.trainings.current.ended)
    lab.runs.describe(RUN, title=SECRET, notes=SECRET)
    text = lab.texts.add(f"{SECRET} ".encode() * 200, f"{SECRET}.txt", "uploaded")
    lab.trainings.start(LONG, "jos-own")
    until(lambda: lab.trainings.current.status.step > 1)
    lab.trainings.pause()
    until(lambda: lab.trainings.current.status.state == "paused")
    lab.trainings.enqueue(SETUP, "jos-own")
    job = lab.jobs.start("job", iter([SECRET]))
    job.wait()
    held = threading.Event()
    writing = lab.jobs.start("writing", (held.wait() for _ in range(2)))
    item = lab.trainings.queue.list()[0].id
    ids = {"run": RUN, "job": job.id, "text": text.id, "item": item, "writing": writing.id}
    yield SimpleNamespace(client=client, lab=lab, ids=ids)
    held.set()


# --- coming in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/lab"])
def test_a_learner_comes_in_with_the_class_link_and_a_name(base, tmp_path, page_of):
    school = School(tmp_path, page_of, base)
    client = school.browser(LEARNERS)
    asked = client.get(f"{base}/")
    assert f'action="{base}/enter"' in asked.text
    assert '<label for="name">' in asked.text
    came = school.enter("Jo", client)
    assert (came.status_code, came.headers["Location"]) == (303, f"{base}/")
    cookie = came.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Lax", f"Path={base}/"))
    assert LEARNERS not in cookie
    page = client.get(f"{base}/_dash-layout").text
    assert '"Class"' in page
    assert "You work as Jo" in page
    assert client.get(f"{base}/").status_code == 200
    school.close()


def test_who_comes_back_with_the_cookie_finds_the_same_workspace_after_a_restart(tmp_path, page_of):
    school = School(tmp_path, page_of)
    client = school.learner("Jo")
    school.lab_of("Jo").texts.add(b"words " * 100, "mine.txt", "uploaded")
    school.close()
    again = School(tmp_path, page_of)
    client.application = again.door
    assert "mine" in client.get("/_dash-layout").text
    assert len(again.classroom.people.all()) == 1
    again.close()


def test_the_same_name_from_another_browser_is_refused_unless_it_is_let_in_again(school):
    first = school.learner("Mia")
    other = school.browser(LEARNERS)
    refused = school.enter("mia", other)
    assert refused.status_code == 422
    assert "Mia is here already" in refused.text
    assert 'aria-invalid="true"' in refused.text
    assert "Set-Cookie" not in refused.headers
    code = school.classroom.people.let_in(school.person("Mia").id)
    assert school.enter("mia", other, code).status_code == 303
    assert "You work as Mia" in other.get("/_dash-layout").text
    assert "name" in first.get("/").text  # the older cookie has ended: asked for a name again
    assert first.get("/_dash-layout").status_code == 404


def test_who_leaves_is_forgotten_by_the_browser_alone(school):
    client = school.learner("Ben")
    assert "You are Ben" in client.get("/leave").text
    assert client.post("/leave", **FORM).status_code == 303
    assert client.get("/_dash-layout").status_code == 404
    assert "Your name" in client.get("/").text
    assert school.person("Ben")


def test_a_name_in_markup_is_shown_as_it_is_and_kept_nowhere(school):
    evil = '"><script>alert(1)</script>'
    refused = school.enter(evil)
    assert refused.status_code == 422
    assert "<script>" not in refused.text
    assert "&lt;script&gt;" in refused.text
    for name in ("../x", "..", "/etc/passwd", "a\0b"):
        assert school.enter(name).status_code == 422
    names = {path.name for path in school.classroom.people.folder.iterdir()}
    assert names - {"people.json", "shared"} <= {one.id for one in school.classroom.people.all()}


def test_as_many_people_are_here_as_may_be_and_idle_ones_make_room(tmp_path, page_of):
    school = School(tmp_path, page_of, here=1)
    first, second = school.learner("A1"), school.learner("A2")
    assert first.get("/").status_code == 200
    full = second.get("/")
    assert full.status_code == 503
    assert "1 people are here" in full.text
    assert second.post("/_dash-update-component", data="{}", **JSON).status_code == 503
    school.classroom.close_idle(0.0)
    assert second.get("/").status_code == 200
    with pytest.raises(ClassroomFullError):
        school.lab_of("A1")
    school.close()


# --- who may not --------------------------------------------------------------------------------


def every_route(school: School) -> list[tuple[str, str]]:
    """Every method and address of the teacher's page, a learner's, and the front."""
    found = set()
    pages = school.door.teacher, school.door.page_of(_any(school))
    for server in (school.door.front, *(page.server for page in pages)):
        for rule in server.url_map.iter_rules():
            path = rule.rule
            for part in rule.arguments:
                path = path.replace(f"<{part}>", RUN).replace(f"<path:{part}>", RUN)
            found |= {(method, path) for method in rule.methods or ()}
    return sorted(found)


def _any(school: School) -> Person:
    return school.classroom.people.all()[0]


def test_a_stranger_is_refused_everywhere(school, jo):
    assert len(every_route(school)) > 20
    for method, path in every_route(school):
        answer = school.browser().open(path, method=method, **FORM)
        assert answer.status_code in (401, 405), (method, path)
        assert "Set-Cookie" not in answer.headers


def test_the_class_link_alone_opens_nothing_but_the_page_for_names(school, jo):
    client = school.browser(LEARNERS)
    for method, path in every_route(school):
        answer = client.open(path, method=method, **FORM)
        if path in ("/", "/leave", "/enter"):
            assert SECRET not in answer.text
        else:
            assert answer.status_code in (404, 405), (method, path)


def test_the_token_of_the_class_is_not_the_teachers(school):
    client = school.browser(LEARNERS)
    assert "Your name" in client.get("/").text
    client.set_cookie(Access(TEACHER).cookie, Access(LEARNERS)._signer.sign("token").decode())
    assert "Your name" in client.get("/").text
    for token in ("", "x", TEACHER[:-1], f"{TEACHER}{LEARNERS}", "\u00e9"):
        assert school.browser().get("/", query_string={"token": token}).status_code == 401
    for method in ("post", "head", "put"):
        answer = getattr(school.browser(), method)(f"/?token={TEACHER}")
        assert "Set-Cookie" not in answer.headers


def test_forged_and_spoiled_cookies_open_nothing(school, jo):
    cookies = Cookies(school.classroom.people)
    person = school.person("Jo")
    right = cookies._signer.sign(f"{person.id}:{person.key}").decode()
    other = Cookies(SimpleNamespace(secret="another-secret"))._signer  # type: ignore[arg-type]
    forged = [
        "", ":", person.id, f"{person.id}:", f"{person.id}:{person.key}", right[:-1],
        right.replace(person.id, "0" * 16), cookies._signer.sign(person.id).decode(),
        cookies._signer.sign(f"{person.id}:").decode(),
        cookies._signer.sign(f"{person.id}:x").decode(),
        cookies._signer.sign(f"../{person.id}:{person.key}").decode(),
        cookies._signer.sign("x:").decode(), other.sign(f"{person.id}:{person.key}").decode(),
    ]  # fmt: skip
    for value in forged:
        client = school.browser()
        client.set_cookie(cookies.name, value)
        assert client.get("/_dash-layout").status_code == 401, value
    client = school.browser()
    client.set_cookie(cookies.name, right)
    assert client.get("/_dash-layout").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ],
)
def test_another_site_gives_no_name_and_makes_nobody_leave(school, headers):
    client = school.browser(LEARNERS)
    for path in ("/enter", "/leave"):
        assert client.post(path, data={"name": "Eve"}, headers=headers).status_code == 403
    assert "Eve" not in [one.name for one in school.classroom.people.all()]


def test_headers_that_name_somebody_change_nothing(school, jo):
    person = school.person("Jo")
    client = school.learner("Hal")
    for header in ("X-Remote-User", "Remote-User", "Authorization", "X-Forwarded-User", "X-Person"):
        assert "You work as Hal" in client.get("/_dash-layout", headers={header: person.id}).text
    tricks = {"X-Original-URL": "/leave", "X-HTTP-Method-Override": "DELETE"}
    assert "You work as Hal" in client.get("/_dash-layout", headers=tricks).text


def test_a_learners_page_refuses_whom_the_door_might_lead_there_by_mistake(school, jo):
    """The page of a person asks for their cookie itself."""
    visitor = school.door.page_of(school.person("Jo")).server.test_client()
    assert visitor.get("/").status_code == 401
    theirs = school.learner("Kim")._cookies  # type: ignore[attr-defined]
    visitor._cookies = theirs
    assert visitor.get("/_dash-layout").status_code == 401


def test_no_proxy_may_keep_an_answer_for_somebody_else(school, jo):
    for client in (jo.client, school.browser(TEACHER), school.browser(LEARNERS)):
        for path in ("/", "/_dash-layout", "/_dash-dependencies", f"/download/{RUN}/run.zip"):
            answer = client.get(path)
            assert answer.cache_control.no_store, path
            assert "Cookie" in answer.vary
        files = client.get("/assets/lab.css?m=1").cache_control
        assert files.private or files.no_store
        assert not files.public


def test_bodies_are_refused_by_their_headers_for_everybody(school, jo):
    """What a server asks before it takes in a body, and opens no lab for."""
    client = school.learner("Zoe")

    def refusal(path: str, browser: Client, **options: Any) -> int:
        environ = EnvironBuilder(path, method="POST", **options).get_environ()
        browser._add_cookies_to_wsgi(environ)
        found = school.door.refusal(environ)
        return found.code if found else 200

    for path, kind in (("/upload", BYTES), ("/bring-in", BYTES), ("/_dash-update-component", JSON)):
        assert refusal(path, school.browser(), data=b"{}", **kind) == 401 or path
        assert refusal(path, client, data=b"{}", **kind) == 200
        assert refusal(path, jo.client, data=b"{}", content_type="text/plain") == 415
    assert refusal("/upload", school.browser(), data=b"{}", **BYTES) == 405
    assert refusal("/enter", client, data=b"x" * 5000, content_type="text/plain") == 415
    assert school.classroom.opened(school.person("Zoe")) is None


# --- what is another's --------------------------------------------------------------------------


def fingerprint(home: Path) -> str:
    """Of every file of a home but what a database keeps open."""
    found = hashlib.sha256()
    for path in sorted(home.rglob("*")):
        if path.is_file() and "cache" not in path.parts and not path.name.endswith("-shm"):
            found.update(str(path).encode() + path.read_bytes())
    return found.hexdigest()


def aimed(value: Any, ids: dict[str, str], key: str = "value") -> Any:
    """A value of the page with everything that could name something of Jo's naming it."""
    if isinstance(value, dict):
        return {name: aimed(inner, ids, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [aimed(inner, ids, key) for inner in value] or value
    if isinstance(value, bool | int | float):
        return value
    kinds = {"job": "job", "text": "text", "corpus": "text", "item": "item", "writing": "writing"}
    return ids[kinds.get(key, "run")]


def stores(ids: dict[str, str]) -> dict[str, Any]:
    """What the page keeps, naming what is Jo's, where it has a form of its own."""
    run, job = ids["run"], ids["job"]
    study = {"job": job, "config": {"corpus": ids["text"]}}
    return {
        "moment-at": {"run": run, "step": 4, "newest": 4},
        "moment-goal": {"run": run, "step": 4},
        "played": {"run": run, "step": 4, "newest": 4},
        "runs-picked": [run],
        "run-deleted": [run],
        "branch": {"run": run, "checkpoint": "end-4"},
        "look-open": {"run": run, "step": 4, "weights": "", "tokens": [1, 2], "after": 0},
        "look-given": {"run": run, "text": "a"},
        "blocks-known": {"run": run, "count": 1},
        "study": study,
        "studied": study,
        "fetch": {"job": job},
        "audit-job": {"job": job},
        "plant-job": {"job": job},
        "importance-job": {"job": job, "after": 0},
        "induction-job": {"job": job, "after": 0},
        "uploaded": {"id": ids["text"]},
        "run-imported": {"id": run},
        "base-imported": {"id": run},
        "picked": {"writing": ids["writing"], "place": "0"},
        "writing": {"shown": [ids["writing"], job], "at": {"run": run}},
        "prompt-given": {"run": run, "prompt": "a", "replaces": ""},
        "cause-parts": [],
        "guesses": {},
        "compare-guesses": {},
    }


def aim(one: dict[str, Any], ids: dict[str, str]) -> None:
    """Have one property of a request name what is Jo's."""
    kind = one["property"]
    if kind == "n_clicks":
        one["value"] = 1
    elif kind == "selectedRows":
        one["value"] = [{"id": RUN}]
    elif kind in ("value", "data"):
        known = stores(ids).get(str(one["id"])) if kind == "data" else None
        if one["id"] != "plan":  # of Al's own form, in a form that is checked as a whole
            one["value"] = aimed(one.get("value"), ids) if known is None else known


def attacks(page: Any, ids: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every callback, begun by each of its inputs, as it is but for what it names."""
    for key, known in page.app.callback_map.items():
        for trigger in known["inputs"] if "callback" in known else ():
            body = page.body(key, f"{trigger['id']}.{trigger['property']}")
            for part in (*body["inputs"], *body["state"]):
                for one in part if isinstance(part, list) else [part]:
                    aim(one, ids)
            yield key, body


def told(page: Any, ids: dict[str, str], caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """How many of all attacks are answered, and how many answers hold something of Jo's."""
    answered = found = 0
    for key, body in attacks(page, ids):
        answer = page.post(body)
        assert answer.status_code in (200, 204, 400), (key, answer.text)
        answered += answer.status_code != 400
        found += SECRET in answer.text
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    return answered, found


def test_no_callback_reaches_what_is_another_learners(school, jo, caplog):
    """Every callback of the page is asked, by each of its inputs, for everything of Jo's."""
    client = school.learner("Al")
    page = school.page("Al", client)
    assert page.components
    before, state = fingerprint(jo.lab.home), jo.lab.trainings.current.status
    queue, jobs = jo.lab.trainings.queue.list(), set(jo.lab.jobs._jobs)
    answered, found = told(page, jo.ids, caplog)
    assert answered > 240  # the others are refused before a callback sees them
    assert found == 0
    assert fingerprint(jo.lab.home) == before
    assert jo.lab.trainings.current.status == state
    assert jo.lab.trainings.queue.list() == queue
    assert set(jo.lab.jobs._jobs) == jobs
    assert [run.id for run in jo.lab.runs.all()] == ["jos-own-2", RUN]


def test_the_same_requests_of_jo_are_answered(school, jo, caplog):
    """Else the test above would prove nothing; only looking, lest it change what others use."""
    page = school.page("Jo", jo.client)
    page.open_tab("Runs")
    rows = page.fire("runs-known.data", "runs-tick.n_intervals")
    assert SECRET in json.dumps(rows)
    assert SECRET in jo.client.get("/_dash-layout").text  # a text among those on offer


def test_no_route_reaches_what_is_another_learners(school, jo):
    client = school.learner("Ada")
    before = fingerprint(jo.lab.home)
    for method, path in every_route(school):
        if path != "/leave":
            answer = client.open(path, method=method)
            assert SECRET.encode() not in answer.data, (method, path)
    for name in ("run.zip", "weights.zip", "model.zip"):
        assert client.get(f"/download/{RUN}/{name}").status_code == 404
    person = school.person("Jo").id
    for path in (f"../{person}/runs/{RUN}", f"..%2f{person}", f"people/{person}"):
        assert client.get(f"/download/{path}/run.zip").status_code == 404
    assert jo.client.get(f"/download/{RUN}/run.zip").status_code == 200
    sent = client.post(f"/bring-in?name=x.zip&base={RUN}", data=b"PK", **BYTES)
    assert sent.status_code == 400
    assert f"no run '{RUN}'" in sent.json["error"] or "There is no run" in sent.json["error"]
    assert client.post("/upload?name=a.txt", data=b"mine " * 99, **BYTES).status_code == 200
    assert fingerprint(jo.lab.home) == before


def test_what_the_teacher_alone_has_is_no_learners(school, jo):
    client = school.learner("Ivy")
    theirs = set(school.door.page_of(school.person("Ivy")).callback_map)
    teachers = school.door.teacher.callback_map
    own = {key: known for key, known in teachers.items() if key not in theirs}
    assert own
    for key, known in own.items():
        body = {
            "output": key,
            "outputs": [],
            "inputs": [{**one, "value": 1} for one in known["inputs"]],
            "state": [{**one, "value": school.person("Jo").id} for one in known["state"]],
            "changedPropIds": [],
        }
        answer = client.post("/_dash-update-component", data=json.dumps(body), **JSON)
        assert answer.status_code == 400


def test_the_teacher_gives_a_code_that_works(school, jo):
    page = school.page("", school.browser(TEACHER))
    page.open_tab("Class")
    page.fire("class-people.children", "class-people-tick.n_intervals")
    assert "Jo" in json.dumps(page.get("class-people", "children"))
    school.learner("Lea")
    page.values["class-again", "value"] = school.person("Lea").id
    page.values["class-let-in", "n_clicks"] = 1
    told = page.fire("class-code.children", "class-let-in.n_clicks")
    code = told["class-code"]["children"][0]["props"]["children"]
    other = school.browser(LEARNERS)
    assert school.enter("Lea", other, code).status_code == 303
    page.values["class-again", "value"] = "nobody"
    again = page.fire("class-code.children", "class-let-in.n_clicks")
    assert "Choose a person" in json.dumps(again)


def test_no_token_is_in_any_log_or_answer(school, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [school.browser().get(f"/?token={token}") for token in (TEACHER, LEARNERS)]
    answers += [school.browser(LEARNERS).get("/"), school.browser(TEACHER).get("/_dash-layout")]
    words = "\n".join(answer.text + str(answer.headers) for answer in answers) + caplog.text
    assert TEACHER not in words
    assert LEARNERS not in words
    assert io.StringIO(repr(school.door._tokens)).read().find(TEACHER) == -1


# --- limits -------------------------------------------------------------------------------------


def test_each_limit_is_told_in_a_sentence_with_the_way_out(tmp_path, page_of):
    school = School(tmp_path, page_of, quota=Quota(runs=1, nbytes=150_000, seconds=1e9))
    client = school.learner("Jo")
    lab, person = school.lab_of("Jo"), school.person("Jo")
    lab.trainings.start(SETUP, "mine")
    until(lambda: lab.trainings.current.ended)
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
    until(lambda: lab.trainings.current.ended)
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
    until(lambda: lab.trainings.current.ended)
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
    until(lambda: lab.trainings.current.ended)
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
