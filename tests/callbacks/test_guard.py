"""Who may ask, and what: requests that no page of ours would send get a 4xx, never a 5xx."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sampling import sampled
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids
from transformer_lab.ui.runs import ids as runs_ids
from transformer_lab.ui.server import LATE, create_app

CALLBACKS = "/_dash-update-component"
ODD: list[Any] = [None, True, -1, 1e308, "x", "\ud800", "../" * 40, [], [[]], {}, {"id": {}}]


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "localhost.evil.com",
        "evil.com:8050",
        "localhost@evil.com",
        "127.0.0.1.evil.com",
        "192.168.1.20",
        "10.0.0.1:8050",
        "[fe80::1]:8050",
        "0",
    ],
)
def test_a_foreign_host_name_is_refused(visited, host):
    assert visited.client.get("/", headers={"Host": host}).status_code == 403
    body = visited.body("cursor.data", "tick.n_intervals")
    assert visited.post(body, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8050", "127.0.0.1:8050", "[::1]:8050", "lab.school", "Lab.School:80"],
)
def test_this_computer_and_the_allowed_names_are_answered(visited, host):
    assert visited.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.com", "https://localhost.evil.com", "null", "http://localhost:9999", "file://"],
)
def test_a_request_from_another_site_is_refused(visited, origin):
    body = visited.body("cursor.data", "tick.n_intervals")
    headers = {"Host": "localhost:8050", "Origin": origin}
    assert visited.post(body, headers=headers).status_code == 403


def test_a_request_from_the_page_itself_is_answered(visited):
    body = visited.body("plan.data", "recipe.value")
    headers = {"Host": "localhost:8050", "Origin": "http://localhost:8050"}
    assert visited.post(body, headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_open_the_page_and_nothing_else(visited, site):
    opens = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    loads = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert visited.client.get("/", headers=opens).status_code == 200
    assert visited.client.get("/_dash-layout", headers=loads).status_code == 403
    assert visited.client.get("/assets/lab.js", headers=loads).status_code == 403
    body = visited.body("plan.data", "recipe.value")
    assert visited.post(body, headers=opens).status_code == 403
    for path in ("/download/some-run/run.zip", "/download-experiment/race.csv"):
        assert visited.client.get(path, headers=opens).status_code == 403
        for own in ("same-origin", "none"):
            headers = {"Sec-Fetch-Site": own, "Sec-Fetch-Mode": "navigate"}
            assert visited.client.get(path, headers=headers).status_code == 404


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/assets/lab.js", "/nothing"])
def test_every_answer_says_that_the_page_runs_only_its_own_scripts(visited, path):
    headers = visited.client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "unsafe" not in policy["script-src"]
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Iterator[Any]:
    """A client of a lab that trusts a proxy and is shown under /lab."""
    lab = Lab(tmp_path_factory.mktemp("proxied"))
    names = ["lab.school"]
    app = create_app(lab, allowed_hosts=names, base_path="/lab", trust_proxy=True)
    yield app.server.test_client()
    lab.close()


FORWARDED = {
    "Host": "127.0.0.1:8050",
    "X-Forwarded-Host": "lab.school",
    "X-Forwarded-Proto": "https",
}


@pytest.mark.parametrize(
    ("headers", "peer", "code"),
    [
        (FORWARDED, "127.0.0.1", 200),
        (FORWARDED, "::1", 200),
        (FORWARDED | {"Origin": "https://lab.school"}, "127.0.0.1", 200),
        (FORWARDED | {"Origin": "https://evil.com"}, "127.0.0.1", 403),
        (FORWARDED | {"Origin": "https://lab.school"}, "192.168.1.9", 403),  # no proxy of ours
        (FORWARDED | {"X-Forwarded-Host": "evil.com"}, "127.0.0.1", 403),
        (FORWARDED | {"X-Forwarded-Host": "lab.school, evil.com"}, "127.0.0.1", 403),
        (FORWARDED | {"Host": "evil.com"}, "127.0.0.1", 403),  # a page that another name leads to
    ],
)
def test_a_proxy_is_believed_on_this_computer_and_for_allowed_names(proxied, headers, peer, code):
    options = {"headers": headers, "environ_base": {"REMOTE_ADDR": peer}}
    assert proxied.get("/lab/_dash-layout", **options).status_code == code
    posted = proxied.post(
        "/lab/upload?name=x.txt", data=b"", **options, content_type="application/octet-stream"
    )
    assert posted.status_code == (400 if code == 200 else code)


def test_the_page_under_a_path_asks_for_nothing_outside_it(proxied):
    assert proxied.get("/lab").headers["Location"] == "/lab/"
    for path in ("/lab/", "/"):  # a proxy may leave the path on or take it off
        served = proxied.get(path).get_data(as_text=True)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', served)
        assert len(addresses) > 10
        assert [one for one in addresses if not one.startswith("/lab/")] == []
        for address in addresses:
            assert proxied.get(address).status_code == 200, address
    assert "/lab/" in proxied.get("/lab/nothing").get_data(as_text=True)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_only_json_is_understood(visited, kind):
    body = json.dumps(visited.body("plan.data", "recipe.value"))
    assert visited.client.post(CALLBACKS, data=body, content_type=kind).status_code == 415


def test_a_body_over_two_megabytes_is_refused(visited):
    body = visited.body("plan.data", "recipe.value") | {"padding": "x" * 2_000_000}
    assert visited.post(body).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", CALLBACKS, "/_dash-layout", "/assets/lab.css"])
def test_other_methods_are_not_allowed(visited, method, path):
    assert visited.client.open(path, method=method).status_code == 405


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/nothing", "/_mcp", "/_reload-hash"])
def test_nothing_but_callbacks_takes_a_post(visited, path):
    assert visited.client.post(path, json={}).status_code == 405


@pytest.mark.parametrize(
    "text",
    ["", "{", "nonsense", "[" * 50_000, '{"output": "cursor.data"', "\x00", "[1,]", "\xff\xfe"],
)
def test_what_is_not_json_is_a_bad_request(visited, text):
    answer = visited.client.post(
        CALLBACKS, data=text.encode("latin-1"), content_type="application/json"
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [None, 1, "x", [], {}, [1], {"output": 5}, {"output": "nothing"}])
def test_json_that_is_no_request_of_the_page_is_a_bad_request(visited, body):
    assert visited.post(body).status_code == 400


def test_a_request_with_parts_missing_or_foreign_is_a_bad_request(visited):
    whole = visited.body("message.children", "stop.n_clicks")
    spoiled = [
        {key: value for key, value in whole.items() if key != "output"},
        whole | {"output": "message.children"},
        whole | {"outputs": []},
        whole | {"outputs": whole["outputs"][:-1]},
        whole | {"outputs": [{"id": "brand", "property": "children"}, *whole["outputs"][1:]]},
        whole | {"inputs": whole["inputs"][1:]},
        whole | {"inputs": [*whole["inputs"], whole["inputs"][0]]},
        whole | {"inputs": list(reversed(whole["inputs"]))},
        whole | {"inputs": None},
        whole | {"state": {}},
        whole | {"state": whole["state"][:1]},
        whole | {"changedPropIds": "stop.n_clicks"},
        whole | {"changedPropIds": [5]},
        whole | {"changedPropIds": ["nodot"]},
    ]
    for body in spoiled:
        assert visited.post(body).status_code == 400, body


def test_a_callback_that_runs_in_the_browser_cannot_be_asked_of_the_server(visited):
    assert visited.post(visited.body("runs-tick.interval", "tabs.active_tab")).status_code == 400


REQUESTS = [
    ("recipe-summary.children", "recipe.value"),
    ("plan.data", "recipe.value"),
    ("message.children", "stop.n_clicks"),
    ("message.children", "apply-rate.n_clicks"),
    ("cursor.data", "tick.n_intervals"),
    ("writing.data", "generate.n_clicks"),
    ("output.children", "writing.data"),
    ("picked-body.children", "picked.data"),
    ("branches.children", "writings.data"),
    ("against-step.options", "against.value"),
    ("moment-asked.data", "writer.value"),
    ("runs-known.data", "tabs.active_tab"),
    ("runs-picked.data", "runs.selectedRows"),
    ("runs-seen.data", "runs-picked.data"),
    ("run-deleted.data", "run-undo.n_clicks"),
    ("overlay.figure", "overlay-axis.value"),
    ("queue.children", "at-once.value"),
    ("generate-stop.n_clicks", "generate-stop.n_clicks"),
    ("moment-bar.hidden", "tabs.active_tab"),
    ("experiment.data", "tabs.active_tab"),
    ("experiment-options.options", "experiment.data"),
    ("late-runs.children", "tabs.active_tab"),
    ("experiment-message.children", "experiment-stop.n_clicks"),
    (
        '{"experiment":["ALL"],"name":["ALL"],"type":"experiment-setting"}.value',
        "experiment-defaults.n_clicks",
    ),
    ("experiment-seen.data", "experiment-tick.n_intervals"),
    ("guesses.data", "experiment-guess.n_clicks"),
    ("settling-seen.data", "run.value"),
]


@pytest.mark.parametrize(("output", "changed"), sampled(REQUESTS, 9))
def test_no_mutation_of_a_valid_request_is_a_server_error(once_trained, output, changed):
    """Every value of a valid body in turn is replaced by odd ones, left out, or doubled."""
    answers = {}
    once_trained.values["tabs", "active_tab"] = tab_of(output)
    for name, body in mutations(once_trained.body(output, changed)):
        answers[name] = once_trained.post(body).status_code
    assert len(answers) > 50
    assert {name: code for name, code in answers.items() if code >= 500} == {}


@pytest.fixture(scope="module")
def once_trained(trained_lab):
    """The page of a model that has trained; answers to spoiled requests are not kept on it."""
    _, open_page = trained_lab
    page = open_page()
    page.tick()
    return page


def tab_of(output: str) -> str:
    """The tab on which a callback has something to do."""
    tabs = {"run": "Runs", "experiment": "PCN Experiments", "settling": "Train"}
    return next((tab for part, tab in tabs.items() if part in output), "Generate")


def mutations(body: Any) -> Iterator[tuple[str, Any]]:
    """Bodies with one thing wrong, and what that is."""
    for path in paths(body):
        for odd in [*ODD, "delete", "double"]:
            spoiled = copy.deepcopy(body)
            place = spoiled
            for step in path[:-1]:
                place = place[step]
            if odd == "delete":
                del place[path[-1]]
            elif odd == "double":
                place[path[-1]] = [place[path[-1]]] * 2
            else:
                place[path[-1]] = odd
            yield f"{path}: {odd!r:.20}", spoiled


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in a body: of a list the first two and the last element."""
    if so_far:
        yield so_far
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*so_far, key))
    if isinstance(value, list):
        for index in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from paths(value[index], (*so_far, index))


