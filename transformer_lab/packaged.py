"""Where the files that come with the lab are: in a checkout, or inside the installed package."""

from pathlib import Path

SOURCE = Path(__file__).parents[1]  # the folder from which this package is imported


def packaged(name: str) -> Path:
    """The folder `recipes`, `assets`, `docs/lessons`, or `docs` with the summary of experiments."""
    package = Path(__file__).parent
    installed = package / "_packaged" / name
    return installed if installed.is_dir() else package.parent / name
