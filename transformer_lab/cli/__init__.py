"""The command line: the same settings and the same Lab as the page.

Each command is a function of its own name in one of the modules here, read only when it is called:
`doctor` must run when a package is missing.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from transformer_lab.cli.common import BAD_INPUT, FAILED, INTERRUPTED, SAMPLING
from transformer_lab.cli.doctor import installed
from transformer_lab.cli.output import OutputError, finish, mention, take_any_text
from transformer_lab.cli.words import Command
from transformer_lab.settings import ConfigError

FORMS = (
    "run.zip",
    "weights.zip",
    "huggingface.zip",
    "adapter.zip",
    "standalone.zip",
    "generate.py",
    "notebook.ipynb",
    "metrics.csv",
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    take_any_text()
    code = 0
    try:
        code = _command(argv)
        finish()
    except (OutputError, BrokenPipeError) as error:
        lost = _unheard(error)
        code = code or lost
    except SystemExit:  # of --help and --version, and for words that argparse does not know
        with contextlib.suppress(OutputError):
            finish()
        raise
    return code


def _unheard(error: OutputError | BrokenPipeError) -> int:
    """Nobody reads on, which is no fault, or what was printed is lost."""
    with contextlib.suppress(OutputError):
        finish()
    if isinstance(error, BrokenPipeError) or error.reader_left:
        return 0
    mention(f"transformer-lab: {error}", to=sys.stderr)
    return FAILED


def _command(argv: list[str] | None) -> int:
    arguments = parser().parse_args(argv)
    # What NVIDIA's library needs for `train.deterministic`, before it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C: save first
    try:
        _check_working_folder()
        return arguments.run(arguments)
    except ConfigError as error:
        mention(f"transformer-lab: {error.field}: {error}", to=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _check_working_folder() -> None:
    """Libraries end the program without a word where there is none. Raises ConfigError."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            "working folder",
            f"The folder you are in is gone ({error.strerror}): change to another one (cd ~).",
        ) from None


def _run(module: str, command: str, arguments: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int]
    run = getattr(import_module(f"transformer_lab.cli.{module}"), command)
    return run(arguments)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="transformer-lab", description="Understand transformers by making one."
    )
    top.add_argument("--version", action="version", version=installed("transformer-lab"))
    commands = top.add_subparsers(required=True, metavar="command", parser_class=Command)

    def command(name: str, module: str, words: str, function: str = "") -> Any:
        sub = commands.add_parser(name, help=words, description=words)
        sub.add_argument(
            "--home", type=Path, default=None, help="folder of runs and corpora (default: yours)"
        )
        sub.set_defaults(run=partial(_run, module, function or name))
        return sub

    sub = command("serve", "serve", "Open the lab as a web page.")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    sub.add_argument("--port", type=int, default=8050, help="port to listen on (%(default)s)")
    sub.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too"
    )
    sub.add_argument(
        "--base-path", default="", metavar="/PATH", help="where a reverse proxy shows the lab"
    )
    sub.add_argument(
        "--trust-proxy",
        action="store_true",
        help="believe X-Forwarded-Host and -Proto of a reverse proxy on this computer",
    )
    sub.add_argument(
        "--allow-paths",
        action="store_true",
        help="let every visitor add, and so read, text files of this computer by their path "
        "(without it only while nobody else can visit)",
    )
    sub.add_argument("--debug", action="store_true", help="Dash's developer tools")

    sub = command("train", "train", "Train a model; Ctrl-C saves it.")
    sub.add_argument("--recipe", default="quick_start", help="name or .toml file (%(default)s)")
    sub.add_argument("--corpus", help="name or .txt file, instead of the recipe's")
    sub.add_argument("--steps", help="how many steps, instead of the recipe's")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. model.layers=2"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("resume", "train", "Go on with a run exactly where it was stopped or cut off.")
    sub.add_argument("name", nargs="?", default="latest", metavar="RUN", help="(%(default)s)")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("extend", "train", "Train a run for more steps, as a new run.")
    sub.add_argument("name", metavar="RUN", help="a run's name, or latest")
    sub.add_argument("--steps", required=True, help="how many more")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("finetune", "train", "Let a trained model learn from another text, as a new run.")
    sub.add_argument("name", metavar="BASE", help="a run's name, or latest")
    sub.add_argument("--corpus", required=True, help="name or .txt file of the new text")
    sub.add_argument("--moment", metavar="STEP", help="a step of the base (its newest)")
    sub.add_argument("--steps", help="how many steps")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. lora.rank=8"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("compare", "compare", "Race models on one question and say what can be told.")
    sub.add_argument("question", metavar="QUESTION", help="a ready question's name or a .toml file")
    sub.add_argument("--quick", action="store_true", help="with its quick preset: minutes")
    sub.add_argument("--seeds", help="how many, instead of the question's")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("export", "exchange", "Write a run to a file, to keep or to use elsewhere.")
    sub.add_argument("name", metavar="RUN", help="a run's name, or latest")
    sub.add_argument("--as", dest="form", choices=FORMS, default="run.zip", help="(%(default)s)")
    sub.add_argument("--out", type=Path, help="the file to write (named after the run)")

    sub = command("import", "exchange", "Bring a run in that export wrote.", "bring_in")
    sub.add_argument("file", type=Path, help="a .zip")

    sub = command("audit", "audit", "Prove on a model that nothing leaks from what it predicts.")
    sub.add_argument("name", nargs="?", default="latest", metavar="RUN", help="(%(default)s)")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("generate", "generate", "Let a trained model write.")
    sub.add_argument("--run", dest="name", default="latest", help="a run's name (%(default)s)")
    for name in SAMPLING:
        sub.add_argument(f"--{name.replace('_', '-')}")
    sub.add_argument(
        "--drop-unknown", action="store_true", help="leave out characters the model cannot read"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object at the end")

    sub = command("data", "data", "List, fetch, add, show or tokenize texts.")
    sub.add_argument("what", choices=("list", "fetch", "add", "show", "tokenize"))
    sub.add_argument("text", nargs="?", help="a text's name, or the path of a file")
    sub.add_argument("--name", help="what to call the text that is added")
    sub.add_argument("--encoding", help="of the file that is added, when it is not UTF-8")
    sub.add_argument("--into", type=Path, help="folder for texts that are fetched (the home's)")
    sub.add_argument("--tokenizer", default="characters", help="(%(default)s)")
    sub.add_argument("--vocabulary", default="2048", help="of bpe and words (%(default)s)")
    sub.add_argument("--json", action="store_true", help="JSON instead of words")

    sub = command("runs", "runs", "List all runs.")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    command(
        "doctor", "doctor", "Say what is installed, what there is to compute on, what is missing."
    )
    return top
