"""The formats of export by file name, for the page and the command line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from transformer_lab.exchange.archive import write_archive
from transformer_lab.exchange.bundle import write_bundle
from transformer_lab.exchange.huggingface import write_huggingface
from transformer_lab.exchange.metrics_csv import write_metrics_csv
from transformer_lab.exchange.notebook import notebook_text
from transformer_lab.exchange.peft import write_peft
from transformer_lab.exchange.run_folder import read_manifest
from transformer_lab.exchange.script import script_text

ARCHIVE = "run.zip"
# From the run's folder to a stream. Gives sentences on what of the run is lost, where it can leave
# nevertheless.
Writer = Callable[[Path, BinaryIO], Sequence[str] | None]


def _text(made: Callable[[Path], str]) -> Writer:
    def write(folder: Path, stream: BinaryIO) -> None:
        stream.write(made(folder).encode())

    return write


FORMS: dict[str, Writer] = {
    ARCHIVE: write_archive,
    "weights.zip": lambda folder, stream: write_archive(
        folder, stream, training_state=False, moments=False
    ),
    "huggingface.zip": write_huggingface,
    "adapter.zip": write_peft,
    "standalone.zip": write_bundle,
    "generate.py": _text(lambda folder: script_text(read_manifest(folder))),
    "notebook.ipynb": _text(notebook_text),
    "metrics.csv": write_metrics_csv,
}


def file_name(run_id: str, form: str) -> str:
    """What the file is called."""
    return f"{run_id}.zip" if form == ARCHIVE else f"{run_id}-{form}"
