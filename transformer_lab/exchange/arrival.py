"""Import of a run: a .zip that `write_archive` made, or that claims to be one.

Nothing in it is believed. Names, sizes and sums are checked before and while it is unpacked beside
the runs: settings, tokenizer and shapes of tensors before anything large, every row of metrics
and every number of the weights after that. Only then the folder gets its name. What is refused
leaves nothing behind.
"""

import contextlib
import re
import shutil
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from transformer_lab.exchange.archive import ABOUT, FORMAT, INDEX, README, SAMPLES, TABLE
from transformer_lab.exchange.checkpoint_checks import (
    check_checkpoint,
    check_declared,
    check_moment,
    holds_tensors,
)
from transformer_lab.exchange.checks import (
    any_json,
    checked_manifest,
    member,
    parsed,
    refusing,
)
from transformer_lab.exchange.database import DATABASE, rebuild_database
from transformer_lab.exchange.errors import ImportRefusedError
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.package import Package
from transformer_lab.exchange.run_folder import CHECKPOINTS, MANIFEST, MOMENTS
from transformer_lab.runs.checkpoint import STAGING, flush_folder
from transformer_lab.runs.files import AboutRecord, write_json
from transformer_lab.runs.record import checked
from transformer_lab.settings import shown

RUN_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
NEW = "run"  # one deeper than runs are looked for
MADE_FROM_OTHERS = (README, TABLE, SAMPLES)  # checked, but not kept
# What reading a damaged .zip raises.
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
)


def read_archive(
    file: BinaryIO, runs_folder: Path, new_id: str, *, limits: Limits | None = None, order: int = 0
) -> Path:
    """Bring a run in as runs_folder/new_id, which must be free. `file` must be seekable.

    `order` is its place among the runs that are there, counted from 1; 0 where that is not known.
    Raises ImportRefusedError with a sentence, and leaves nothing behind.
    """
    with arriving(runs_folder, new_id) as staging, zipfile.ZipFile(file) as archive:
        folder = staging / NEW
        _unpack(Package(archive, limits or Limits()), staging, folder, new_id, order)
    return runs_folder / new_id


@contextlib.contextmanager
def arriving(runs_folder: Path, new_id: str) -> Iterator[Path]:
    """A folder to work in; its folder NEW becomes runs_folder/new_id when all went well.

    Raises ImportRefusedError, also for what reading a damaged file raises meanwhile; then nothing
    is left behind.
    """
    place = runs_folder / new_id
    if not RUN_ID.fullmatch(new_id) or place.exists():
        raise ImportRefusedError(
            f"A run cannot be called {shown(new_id)}: it is taken, or no name."
        )
    staging = runs_folder / f"{STAGING}{uuid.uuid4().hex}"
    try:
        folder = staging / NEW
        folder.mkdir(parents=True)
        yield staging
        flush_folder(folder)
        folder.rename(place)
        flush_folder(runs_folder)
    except ImportRefusedError:
        raise
    except DAMAGE as error:
        raise ImportRefusedError(
            f"This is not a whole .zip of a run ({shown(str(error))}): export it again."
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise ImportRefusedError(f"The run could not be unpacked: {why}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(package: Package, staging: Path, folder: Path, new_id: str, number: int) -> None:
    """Check and unpack everything into `folder`; `staging` is for what is only looked at."""
    index = parsed(package.read(INDEX), INDEX)
    if member(index, "format", int, INDEX) != FORMAT:
        raise ImportRefusedError(
            f"The archive has format {index['format']}, and this lab knows {FORMAT}: "
            "bring it in with a newer Transformer Lab."
        )
    package.expect(member(index, "files", dict, INDEX))
    order = {"order": number} if number else {}
    if MANIFEST not in package.names or DATABASE not in package.names:
        raise ImportRefusedError(f"{MANIFEST} or {DATABASE} is missing: this is not a whole run.")
    run = checked_manifest(package.read(MANIFEST), package.limits)
    for name in package.names:
        if holds_tensors(name):
            check_declared(name, *package.header(name), run)
    for name in package.names:
        _take(package, name, staging, folder)
    rebuild_database(staging / DATABASE, folder / DATABASE)
    for checkpoint in sorted((folder / CHECKPOINTS).glob("*")):
        check_checkpoint(checkpoint, package.sums(f"{CHECKPOINTS}/{checkpoint.name}"), run)
    for moment in sorted((folder / MOMENTS).glob("*")):
        check_moment(moment, package.sums(MOMENTS)[moment.name])
    came = {"from": run.content["id"], "time": time.time()}
    run.content.pop("order", None)  # it has another place here
    write_json(folder / MANIFEST, {**run.content, "id": new_id, **order, "imported": came})


def _take(package: Package, name: str, staging: Path, folder: Path) -> None:
    """Unpack one file to where it belongs."""
    if name in (INDEX, MANIFEST):
        return
    if name in MADE_FROM_OTHERS:
        package.unpack(name, None)
    elif name == DATABASE:
        package.unpack(name, staging / name)
    else:
        if name.endswith(".json"):
            content = any_json(package.read(name), name)
            if name == ABOUT:
                with refusing():
                    checked(AboutRecord, content, name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        package.unpack(name, folder / name)
