"""The web server: waitress, which refuses bodies by their headers and limits idle connections.

Waitress takes in a whole body before it asks the application. Here the guard is asked as soon as
the headers are there: what it refuses is answered at once and never stored. What it accepts is
written to a file as it comes, in the lab's home, and handed on as that file.
"""

import errno
import json
import logging
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import waitress
from waitress.buffers import TempfileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import Error

from transformer_lab.settings import ConfigError

CONNECTIONS = 1000  # open at once; then the one that was idle the longest gives way
FILES = 4096  # asked of the system, for connections and everything else
SPARE = 100  # connections over those, before waitress stops to accept
THREADS = 8  # that answer requests
IDLE = 120  # seconds after which a connection that does nothing is closed
LINGER = 5.0  # seconds in which the rest of a refused body is thrown away
IN_MEMORY = 2**19  # bytes of a body; a larger one goes to a file
NO_ROOM = 507, "Insufficient Storage"


class Application(Protocol):
    """What is served: it answers as WSGI asks it to, and its extensions hold the guard."""

    @property
    def extensions(self) -> Mapping[str, Any]: ...
    @property
    def __call__(self) -> Callable[[Any, Any], Iterable[bytes]]: ...


def listen(server: Application, host: str, port: int, folder: Path, threads: int = THREADS) -> Any:
    """A server that listens; `run` serves until `close` or Ctrl-C. Raises ConfigError."""
    # Thirty pages ask for what is new in one moment, and a few wait for a thread: that is usual.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    most = _connections()
    sockets: dict[int, Any] = {}
    try:
        made = waitress.create_server(
            server,
            map=sockets,
            host=host,
            port=port,
            threads=threads,
            connection_limit=most + SPARE,
            channel_timeout=IDLE,
            cleanup_interval=10,
            inbuf_overflow=IN_MEMORY,
            max_request_body_size=2**63,  # the guard knows better
            clear_untrusted_proxy_headers=False,  # so does it which of them to believe
            asyncore_use_poll=hasattr(select, "poll"),  # select knows no more than 1,024 files
        )
    except (OSError, ValueError, OverflowError) as error:
        raise _unusable(host, port, error) from None
    channel = partial(Channel, guard=server.extensions["guard"], folder=folder, most=most)
    for one in sockets.values():
        if hasattr(one, "channel_class"):
            one.channel_class = channel
    return made


def _unusable(host: str, port: int, error: Exception) -> ConfigError:
    if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
        other = port + 1 if 1024 <= port < 65535 else 8050
        return ConfigError(
            "port",
            f"{host}:{port} cannot be used ({error.strerror}): end the program that holds it, or "
            f"choose another with --port {other}.",
        )
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no such address"
    return ConfigError(
        "host",
        f"Host is {host!r}, which this computer cannot listen on ({why}): use 127.0.0.1 for this "
        "computer alone, or 0.0.0.0 for its network.",
    )


def _connections() -> int:
    """How many connections to hold; asks the system for the files that they need."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 400
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, soft // 2)


class Task(WSGITask):
    """One answer. One without a body ends with its headers: the connection stays open for more.

    Waitress closes it, so that a page would open another one for each poll with nothing new.
    """

    def set_close_on_finish(self) -> None:
        """Close after this answer, where it has an end that only this can show, or on request."""
        asked = self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or asked or self.version != "1.1":
            super().set_close_on_finish()


class Channel(HTTPChannel):
    """One connection, whose requests are guarded and whose bodies go to files."""

    task_class = Task

    def __init__(self, *args: Any, guard: Any, folder: Path, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser_class = partial(Parser, channel=self, guard=guard, folder=folder)
        self.refused = False
        self.ends = 0.0  # when a refused one is closed, whatever still comes
        self.sending = False  # by the thread of the answer
        others = self.server.active_channels.values()
        idle = [one for one in others if one is not self and not one.requests]
        if len(others) > most and idle:
            min(idle, key=lambda one: one.last_activity).will_close = True

    def handle_close(self) -> None:
        """Close, but not while a body still arrives: the client would lose the response to it."""
        if self.refused and self.connected and not self.ends:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                return super().handle_close()
            self.will_close, self.ends = False, time.monotonic() + LINGER
            return None
        return super().handle_close()

    def readable(self) -> bool:
        return bool(self.ends) or super().readable()

    def writable(self) -> bool:
        """Whether there is something to write, or to end.

        Not while an answer's own thread sends it: the loop would ask again and again until it has,
        and keep the interpreter from that thread. What it could not send it says.
        """
        if self.ends:
            return time.monotonic() > self.ends
        return not self.sending and bool(super().writable())

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what is there; `do_close` is False in the thread of an answer."""
        if do_close:
            return bool(super()._flush_some())
        self.sending = True
        try:
            return bool(super()._flush_some(do_close=False))
        finally:
            self.sending = False

    def handle_write(self) -> None:
        """Write what is to be written."""
        if self.ends:
            self.handle_close()
        else:
            super().handle_write()

    def handle_read(self) -> None:
        """Read what arrives; the rest of a refused body is discarded."""
        if self.ends:
            self.recv(self.adj.recv_bytes)  # which closes at the end
        else:
            super().handle_read()


class Parser(HTTPRequestParser):
    """One request as it comes in."""

    def __init__(self, adj: Any, *, channel: Channel, guard: Any, folder: Path) -> None:
        super().__init__(adj)
        self.channel, self.guard, self.folder = channel, guard, folder

    def received(self, data: bytes) -> int:
        """Parse some data; returns how many bytes belonged to this request."""
        new = not self.headers_finished
        try:
            consumed: int = super().received(data)
            if new and self.headers_finished and not self.completed:
                self._admit()
        except OSError as error:
            self._refuse(*NO_ROOM, f"{error.strerror or error}: make room at {self.folder}.")
        return len(data) if self.channel.refused else consumed

    def _admit(self) -> None:
        """The headers have arrived, the body follows: accept or refuse it."""
        refusal = self.guard.refusal(WSGITask(self.channel, self).get_environment())
        if refusal is not None:
            self._refuse(refusal.code, refusal.name, refusal.description)
        elif self.chunked:
            words = "The request must say how long it is (Content-Length)."
            self._refuse(411, "Length Required", words)
        elif self.content_length > self.adj.inbuf_overflow:
            self._keep_in_a_file()

    def _keep_in_a_file(self) -> None:
        if self.content_length > shutil.disk_usage(self.folder).free:
            size = f"{self.content_length / 1e6:,.0f} MB do not fit on the lab's disk"
            self._refuse(*NO_ROOM, f"{size}: make room at {self.folder}.")
        else:
            self.body_rcv.buf = FileBuffer(self.folder)

    def _refuse(self, code: int, reason: str, words: str) -> None:
        self.error = Refusal(code, reason, words)
        self.completed, self.expect_continue = True, False
        self.channel.refused = True


class FileBuffer(TempfileBasedBuffer):
    """A request body in an unnamed temporary file of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__()

    def newfile(self) -> Any:
        """An empty file."""
        return TemporaryFile(dir=self.folder)


class Refusal(Error):  # noqa: N818 - waitress's word, and never raised
    """The response to a refused request: the reason, in the form that the page expects."""

    def __init__(self, code: int, reason: str, words: str) -> None:
        super().__init__(words)
        self.code, self.reason = code, reason

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status, headers and body."""
        kind = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]
        return f"{self.code} {self.reason}", kind, json.dumps({"error": self.body}).encode()
