"""A run as a Jupyter notebook that needs no lab: what it is, its code, its curves and its text."""

import ast
import html
import importlib
import inspect
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformer_lab.exchange import curves, standalone
from transformer_lab.exchange.database import DATABASE, copy_database, reading
from transformer_lab.exchange.run_folder import read_manifest
from transformer_lab.exchange.script import (
    WEIGHTS,
    gather_program,
    needed_packages,
    standalone_tokenizer,
)
from transformer_lab.recipes import SETTINGS, Setup, setup_from

POINTS = 400  # of a curve, in the notebook itself
Cell = dict[str, Any]


def notebook_text(run_folder: Path) -> str:
    """The notebook of a run (.ipynb). Beside it belongs a checkpoint's weights.safetensors.

    Raises ConfigError for settings that are not ours and ExportRefusedError.
    """
    manifest = read_manifest(run_folder)
    setup = setup_from(manifest["setup"])
    tokenizer = standalone_tokenizer(manifest["tokenizer"])
    program = gather_program(
        setup, tokenizer, standalone.load, standalone.write, curves.read_points, curves.Curves
    )
    cells = [
        words(_what_it_is(run_folder.name, manifest, setup, needed_packages(program.imports))),
        code(program.imports),
    ]
    for section in program.sections:
        cells += [words(_about(section.module)), code(section.source)]
    cells += [words("## Its vocabulary"), code(tokenizer.assignment())]
    cells += _using(run_folder, setup)
    return json.dumps(
        {
            "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)],
            "metadata": {
                "kernelspec": {
                    "display_name": "Python 3",
                    "language": "python",
                    "name": "python3",
                },
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
    )


def words(text: str) -> Cell:
    """A cell to read."""
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(source: str) -> Cell:
    """A cell to run."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source,
    }


def _what_it_is(name: str, manifest: Mapping[str, Any], setup: Setup, packages: list[str]) -> str:
    corpus = manifest.get("corpus", {})
    settings = [
        f"| {SETTINGS[key].group} | {SETTINGS[key].label} | {_plain(value)} |"
        for key, value in setup.values().items()
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A GPT with {manifest.get('parameters', 0):,} parameters, trained in Transformer Lab "
            f"on {_plain(corpus.get('title', 'an unknown text'))}. This notebook holds all of its "
            f"code, as it was when the run left the lab. It needs {' and '.join(packages)}, and "
            f"`{WEIGHTS}` in the same folder.",
            "",
            "| | Setting | Value |",
            "|---|---|---|",
            *settings,
        ]
    )


def _plain(value: object) -> str:
    """A value as text that means nothing in Markdown or HTML."""
    shown = html.escape(str(value), quote=False).replace("\n", "⏎")
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-!|~$" else sign for sign in shown)


def _about(module: str) -> str:
    """The title of a section: the file it is from, and what that says of itself."""
    text = inspect.getsource(importlib.import_module(module))
    about = ast.get_docstring(ast.parse(text)) or ""
    return f"## {module.replace('.', '/')}.py\n\n{about}"


def _using(run_folder: Path, setup: Setup) -> list[Cell]:
    """Loading, the loss, and writing."""
    table = "".join(thinned(run_folder, ("step", "train_loss", "validation_loss")))
    return [
        words("## Its weights"),
        code(
            f'model = load(Path("{WEIGHTS}"), tokenizer)\n'
            "sum(parameter.numel() for parameter in model.parameters())"
        ),
        words(
            "## How it learned\n\nThe loss in nats per token, of the batches it was trained on "
            f"and of text held back, at about {POINTS} of its steps."
        ),
        code(
            f'TABLE = """\\\n{table}"""\n'
            'trained = read_points(TABLE, "train_loss")\n'
            'held_back = read_points(TABLE, "validation_loss")\n'
            'Curves({"training": trained, "validation": held_back}, "step", "loss, nats per token")'
        ),
        words("## What it writes"),
        code(
            f"sample = SampleConfig(prompt={setup.sample.prompt!r}, length={setup.sample.length})\n"
            'print(sample.prompt + "".join(write(model, tokenizer, sample)))'
        ),
    ]


def thinned(run_folder: Path, columns: tuple[str, ...]) -> Iterator[str]:
    """Lines of a CSV table of some columns of steps, the last of which is seldom measured.

    At most about `POINTS` steps, and as many of those where the last column was measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy_database(run_folder, Path(folder) / DATABASE)
        with reading(Path(folder) / DATABASE) as database:
            counted = f"SELECT COUNT(*), COUNT({columns[-1]}) FROM steps"
            every, every_measured = (
                math.ceil(count / POINTS) or 1 for count in database.execute(counted).fetchone()
            )
            yield ",".join(columns) + "\n"
            measured = 0
            rows = database.execute(f"SELECT {', '.join(columns)} FROM steps ORDER BY step")
            for number, row in enumerate(rows):
                measured += row[-1] is not None
                due = row[-1] is not None and measured % every_measured == 0
                if due or number % every == 0:
                    yield ",".join("" if v is None else f"{v:.6g}" for v in row) + "\n"
