"""Uploads: one text, sent as it is, kept in the library under its hash."""

from flask import Flask, Response, jsonify, request

from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.text.decoding import LARGEST, LARGEST_FILE, EncodingError
from transformer_lab.ui.web.guard import Body

PATH = "/upload"
BODY = Body(
    "application/octet-stream",
    LARGEST_FILE,
    f"A text may have {LARGEST // 10**6} MB: cut it into parts.",
)
SOURCES = ("uploaded", "pasted")


def serve_uploads(server: Flask, lab: Lab) -> None:
    """Answer POST /upload?name=...&source=... with {"id", "name"}, or 4xx and {"error"}.

    Of a text that is not UTF-8 also {"encodings"} that fit: sent again with &encoding=... it is
    read so.
    """

    @server.post(PATH)
    def upload() -> tuple[Response, int]:
        name, source = request.args.get("name", ""), request.args.get("source", "uploaded")
        if source not in SOURCES:
            return jsonify(error="A text is uploaded or pasted."), 400
        if source == "uploaded" and not named_plainly(name):
            return jsonify(error="A file is sent with its own name, without a path."), 400
        try:
            encoding = request.args.get("encoding", "")
            entry = lab.texts.add(request.stream.read(), name, source, encoding)
        except EncodingError as error:
            return jsonify(error=str(error), encodings=offered(error)), 400
        except ConfigError as error:
            return jsonify(error=str(error)), 400
        return jsonify(id=entry.id, name=entry.name), 200


def offered(error: EncodingError) -> list[dict[str, str]]:
    """The encodings that fit, as plain values: name, what people call it, what would come of it."""
    return [
        {"encoding": guess.encoding, "label": guess.label, "preview": guess.preview}
        for guess in error.guesses
    ]


def named_plainly(name: str) -> bool:
    """Whether a file's name is only a name: nothing that could be taken for a path."""
    return not set(name) & set("/\\\0") and not name.startswith("..")
