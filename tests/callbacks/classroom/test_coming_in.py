"""A class: who comes in, as whom, and that nobody reaches what is another's."""

import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from school import BYTES, FORM, JSON, LEARNERS, RUN, SECRET, TEACHER, School, fingerprint
from werkzeug.test import Client, EnvironBuilder

from transformer_lab.lab.classroom.classroom import ClassroomFullError
from transformer_lab.lab.classroom.people import Person
from transformer_lab.ui.classroom.gates import Cookies
from transformer_lab.ui.web.access import Access

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
