"""The web server: what it refuses before a body comes, and that idle visitors do not silence it."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from transformer_lab.cli import listening
from transformer_lab.cli.listening import listen
from transformer_lab.settings import ConfigError
from transformer_lab.ui.web.guard import Body, Guard, install
from waiting import PATIENCE, until

KIND = "application/octet-stream"
LONG = 20_000_000  # more than a socket takes at once
MOST = 3_000_000_000


@pytest.fixture
def server() -> Flask:
    """A page that takes one kind of body, and says where it found it."""
    made = Flask("page")
    install(made, Guard(["127.0.0.1"], bodies={"/take": Body(KIND, MOST, "Cut it.")}), {})

    @made.post("/take")
    def take() -> dict[str, Any]:
        received = request.environ["wsgi.input"]
        return {"file": not isinstance(received, io.BytesIO), "size": len(received.read())}

    @made.get("/")
    def look() -> str:
        return "here"

    @made.get("/nothing")
    def nothing() -> tuple[str, int]:
        return "", 204

    @made.get("/long")
    def long() -> bytes:
        return bytes(LONG)

    @made.get("/wait")
    def wait() -> str:
        made.extensions["gate"].wait(PATIENCE)
        return "waited"

    made.extensions["gate"] = threading.Event()
    return made


@pytest.fixture
def listens(server: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(listening, "CONNECTIONS", 20)
    made = listen(server, "127.0.0.1", 0, tmp_path)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    made.task_dispatcher.shutdown()
    made.close()


@pytest.fixture
def port(listens: Any) -> int:
    return int(listens.effective_port)


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def asked(
    connection: socket.socket, length: int | None, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    """Post the headers and what there is of the body; gives code and answer."""
    named = {"Host": "127.0.0.1", "Content-Type": KIND, "Content-Length": length} | headers
    lines = [
        f"{name.replace('_', '-')}: {value}" for name, value in named.items() if value is not None
    ]
    connection.sendall("\r\n".join(["POST /take HTTP/1.1", *lines, "", ""]).encode() + body)
    return answered(connection)


def answered(connection: socket.socket) -> tuple[int, Any]:
    with connection.makefile("rb") as file:
        code = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        text = file.read(int(headers.get("content-length", 0))).decode()
    return code, json.loads(text) if "json" in headers.get("content-type", "") else text


@pytest.mark.parametrize(
    ("length", "headers", "code", "why"),
    [
        (MOST + 1, {}, 413, "at most 3,000 MB fit. Cut it."),
        (2000, {"Host": "evil.example"}, 403, "--allow-host evil.example"),
        (2000, {"Origin": "http://evil.example"}, 403, "another site"),
        (2000, {"Sec_Fetch_Site": "cross-site"}, 403, "another site"),
        (2000, {"Content_Type": "text/plain"}, 415, KIND),
        (None, {"Transfer_Encoding": "chunked"}, 411, "Content-Length"),
        (2000, {"Content_Type": "text/plain", "Expect": "100-continue"}, 415, KIND),
    ],
)
def test_a_body_is_refused_by_its_headers_before_any_of_it_is_sent(
    port, length, headers, code, why
):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(opened(port)) as connection:
        found, answer = asked(connection, length, **headers)
    assert found == code
    assert why in answer["error"]


def test_the_answer_to_a_refused_body_arrives_while_the_body_is_being_sent(port, tmp_path):
    with closing(opened(port)) as connection:
        code, answer = asked(connection, 50_000_000, Host="evil.example")
        assert (code, list(answer)) == (403, ["error"])
        for _ in range(20):
            connection.sendall(bytes(1_000_000))  # no reset, and nothing of it is kept
        assert list(tmp_path.iterdir()) == []


def test_what_follows_a_refused_body_is_no_request(port):
    hidden = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with closing(opened(port)) as connection:
        code, _ = asked(connection, len(hidden), hidden, Host="evil.example")
        assert code == 403
        connection.sendall(hidden)
        assert connection.recv(100) == b""


def test_two_gigabytes_are_let_in_where_three_are_promised(port):
    with closing(opened(port)) as connection:
        code, _ = asked(connection, 2_000_000_000, Expect="100-continue")
    assert code == 100


@pytest.mark.parametrize(("size", "in_a_file"), [(0, False), (1000, False), (1_000_000, True)])
def test_a_large_body_reaches_the_page_as_a_file(port, size, in_a_file):
    with closing(opened(port)) as connection:
        code, answer = asked(connection, size, bytes(size))
    assert (code, answer) == (200, {"file": in_a_file, "size": size})


def test_a_body_for_which_there_is_no_room_is_refused_in_a_sentence(port, monkeypatch):
    def full(folder: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(listening, "TemporaryFile", lambda dir: full(dir))
    with closing(opened(port)) as connection:
        code, answer = asked(connection, 1_000_000)
    assert code == 507
    assert answer["error"].startswith("No space left on device: make room at ")


def test_idle_connections_do_not_silence_the_server(port):
    idle = [opened(port) for _ in range(50)]  # for twenty
    with closing(opened(port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert answered(connection) == (200, "here")
    assert idle[0].recv(1) == b""  # the longest idle one gave way
    for one in idle:
        one.close()


def test_an_answer_without_a_body_leaves_the_connection_open(port):
    with closing(opened(port)) as connection:
        for path in ("nothing", "nothing", ""):
            connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert answered(connection) == ((204, "") if path else (200, "here"))
        last = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        connection.sendall(last)
        assert answered(connection) == (204, "")
        assert connection.recv(1) == b""


def test_a_long_answer_arrives_whole_however_slowly_it_is_read(port):
    with closing(opened(port)) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        code, text = answered(connection)
    assert (code, len(text)) == (200, LONG)


def test_requests_that_wait_for_a_thread_are_no_news_in_the_terminal(server, listens, port, caplog):
    waiting = [opened(port) for _ in range(12)]  # for eight threads
    for one in waiting:
        one.sendall(b"GET /wait HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    until(lambda: len(listens.task_dispatcher.queue) == 4)
    server.extensions["gate"].set()
    for one in waiting:
        with closing(one):
            assert answered(one) == (200, "waited")
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("host", ["999.1.1.1", "no such name", "203.0.113.7", "fe80::1%nothing"])
def test_a_host_that_cannot_be_listened_on_is_named(server, tmp_path, host):
    with pytest.raises(ConfigError, match="0\\.0\\.0\\.0") as caught:
        listen(server, host, 8050, tmp_path)
    assert caught.value.field == "host"


def test_a_port_that_is_taken_is_named(server, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="choose another with --port") as caught:
            listen(server, "127.0.0.1", port, tmp_path)
    assert caught.value.field == "port"
