"""Taking runs away and bringing them in: downloads are plain GETs, uploads are streamed."""

import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from flask import Flask, Response, abort, jsonify, request, send_file

from transformer_lab.exchange import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.forms import ARCHIVE, FORMS, Writer, file_name
from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.comparison_words import rows as comparison_rows
from transformer_lab.experiments.report import csv_text
from transformer_lab.lab.lab import Lab
from transformer_lab.runs.run import DamagedRunError, Run, RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.ui.web.guard import Body
from transformer_lab.ui.web.upload import named_plainly

BRING_IN = "/bring-in"
LARGEST_RUN = 4_000_000_000  # bytes of an archive
BODY = Body(
    "application/octet-stream",
    LARGEST_RUN,
    f"A run may have {LARGEST_RUN // 10**9} GB: export it without the state of its training "
    "(weights.zip), or bring it in with transformer-lab import.",
)
IN_MEMORY = 16_000_000  # bytes of a download; a larger one goes through a file
PIECE = 2**20

log = logging.getLogger(__name__)


def serve_downloads(server: Flask, lab: Lab) -> None:
    """Answer GET /download/<run>/<file>, and POST /bring-in?name=... with {"id"} or {"error"}.

    And GET /download-experiment/<key>.csv, with every number of its last trial, and
    /download-comparison/<name>.csv.
    """

    @server.get("/download/<run_id>/<name>")
    def download(run_id: str, name: str) -> Response:
        return _download(lab, run_id, name)

    _answer_full_disks(server, lab)
    _serve_experiments(server, lab)
    _serve_comparisons(server, lab)

    @server.post(BRING_IN)
    def bring_in() -> tuple[Response, int]:
        name = request.args.get("name", "")
        if not named_plainly(name):
            return jsonify(error="A file is sent with its own name, without a path."), 400
        with _received() as file:
            try:
                base = request.args.get("base", "")
                return jsonify(id=lab.runs.bring_in(file, name.removesuffix(".zip"), base)), 200
            except ImportRefusedError as error:
                return jsonify(error=str(error)), 400


def _answer_full_disks(server: Flask, lab: Lab) -> None:
    @server.errorhandler(OSError)
    def no_room(error: OSError) -> tuple[Response, int]:
        """A file could not be written, most likely for want of room: where, and what to do."""
        log.warning("%s was not possible: %s", request.path, error)
        words = (
            f"This was not possible: {error.strerror or error}. Make room where the runs are "
            f"({lab.home}) and where temporary files go (TMPDIR)."
        )
        if request.method == "POST":
            return jsonify(error=words), 507
        return Response(words, mimetype="text/plain"), 507


def _download(lab: Lab, run_id: str, name: str) -> Response:
    if name not in FORMS:
        abort(404, "A run cannot be taken away in this form.")
    try:
        rescued = _rescued(lab, run_id) if name == ARCHIVE else None
        stream = rescued or _written(lab.runs.open(run_id), FORMS[name])
    except (ExportRefusedError, ConfigError, DamagedRunError) as error:
        abort(409, str(error))
    except RunNotFoundError as error:
        abort(404, str(error))
    except FileNotFoundError:
        if _is_there(lab, run_id):
            raise
        abort(404, f"{run_id} could not be written: it has just been deleted.")
    return send_file(
        stream,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=file_name(run_id, name),
    )


def _is_there(lab: Lab, run_id: str) -> bool:
    try:
        lab.runs.open(run_id)
    except RunNotFoundError:
        return False
    return True


def _serve_experiments(server: Flask, lab: Lab) -> None:
    @server.get("/download-experiment/<key>.csv")
    def download_experiment(key: str) -> Response:
        trial = lab.trials.find(key)
        if key not in EXPERIMENTS or trial is None or trial.latest is None:
            abort(404, "Nothing has been measured yet: start the experiment first.")
        rows = EXPERIMENTS[key].rows(trial.latest.result)
        return send_file(
            io.BytesIO(csv_text(rows).encode()),
            mimetype="text/csv",
            as_attachment=True,
            download_name=f"{key}.csv",
        )


def _serve_comparisons(server: Flask, lab: Lab) -> None:
    @server.get("/download-comparison/<name>.csv")
    def download_comparison(name: str) -> Response:
        outcome = lab.comparisons.measured(name)
        if outcome is None or not outcome.cells:
            abort(404, "Nothing of this comparison has been measured.")
        return send_file(
            io.BytesIO(csv_text(comparison_rows(outcome)).encode()),
            mimetype="text/csv",
            as_attachment=True,
            download_name=f"{name}.csv",
        )


def _received() -> BinaryIO:
    """The body of this request as a file. A server that has it in one already gives that one."""
    received = request.environ["wsgi.input"]
    if hasattr(received, "seekable") and received.seekable():
        return cast(BinaryIO, received)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    shutil.copyfileobj(request.stream, file, PIECE)
    file.seek(0)
    return cast(BinaryIO, file)


def _rescued(lab: Lab, run_id: str) -> BinaryIO | None:
    """All of a run whose end its disk does not take; None for any other."""
    with tempfile.TemporaryDirectory() as folder:
        archive = lab.trainings.rescue(run_id, [Path(folder)])
        return archive.open("rb") if archive else None  # on POSIX it is read though it is gone


def _written(run: Run, write: Writer) -> BinaryIO:
    """What a writer writes, from its beginning; whoever sends it closes it."""
    stream = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115
    write(run.folder, stream)
    stream.seek(0)
    return stream
