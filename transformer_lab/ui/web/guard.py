"""Who may ask, and for what: decided by the headers of a request, before its body is read.

A foreign Host, Origin or Sec-Fetch-Site is how another web site would reach a lab on this computer.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException, abort

from transformer_lab.ui.web.access import Gate

Environ = Mapping[str, Any]  # of a WSGI request
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
CALLBACKS = "/_dash-update-component"
DOWNLOADS = ("/download/", "/download-experiment/")
LARGEST_CALLBACK = 2_000_000  # bytes
LENGTHY = "Shorten what you typed, or add a long text as a file on the Data tab."
PLAIN = "text/plain"
DIRECT_HOST = "transformer_lab.direct_host"  # in the environment: what a proxy's request named


@dataclass(frozen=True)
class Body:
    """What may be posted to an address: its kind, its most bytes, and what to do with less."""

    mimetype: str
    most: int
    way_out: str

    def as_json(self) -> dict[str, int | str]:
        """What the page knows of it, so that it need not send what would be refused."""
        return {"most": self.most, "wayOut": self.way_out}


@dataclass(frozen=True)
class Guard:
    """Refuses requests that no page of ours would send, with a sentence that says the way out.

    `hosts` are the names it answers to; `base_path` is where a proxy shows the lab, "" or "/lab";
    with `trust_proxy` a proxy on this computer says by X-Forwarded-Host what it was asked for;
    with `access` visitors must bring its token.
    """

    hosts: Sequence[str]
    base_path: str = ""
    trust_proxy: bool = False
    bodies: Mapping[str, Body] = field(default_factory=dict)
    access: Gate | None = None

    def refusal(self, environ: Environ) -> HTTPException | None:
        """Why the request with these headers is refused, if it is; its body is not touched."""
        try:
            self.check(Request(self.settled(environ)))
        except HTTPException as error:
            return error
        return None

    def settled(self, environ: Environ) -> WSGIEnvironment:
        """The request as the visitor made it: without the base path, and as a proxy received it."""
        made, path = dict(environ), environ.get("PATH_INFO", "/")
        if self.base_path and path.startswith(f"{self.base_path}/"):
            made["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + self.base_path
            made["PATH_INFO"] = path[len(self.base_path) :]
        if self.trust_proxy and is_loopback(environ.get("REMOTE_ADDR", "")):
            _take_forwarded(made)
        return made

    def check(self, asked: Request) -> None:
        """Raise what the request is refused with."""
        for host in (asked.environ.get(DIRECT_HOST), asked.host):
            self._check_host(host)
        self._check_site(asked)
        if self.access:
            self.access.check(asked, self.base_path)
        if asked.method not in ("GET", "HEAD", "POST"):
            abort(405)
        if asked.method == "POST":
            self._check_body(asked)

    def _check_host(self, host: str | None) -> None:
        name = (host or "").rsplit(":", 1)[0] if not (host or "").endswith("]") else host
        if host is not None and (name or "").lower() not in self.hosts:
            abort(403, f"This lab does not answer to {name}: start it with --allow-host {name}.")

    def _check_site(self, asked: Request) -> None:
        origin, host = asked.headers.get("Origin"), asked.host
        if origin and origin.split("://", 1)[-1].lower() != host.lower():
            abort(
                403,
                f"This request comes from another site ({origin}), not from {host}. If a reverse "
                "proxy stands between, start the lab with --trust-proxy and --allow-host NAME, and "
                "let the proxy send X-Forwarded-Host; or let it pass the Host header on.",
            )
        if asked.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none"):
            return
        opens = asked.headers.get("Sec-Fetch-Mode") == "navigate" and asked.method == "GET"
        if not opens or asked.path.startswith(DOWNLOADS):
            abort(403, "This request comes from another site: open the lab itself, and ask there.")

    def _check_body(self, asked: Request) -> None:
        body = self.bodies.get(asked.path)
        if body is None:
            abort(405)
        if asked.mimetype != body.mimetype:
            abort(415, f"What is sent here must be {body.mimetype}.")
        length = asked.content_length or 0
        if length > body.most:
            abort(413, too_long(body, length))


def too_long(body: Body, length: int) -> str:
    """The sentence for a body over its limit."""
    return f"This has {length / 1e6:,.1f} MB; at most {body.most / 1e6:,.0f} MB fit. {body.way_out}"


def is_loopback(address: str) -> bool:
    """Whether an address, or the name localhost, reaches this computer only."""
    if address.lower() == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _take_forwarded(environ: WSGIEnvironment) -> None:
    """What a proxy was asked for, of which the nearest is believed; the Host it sent is kept too.

    Both must be allowed: a page of another site could send the header, but not the Host.
    """
    host = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[-1].strip()
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",")[-1].strip().lower()
    if host:
        environ[DIRECT_HOST] = environ.get("HTTP_HOST", "")
        environ["HTTP_HOST"] = host
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme


def install(server: Flask, guard: Guard, headers: Mapping[str, str]) -> None:
    """Let every request to the server pass the guard, and every answer carry the headers."""
    server.extensions["guard"] = guard
    server.wsgi_app = _mounted(server.wsgi_app, guard)  # type: ignore[method-assign, assignment]

    @server.before_request
    def check() -> None:
        guard.check(request)
        if request.method == "POST":
            request.max_content_length = guard.bodies[request.path].most

    @server.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return answer(error)

    @server.after_request
    def protect(response: Response) -> Response:
        response.headers.update(headers)
        return response


def answer(error: HTTPException) -> Response:
    """A refusal as the page expects it: the sentence alone; a redirection as it is."""
    if error.code is None or error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    words = error.description or ""
    response = jsonify(error=words) if request.method == "POST" else Response(words, mimetype=PLAIN)
    response.status_code = error.code
    return response


def _mounted(inner: WSGIApplication, guard: Guard) -> WSGIApplication:
    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if guard.base_path and environ.get("PATH_INFO") == guard.base_path:
            start_response("308 Permanent Redirect", [("Location", f"{guard.base_path}/")])
            return []
        return inner(guard.settled(environ), start_response)

    return outer
