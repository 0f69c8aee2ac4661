"""Archives of runs for tests: made, taken apart, spoiled and signed again."""

import contextlib
import hashlib
import io
import json
import zipfile

import pytest
import safetensors.torch
import torch

from transformer_lab.exchange import (
    ImportRefusedError,
    Limits,
    read_archive,
    write_archive,
)
from transformer_lab.runs.checkpoint import META


def packed(folder, **options):
    stream = io.BytesIO()
    write_archive(folder, stream, **options)
    return stream.getvalue()


def unzipped(data):
    """The files of an archive, without the folder they are in."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def zipped(files, *, sign=True, folder="small-1", **how):
    """An archive of these files whose sums are right: what only someone who means it can make."""
    files = dict(files)
    for name in [name for name in files if sign and name.endswith(META)]:
        beside = name.removesuffix(META)
        sums = {f.removeprefix(beside): digest(files[f]) for f in files if f.startswith(beside)}
        sums.pop(META)
        with contextlib.suppress(ValueError, TypeError):  # spoiled by the test itself
            files[name] = dumped({**json.loads(files[name]), "sha256": sums})
    if sign and "archive.json" in files:
        listed = {
            name: {"bytes": len(data), "sha256": digest(data)}
            for name, data in files.items()
            if name != "archive.json"
        }
        files["archive.json"] = dumped({**json.loads(files["archive.json"]), "files": listed})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return stream.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def dumped(content):
    return json.dumps(content).encode()


def changed(files, name, **values):
    """The files with some values of a JSON file changed, by dotted name."""
    content = json.loads(files[name])
    for key, value in values.items():
        *path, last = key.split("__")
        inner = content
        for part in path:
            inner = inner[part]
        inner[last] = value
    return {**files, name: dumped(content)}


def take(data, folder, **limits):
    return read_archive(io.BytesIO(data), folder, "came-1", limits=Limits(**limits))


def refused(data, folder, match, **limits):
    """The archive is refused with a sentence, and nothing of it is left."""
    with pytest.raises(ImportRefusedError, match=match) as error:
        take(data, folder, **limits)
    assert str(error.value).endswith((".", "?"))
    assert not folder.exists() or list(folder.iterdir()) == []


def tensors(size=4):
    return safetensors.torch.save({"some": torch.zeros(size // 4)})
