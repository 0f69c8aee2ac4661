"""transformer-lab doctor: works when packages are missing."""

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from transformer_lab.cli.common import FAILED, home_folder
from transformer_lab.cli.places import place_problems
from transformer_lab.settings import ConfigError

ROOM = 500_000_000  # bytes: a small run with its saves and moments


def doctor(arguments: argparse.Namespace) -> int:
    """Print what is installed and what is missing; works when packages are missing."""
    missing = []
    print(f"Transformer Lab {installed('transformer-lab')}, Python {sys.version.split()[0]}")
    for name in _dependencies():
        found = installed(name)
        print(f"  {name:28} {found}")
        if found == "missing":
            missing.append(f"the package {name}: pip install {name}")
    try:
        missing += _doctor_machine(arguments)
    except ImportError as error:
        missing.append(f"{error.name} cannot be imported: {error}")
    print("Nothing is missing." if not missing else "Missing:")
    for item in missing:
        print(f"  - {item}")
    return FAILED if missing else 0


def _doctor_machine(arguments: argparse.Namespace) -> list[str]:
    from transformer_lab.lab.cost.threads import planned
    from transformer_lab.lab.device import choose_device, memory_free
    from transformer_lab.lab.elsewhere.processes import gpus
    from transformer_lab.training import TrainConfig

    device = choose_device("auto")
    print(f"Device   {device.name} ({device.reason})")
    print(f"Threads  {planned(TrainConfig(), device.name)}")
    print(f"Memory   {memory_free() / 1e9:.1f} GB free")
    print(f"Together {_together(len(gpus()))}")
    missing = _temporary_problems()
    try:
        home = home_folder(arguments)
    except ConfigError as error:
        return [*missing, str(error)]
    print(f"Home     {home}")
    missing += place_problems(home)
    return [*missing, *home_problems(home), *_text_problems(home)]


def _together(count: int) -> str:
    """What can train at the same time, in words."""
    from torch import distributed

    backend = "nccl" if count else "gloo"
    able = distributed.is_available() and getattr(distributed, f"is_{backend}_available")()
    several = f"several processes for one model by {backend}" if able else "one process a model"
    return f"{max(1, count)} training{'s' * (count > 1)} in processes of their own; {several}"


def home_problems(home: Path) -> list[str]:
    """Problems of a home folder, found by trying: writing, locking, free space."""
    from transformer_lab.lab.home import writing_problem

    if problem := writing_problem(home):
        return [problem]
    missing = []
    try:
        with tempfile.TemporaryDirectory(dir=home, prefix=".doctor-") as made:
            missing += _kept_problems(Path(made), home)
        free = shutil.disk_usage(home).free
    except (OSError, sqlite3.Error) as error:
        return [f"A home that keeps what is written: {home} ({error}). Name another with --home."]
    print(f"Disk     {free / 1e9:.1f} GB free there")
    if free < ROOM:
        missing.append(
            f"Room: {free / 1e6:,.0f} MB are free at {home}, and a run may take {ROOM / 1e6:,.0f}: "
            "delete something, or name another home with --home."
        )
    return missing


def _kept_problems(folder: Path, home: Path) -> list[str]:
    """What does not work in a folder: renaming a file, a database, a lock."""
    (folder / "written").write_bytes(b"kept")
    (folder / "written").replace(folder / "renamed")
    database = sqlite3.connect(folder / "metrics.sqlite")
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE step (number)")
        database.commit()
    finally:
        database.close()
    folder.chmod(0o700)
    if os.name == "nt" or not folder.stat().st_mode & 0o077:
        return []
    return [
        f"A home that can be kept from others: {home} ignores permissions, as shares and memory "
        "sticks do, so others on this computer may change what is in it. Name another with --home."
    ]


def _temporary_problems() -> list[str]:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"kept")
    except OSError as error:
        return [
            f"A folder for temporary files ({error.strerror}): downloads need one. Make room, or "
            "set TMPDIR to a folder that can be written to."
        ]
    return []


def _text_problems(home: Path) -> list[str]:
    from transformer_lab.text.corpora import corpus_folders, load_corpus
    from transformer_lab.text.errors import CorpusError

    try:
        corpus = load_corpus("tiny_shakespeare", corpus_folders(home))
    except CorpusError as error:
        return [f"{error} The first training tries to download it."]
    print(f"Text     {corpus.title}, {corpus.characters:,} characters ({corpus.source})")
    return []


def _dependencies() -> list[str]:
    try:
        wanted = requires("transformer-lab") or []
    except PackageNotFoundError:
        return []
    names = [item.split(";")[0] for item in wanted if "extra ==" not in item]
    return [name.split("[")[0].rstrip("<>=!~., 0123456789") for name in names]


def installed(name: str) -> str:
    """The version of a package, or "missing"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
