"""Uploads: one text, sent as it is, kept in the library under its hash."""

from flask import Flask, Response, jsonify, request

from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.text.decoding import LARGEST_FILE, EncodingError

PATH = "/upload"
LARGEST_BODY = LARGEST_FILE
PIECE = 2**16


def serve_uploads(server: Flask, lab: Lab) -> None:
    """Answer POST /upload?name=... with {"id", "name"}, or 4xx and {"error"} in a sentence.

    Of a text that is not UTF-8 also {"encodings"} that fit: sent again with &encoding=... it is
    read so.
    """

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
            encoding = request.args.get("encoding", "")
            entry = lab.texts.add(bytes(data), name, "uploaded", encoding)
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
