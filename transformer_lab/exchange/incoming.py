"""What comes in: a run that a lab exported, a GPT-2 from elsewhere, or an adapter for a run."""

import zipfile
from pathlib import Path
from typing import BinaryIO

from transformer_lab.exchange import hf_arrival, peft_arrival
from transformer_lab.exchange.archive import INDEX
from transformer_lab.exchange.arrival import arriving, read_archive
from transformer_lab.exchange.hf_checks import CONFIG
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.package import Package
from transformer_lab.exchange.sources import Folder, Source

ADAPTER = peft_arrival.CONFIG


def bring_in(
    file: BinaryIO, runs_folder: Path, new_id: str, *, base: Path | None = None, order: int = 0
) -> None:
    """A .zip as a run: an archive of one, a Hugging Face folder, or a PEFT adapter.

    An adapter needs the folder of the run that is its `base`. As `read_archive` otherwise.
    """
    names = _names(file)
    root = next((name for name in (INDEX, ADAPTER, CONFIG) if name in names), INDEX)
    if root == INDEX:
        read_archive(file, runs_folder, new_id, order=order)
        return
    with arriving(runs_folder, new_id) as staging, zipfile.ZipFile(file) as archive:
        wanted = peft_arrival.READ if root == ADAPTER else hf_arrival.READ
        _take(Package(archive, Limits(), root, wanted), staging, new_id, base, order)


def bring_in_folder(
    place: Path, runs_folder: Path, new_id: str, *, base: Path | None = None, order: int = 0
) -> None:
    """The same from a folder of this computer. Raises ImportRefusedError."""
    adapter = (place / ADAPTER).is_file()
    with arriving(runs_folder, new_id) as staging:
        wanted = peft_arrival.READ if adapter else hf_arrival.READ
        _take(Folder(place, Limits(), wanted), staging, new_id, base, order)


def _take(source: Source, staging: Path, new_id: str, base: Path | None, order: int) -> None:
    if ADAPTER in source.names:
        peft_arrival.take_adapter(source, staging, base, new_id, order)
    else:
        hf_arrival.take_model(source, staging, new_id, order)


def _names(file: BinaryIO) -> set[str]:
    """The names of the files in a .zip, without folders; none of what is no .zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()
    finally:
        file.seek(0)