FRAME = b"react-entry-point"  # in what any unknown address of the page shows
ROOTS = ["/_dash-component-suites/", "/_dash-component-suites/dash/", "/assets/", "/vendor/", "/"]
ODD_PATHS = [
    "../",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc/passwd",
    "%2e%2e/%2e%2e/pyproject.toml",
    "%252e%252e%252fpyproject.toml",
    "..\\..\\x",
    "..%5c..%5cx",
    "/etc/passwd",
    "//etc/passwd",
    "../assets_other/x.css",
    "..min.css",
    "../bootstrap4/css/bootstrap.min.css",
    "windows/win.ini",
    "nothing.js",
    "dash/nothing.js",
    "no_package/x.js",
    "dash/../x.js",
    "%00.css",
    "lab.css%00.js",
    "😀.css",
    "%ff%fe",
    "a" * 5000,
    "?x=%zz",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("root", ROOTS)
def test_an_odd_path_is_not_a_server_error_and_leads_to_no_file(visited, root):
    for odd in ODD_PATHS:
        answer = visited.client.get(root + odd)
        assert answer.status_code < 500, odd
        served = answer.get_data()
        assert b"root:x:" not in served
        assert b"[build-system]" not in served
        if root in ("/_dash-component-suites/", "/assets/", "/vendor/") and "?" not in odd:
            assert answer.status_code in (301, 308, 400, 404) or FRAME in served, odd


@pytest.mark.parametrize(
    "path",
    [
        "/vendor/css/bootstrap.min.css",
        "/vendor/css/font/bootstrap-icons.min.css",
        "/vendor/css/font/fonts/bootstrap-icons.woff2",
        "/assets/lab.css",
        "/assets/lab.js",
    ],
)
def test_what_the_page_needs_is_served_from_here(visited, path):
    assert visited.client.get(path).status_code == 200


def test_the_page_names_no_other_host(visited):
    served = visited.client.get("/").get_data(as_text=True)
    assert "//" not in served.replace("http://www.w3.org", "").replace("<!-- //", "") or not any(
        word in served for word in ("http://", "https://", 'src="//', 'href="//')
    )


def test_every_part_a_callback_names_is_on_the_page(visited):
    for key, known in visited.app.callback_map.items():
        parts = key[2:-2].split("...") if key.startswith("..") else [key]
        names = [part.rsplit(".", 1)[0] for part in parts if "." in part]  # else it has no output
        names += [one["id"] for one in (*known["inputs"], *known["state"])]
        for name in names:
            if not name.startswith("{"):  # those are as many as there happen to be
                assert name in visited.components, f"{name}, in {key[:80]}"


def test_a_tab_that_is_made_late_is_made_once(visited):
    title = LATE[0].TITLE
    visited.values["tabs", "active_tab"] = title
    assert visited.fire(f"{ids.late(title)}.children", "tabs.active_tab") == {}
    visited.values["tabs", "active_tab"] = "Train"
    first = visited.client.get("/_dash-layout").get_data(as_text=True)
    assert ids.late(title) in first
    assert runs_ids.RUNS_SEARCH not in first
