"""Every step of a run as a table that any spreadsheet opens.

The first line names the columns; their units are in docs/run_format.md and in an archive's README.
"""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transformer_lab.exchange.database import DATABASE, copy_database, reading
from transformer_lab.runs.tables import STEPS


def write_metrics_csv(run_folder: Path, stream: BinaryIO) -> None:
    """Write all steps of a run, also of one in training. Raises ExportRefusedError."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DATABASE
        copy_database(run_folder, copy)
        for line in csv_lines(copy):
            stream.write(line)


def csv_lines(database: Path) -> Iterator[bytes]:
    """The lines of the table, one step after another; what was not measured is empty."""
    with reading(database) as connection:
        yield _line(STEPS)
        for row in connection.execute(f"SELECT {', '.join(STEPS)} FROM steps ORDER BY step"):
            yield _line(row)


def _line(values: object) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return line.getvalue().encode()
