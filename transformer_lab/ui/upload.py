"""Uploads: one text, sent as it is, kept in the library under its hash."""

from flask import Flask, Response, jsonify, request

from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import LARGEST

PATH = "/upload"
LARGEST_BODY = 2 * LARGEST + 2  # a text in UTF-16 takes up to twice what is kept
PIECE = 2**16


def serve_uploads(server: Flask, lab: Lab) -> None:
    """Answer POST /upload?name=... with {"id", "name"}, or 4xx and {"error"} in a sentence."""

    @server.post(PATH)
    def upload() -> tuple[Response, int]:
        name = request.args.get("name", "")
        if not named_plainly(name):
            return jsonify(error="A file is sent with its own name, without a path."), 400
        data = bytearray()
        while piece := request.stream.read(PIECE):
            data += piece
            if len(data) > LARGEST_BODY:
                break
        try:
            entry = lab.texts.library.add(bytes(data), name, "uploaded")
        except ConfigError as error:
            return jsonify(error=str(error)), 400
        return jsonify(id=entry.id, name=entry.name), 200


def named_plainly(name: str) -> bool:
    """Whether a file's name is only a name: nothing that could be taken for a path."""
    return not set(name) & set("/\\\0") and not name.startswith("..")
