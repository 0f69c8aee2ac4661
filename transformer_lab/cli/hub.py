"""A model from the Hugging Face Hub, where the computer has a network and a person asks for it.

Only the files that an import reads are fetched, all of one commit. Each is compared with the sum
that the hub says it has, and with the one that was asked for; then it is an import like any other.
"""

import hashlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from transformer_lab.exchange.hf_arrival import READ
from transformer_lab.settings import ConfigError

PIECE = 1 << 20  # bytes


def fetch_model(name: str, folder: Path, sha256: str = "", **where: Any) -> dict[str, str]:
    """Download a model by its name, as in openai-community/gpt2; the sha256 of each of its files.

    With `sha256` that must be the sum of one of them. `where` goes to the hub's client. Raises
    ConfigError.
    """
    try:
        hub = import_module("huggingface_hub")
        refusals = import_module("huggingface_hub.errors").HfHubHTTPError.__bases__  # of its client
    except ImportError as error:
        raise ConfigError(
            "model",
            "To download a model huggingface_hub is needed, which is not installed: pip install "
            "'transformer-lab[hub]', or bring a folder you have: transformer-lab import FOLDER.",
        ) from error
    try:
        client = hub.HfApi(**where)
        about = client.model_info(name, files_metadata=True)
        known = {one.rfilename: one for one in about.siblings if one.rfilename in READ}
        for file in known:
            client.hf_hub_download(name, file, revision=about.sha, local_dir=folder)
    except (*refusals, OSError, ValueError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            "model",
            f"{name} could not be downloaded ({why[0].rstrip('.')}). Check its name and the "
            "network, or bring a folder you have: transformer-lab import FOLDER.",
        ) from error
    return _checked(folder, known, sha256)


def _checked(folder: Path, known: Mapping[str, Any], wanted: str) -> dict[str, str]:
    """The sums of what came. Raises ConfigError where one is not the one that was said."""
    sums = {}
    for file, about in known.items():
        sums[file] = _sum(folder / file, hashlib.sha256())
        if about.lfs is not None:
            right = about.lfs["sha256"] == sums[file]
        else:  # small files have the name that git gives them
            size = (folder / file).stat().st_size
            right = _sum(folder / file, hashlib.sha1(b"blob %d\0" % size)) == about.blob_id
        if not right:
            raise ConfigError("model", f"{file} did not arrive as the hub has it: try again.")
    if wanted and wanted.lower() not in sums.values():
        said = ", ".join(f"{one} of {file}" for file, one in sums.items())
        raise ConfigError("sha256", f"No file of it has the sha256 {wanted}: they are {said}.")
    return sums


def _sum(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return str(digest.hexdigest())
