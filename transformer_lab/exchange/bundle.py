"""What runs without the lab, together: the script, the notebook, the weights and the metrics."""

import io
import shutil
import zipfile
from pathlib import Path
from typing import BinaryIO

from transformer_lab.exchange.metrics_csv import write_metrics_csv
from transformer_lab.exchange.notebook import notebook_text
from transformer_lab.exchange.run_folder import (
    CHUNK,
    open_checkpoints,
    preferred_checkpoint,
    read_manifest,
)
from transformer_lab.exchange.script import SCRIPT, WEIGHTS, script_text


def write_bundle(run_folder: Path, stream: BinaryIO, *, checkpoint: str | None = None) -> None:
    """Write generate.py, a notebook, the weights they read and metrics.csv as a .zip.

    The weights are those of `checkpoint`, or without it those the lab writes with. Raises
    ConfigError for settings that are not ours, and ExportRefusedError.
    """
    name = preferred_checkpoint(run_folder, checkpoint)
    table = io.BytesIO()
    write_metrics_csv(run_folder, table)
    texts: dict[str, str | bytes] = {
        SCRIPT: script_text(read_manifest(run_folder)),
        f"{run_folder.name}.ipynb": notebook_text(run_folder),
        "metrics.csv": table.getvalue(),
    }
    with (
        open_checkpoints(run_folder, [name], training_state=False) as (opened,),
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for file, text in texts.items():
            archive.writestr(f"{run_folder.name}/{file}", text)
        entry = zipfile.ZipInfo(f"{run_folder.name}/{WEIGHTS}")
        entry.external_attr = 0o100644 << 16
        with archive.open(entry, "w", force_zip64=True) as target:
            shutil.copyfileobj(opened.files[WEIGHTS], target, CHUNK)
