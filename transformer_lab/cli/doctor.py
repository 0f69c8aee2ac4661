"""transformer-lab doctor: works when packages are missing."""

import argparse
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from transformer_lab.cli.common import FAILED, home_folder


def doctor(arguments: argparse.Namespace) -> int:
    """What is here and what is missing; works when packages are missing."""
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
    from transformer_lab.lab.device import choose_device, environment
    from transformer_lab.lab.threads import planned
    from transformer_lab.text.corpora import corpus_folders, load_corpus
    from transformer_lab.text.errors import CorpusError
    from transformer_lab.training import TrainConfig

    home = home_folder(arguments)
    missing = []
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"a home that can be written to: {home} ({error.strerror}); use --home"]
    facts, device = environment(home), choose_device("auto")
    print(f"Device   {device.name} ({device.reason})")
    print(f"Threads  {planned(TrainConfig(), device.name)}")
    print(f"Memory   {facts['memory_free'] / 1e9:.1f} GB free")
    print(f"Disk     {facts['disk_free'] / 1e9:.1f} GB free at {home}")
    try:
        corpus = load_corpus("tiny_shakespeare", corpus_folders(home))
        print(f"Text     {corpus.title}, {corpus.characters:,} characters ({corpus.source})")
    except CorpusError as error:
        missing.append(f"{error} The first training tries to download it.")
    return missing


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
