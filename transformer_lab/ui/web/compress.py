"""Answers leave compressed where the browser takes that, and it keeps the files of the page.

What is downloaded is sent as it is.
"""

import gzip
import hashlib

from flask import Flask, Response, request

FILES = ("text/javascript", "application/javascript", "text/css", "image/svg+xml")
FOUND: dict[bytes, bytes] = {}  # compressed files by the hash of their content: they are few
MADE = ("application/json", "text/html")  # for each request anew
SMALLEST = 2_000  # bytes; less is not worth the work
YEAR = 31_536_000  # seconds


def compress_answers(server: Flask) -> None:
    """Compress the files of the page, each once, and the longer answers of callbacks."""

    @server.after_request
    def compressed(response: Response) -> Response:
        _let_keep(response)
        kind = response.mimetype
        if kind not in FILES + MADE or not _may_be_shorter(response):
            return response
        response.vary.add("Accept-Encoding")
        if request.accept_encodings["gzip"] <= 0:
            return response
        response.direct_passthrough = False
        data = response.get_data()
        if kind in FILES:
            name = hashlib.sha256(data).digest()
            if name not in FOUND:
                FOUND[name] = gzip.compress(data, 6)
            response.set_data(FOUND[name])
        elif len(data) >= SMALLEST:
            response.set_data(gzip.compress(data, 1))
        else:
            return response
        response.headers["Content-Encoding"] = "gzip"
        return response


def _may_be_shorter(response: Response) -> bool:
    return response.status_code == 200 and "Content-Encoding" not in response.headers


def _let_keep(response: Response) -> None:
    """A file whose address says when it was changed never changes under that address."""
    if request.path.startswith("/assets/") and "m" in request.args and response.status_code == 200:
        response.cache_control.no_cache = None
        response.cache_control.max_age = YEAR
