"""Labelled pictures: scikit-learn's handwritten digits, and CIFAR-10 where it is to be found."""

import gzip
import hashlib
import importlib.util
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer_lab.settings import ConfigError

CHOICE = "pcn_leak.pictures"  # the setting that chooses among them
DIGITS_TRAINING = 1347  # three quarters of 1,797; 450 are left for the test
SPLIT_SEED = 0

CIFAR10_FILE = "cifar-10-binary.tar.gz"
CIFAR10_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as its page says
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes of a picture: its label, then red, green and blue


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures (N, pixels) between 0 and 1 and their classes (N,), for training and for testing.

    `shape` is (height, width, channels), channels last.
    """

    name: str
    training: Tensor
    training_classes: Tensor
    test: Tensor
    test_classes: Tensor
    classes: int
    shape: tuple[int, int, int]


def one_hot(classes: Tensor, count: int) -> Tensor:
    """(N,) classes -> (N, count), 1 at the class and 0 elsewhere"""
    return torch.nn.functional.one_hot(classes, count).float()


def digits(training: int = 1347, test: int = 450, split: int = 0) -> Pictures:
    """Handwritten digits of 8 x 8 pixels, the first so many of 1,347 and 450.

    The same `split` puts the same pictures to the test; another one draws others.

    They come with scikit-learn, as a table of numbers. Only that file is read: to import
    scikit-learn takes a second and 80 MB of every start of the lab.
    """
    table = digits_table()  # (1797, 65): pixels 0 to 16, then the class
    order = np.random.default_rng(SPLIT_SEED + split).permutation(len(table))
    pixels = torch.from_numpy((table[order, :-1] / 16).astype(np.float32))
    classes = torch.from_numpy(table[order, -1].astype(np.int64))
    return Pictures(
        name="digits",
        training=pixels[:DIGITS_TRAINING][:training],
        training_classes=classes[:DIGITS_TRAINING][:training],
        test=pixels[DIGITS_TRAINING:][:test],
        test_classes=classes[DIGITS_TRAINING:][:test],
        classes=10,
        shape=(8, 8, 1),
    )


def digits_table() -> NDArray[np.float64]:
    """The file as it is: one digit a row. Raises ConfigError when scikit-learn is not installed."""
    found = importlib.util.find_spec("sklearn")
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            with gzip.open(path, "rt", encoding="ascii") as lines:
                return np.loadtxt(lines, delimiter=",")
    raise ConfigError(
        CHOICE,
        "The handwritten digits come with scikit-learn, which is not installed: "
        "run pip install scikit-learn.",
    )


def cifar10(
    folders: Sequence[Path],
    training: int = 50_000,
    test: int = 10_000,
    sha256: str = CIFAR10_SHA256,
) -> Pictures:
    """CIFAR-10: the first so many of its 50,000 and 10,000 colour photos of 32 x 32 pixels.

    The binary archive is read as it lies, never unpacked. Raises ConfigError when it is not there,
    or is not the known one.
    """
    check_available("cifar10", folders)
    path = next(path for folder in folders if (path := folder / CIFAR10_FILE).is_file())
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ConfigError(
                CHOICE,
                f"{path} is not the known CIFAR-10 archive: delete it, and fetch the binary "
                f"version (md5 {CIFAR10_MD5}) of {CIFAR10_PAGE} again, or choose digits.",
            )
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    with tarfile.open(path) as archive:
        pixels, classes = cifar10_files(archive, batches, training)
        test_pixels, test_classes = cifar10_files(archive, ["test_batch.bin"], test)
    return Pictures(
        name="cifar10",
        training=pixels,
        training_classes=classes,
        test=test_pixels,
        test_classes=test_classes,
        classes=10,
        shape=(32, 32, 3),
    )


def cifar10_files(
    archive: tarfile.TarFile, names: Sequence[str], count: int
) -> tuple[Tensor, Tensor]:
    """The first `count` pictures of these files: (N, 3072), colours last, and classes (N,)"""
    parts: list[tuple[Tensor, Tensor]] = []
    for name in names:
        missing = count - sum(len(classes) for _, classes in parts)
        if missing <= 0:
            break
        try:
            file = archive.extractfile(f"cifar-10-batches-bin/{name}")
        except KeyError:
            file = None
        if file is None:
            raise ConfigError(CHOICE, f"The CIFAR-10 archive has no file {name}.")
        parts.append(cifar10_records(file.read(), missing))
    pixels, classes = zip(*parts, strict=True)
    return torch.cat(pixels), torch.cat(classes)


def cifar10_records(data: bytes, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` pictures: (N, 3072), colours last, 0 to 1, and classes (N,)

    A record is one byte of class and 3,072 of pixels: a red plane, a green one and a blue one,
    each by rows. Source: the section "Binary version" of the page of CIFAR-10.
    Raises ConfigError when the bytes cannot be that.
    """
    if not data or len(data) % CIFAR10_RECORD:
        raise ConfigError(
            CHOICE,
            f"A CIFAR-10 file has {len(data):,} bytes, which is no whole number of pictures "
            f"of {CIFAR10_RECORD:,}.",
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, CIFAR10_RECORD)[:count]
    if records[:, 0].max() > 9:
        raise ConfigError(CHOICE, "A CIFAR-10 file has a class above 9: it is damaged.")
    planes = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # colours last
    pixels = planes.reshape(len(records), -1).astype(np.float32) / 255
    return torch.from_numpy(pixels), torch.from_numpy(records[:, 0].astype(np.int64))


def _digits(folders: Sequence[Path], training: int, test: int, split: int) -> Pictures:
    return digits(training, test, split)


def _cifar10(folders: Sequence[Path], training: int, test: int, split: int) -> Pictures:
    return cifar10(folders, training, test)  # its test pictures are fixed by those who made it


PICTURES: dict[str, Callable[[Sequence[Path], int, int, int], Pictures]] = {
    "digits": _digits,
    "cifar10": _cifar10,
}


def available(folders: Sequence[Path]) -> list[str]:
    """The names of the pictures that are on this computer."""
    archive = any((folder / CIFAR10_FILE).is_file() for folder in folders)
    return [name for name in PICTURES if name != "cifar10" or archive]


def check_available(name: str, folders: Sequence[Path]) -> None:
    """Raise ConfigError when these pictures are not on this computer."""
    if name not in available(folders):
        where = folders[0] if folders else "the data folder"
        raise ConfigError(
            CHOICE,
            f"CIFAR-10 is not on this computer: put {CIFAR10_FILE} of {CIFAR10_PAGE} (md5 "
            f"{CIFAR10_MD5}) into {where}, or choose digits.",
        )
