"""Writing a run to another disk when its own is full: as a .zip that `import` reads."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from transformer_lab.exchange import write_archive
from transformer_lab.exchange.database import copy_database
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.run import Run
from transformer_lab.runs.tables import METRICS


@contextlib.contextmanager
def rescued(writer: RunWriter, folder: Path) -> Iterator[Run]:
    """A copy of a run in `folder`, with the metrics that wait in memory, but without weights.

    Raises OSError, sqlite3.Error and ExportRefusedError.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rescued-") as place:
        copy = Path(place) / writer.folder.name
        copy.mkdir()
        for path in writer.folder.glob("*.json"):
            shutil.copy(path, copy)
        copy_database(writer.folder, copy / METRICS)
        writer.write_waiting(copy / METRICS)
        yield Run(copy)


def packed(run: Run, folder: Path) -> Path:
    """The .zip of a run in `folder`, under a name that is free. Raises OSError."""
    target, number = folder / f"{run.id}.zip", 1
    while target.exists():
        number += 1
        target = folder / f"{run.id}-{number}.zip"
    try:
        with target.open("xb") as stream:
            write_archive(run.folder, stream)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target
