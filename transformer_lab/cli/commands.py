"""The commands of the command line and their options.

They stand apart from the functions that carry them out, because those modules import torch:
`--help` answers at once, and `doctor` runs when a package is missing.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from transformer_lab.cli.common import SAMPLING
from transformer_lab.cli.doctor import installed
from transformer_lab.cli.words import Command

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


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; the arguments it gives have a function `run` that takes them."""
    top = argparse.ArgumentParser(
        prog="transformer-lab", description="Understand transformers by making one."
    )
    top.add_argument("--version", action="version", version=installed("transformer-lab"))
    commands = top.add_subparsers(required=True, metavar="command", parser_class=Command)
    for name, (module, function, words, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument(
            "--home", type=Path, default=None, help="folder of runs and corpora (default: yours)"
        )
        command.set_defaults(run=partial(_run, module, function))
        add_options(command)
    return top


def _run(module: str, function: str, arguments: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int]
    run = getattr(import_module(f"transformer_lab.cli.{module}"), function)
    return run(arguments)


def _json(command: Command) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object a line")


def _serve(command: Command) -> None:
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument("--port", type=int, default=8050, help="port to listen on (%(default)s)")
    command.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too"
    )
    command.add_argument(
        "--base-path", default="", metavar="/PATH", help="where a reverse proxy shows the lab"
    )
    command.add_argument(
        "--trust-proxy",
        action="store_true",
        help="believe X-Forwarded-Host and -Proto of a reverse proxy on this computer",
    )
    command.add_argument(
        "--allow-paths",
        action="store_true",
        help="let every visitor add, and so read, text files of this computer by their path "
        "(without it only while nobody else can visit)",
    )
    command.add_argument(
        "--no-token",
        action="store_true",
        help="let everybody in who reaches the lab, where other computers do",
    )
    command.add_argument(
        "--ray",
        default="",
        metavar="WHERE",
        help="send what is queued to a Ray cluster: auto for the one this computer is in, its "
        "HOST:PORT, or local for one of its own on this computer (docs/cluster.md)",
    )
    command.add_argument("--debug", action="store_true", help="Dash's developer tools")
    command.add_argument(
        "--classroom",
        action="store_true",
        help="a link for the teacher, and one for the class: each learner has a workspace",
    )
    command.add_argument(
        "--people", type=int, default=60, metavar="N", help="learners in all (%(default)s)"
    )
    command.add_argument(
        "--people-here", type=int, default=40, metavar="N", help="learners at once (%(default)s)"
    )
    for what, number, help in (
        ("runs", 100, "runs a learner may have"),
        ("mb", 2000, "MB a learner's workspace may have"),
        ("minutes", 120, "minutes a learner's trainings may compute, until the next serve"),
    ):
        command.add_argument(
            f"--most-{what}", type=int, default=number, metavar="N", help=f"{help} (%(default)s)"
        )


def _train(command: Command) -> None:
    command.add_argument("--recipe", default="quick_start", help="name or .toml file (%(default)s)")
    command.add_argument("--corpus", help="name or .txt file, instead of the recipe's")
    command.add_argument("--steps", help="how many steps, instead of the recipe's")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. model.layers=2"
    )
    command.add_argument(
        "--from-stdin",
        action="store_true",
        help="read what to train as JSON, as a lab writes it that starts this (train.where)",
    )
    command.add_argument(
        "--tied", action="store_true", help="with --from-stdin: save and end when that closes"
    )
    _json(command)


def _resume(command: Command) -> None:
    command.add_argument("name", nargs="?", default="latest", metavar="RUN", help="(%(default)s)")
    _shard(command)
    _json(command)


def _extend(command: Command) -> None:
    command.add_argument("name", metavar="RUN", help="a run's name, or latest")
    command.add_argument("--steps", required=True, help="how many more")
    _shard(command)
    _json(command)


def _shard(command: Command) -> None:
    command.add_argument(
        "--shard",
        action=argparse.BooleanOptionalAction,
        help="split the model over the processes of torchrun, or not (as the run's train.shard)",
    )


def _finetune(command: Command) -> None:
    command.add_argument("name", metavar="BASE", help="a run's name, or latest")
    command.add_argument("--corpus", required=True, help="name or .txt file of the new text")
    command.add_argument("--moment", metavar="STEP", help="a step of the base (its newest)")
    command.add_argument("--steps", help="how many steps")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. lora.rank=8"
    )
    _json(command)


def _compare(command: Command) -> None:
    command.add_argument(
        "question", metavar="QUESTION", help="a ready question's name or a .toml file"
    )
    command.add_argument("--quick", action="store_true", help="with its quick preset: minutes")
    command.add_argument("--seeds", help="how many, instead of the question's")
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--processes", action="store_true", help="each lane in a process of its own, one a GPU"
    )
    place.add_argument(
        "--ray",
        default="",
        metavar="WHERE",
        help="each lane on a computer of a Ray cluster: auto, HOST:PORT or local, as for serve",
    )
    _json(command)


def _find_rate(command: Command) -> None:
    command.add_argument("--recipe", default="quick_start", help="name or .toml file (%(default)s)")
    command.add_argument("--corpus", help="name or .txt file, instead of the recipe's")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. model.layers=2"
    )
    command.set_defaults(steps=None)
    _json(command)


def _export(command: Command) -> None:
    command.add_argument("name", metavar="RUN", help="a run's name, or latest")
    command.add_argument(
        "--as", dest="form", choices=FORMS, default="run.zip", help="(%(default)s)"
    )
    command.add_argument("--out", type=Path, help="the file to write (named after the run)")


def _import(command: Command) -> None:
    command.add_argument("file", type=Path, help="a .zip, or a Hugging Face folder of a GPT-2")
    command.add_argument("--base", default="", metavar="RUN", help="the run a PEFT adapter is for")


def _audit(command: Command) -> None:
    command.add_argument("name", nargs="?", default="latest", metavar="RUN", help="(%(default)s)")
    command.add_argument("--seed", type=int, help="of the tokens that are tried (a fresh one)")
    _json(command)


def _generate(command: Command) -> None:
    command.add_argument("--run", dest="name", default="latest", help="a run's name (%(default)s)")
    for name in SAMPLING:
        command.add_argument(f"--{name.replace('_', '-')}")
    command.add_argument(
        "--drop-unknown", action="store_true", help="leave out characters the model cannot read"
    )
    command.add_argument("--json", action="store_true", help="one JSON object at the end")


def _data(command: Command) -> None:
    command.add_argument("what", choices=("list", "fetch", "add", "show", "tokenize", "model"))
    command.add_argument(
        "text",
        nargs="?",
        help="a text's name, or the path of a file; for `model` one of the Hugging Face Hub, which "
        "is downloaded and imported",
    )
    command.add_argument("--sha256", default="", help="that a file of the model must have")
    command.add_argument("--name", help="what to call the text that is added")
    command.add_argument("--encoding", help="of the file that is added, when it is not UTF-8")
    command.add_argument("--into", type=Path, help="folder for texts that are fetched (the home's)")
    command.add_argument("--tokenizer", default="characters", help="(%(default)s)")
    command.add_argument("--vocabulary", default="2048", help="of bpe and words (%(default)s)")
    command.add_argument("--json", action="store_true", help="JSON instead of words")


def _runs(command: Command) -> None:
    _json(command)


# The module and the function that carry it out, its help, and what adds its options.
COMMANDS: dict[str, tuple[str, str, str, Callable[[Command], None]]] = {
    "serve": ("serve", "serve", "Open the lab as a web page.", _serve),
    "train": ("train", "train", "Train a model; Ctrl-C saves it.", _train),
    "first-model": (
        "train",
        "first_model",
        "Train a small model, in seconds, where there is no run yet.",
        _train,
    ),
    "resume": (
        "train",
        "resume",
        "Go on with a run exactly where it was stopped or cut off.",
        _resume,
    ),
    "extend": ("train", "extend", "Train a run for more steps, as a new run.", _extend),
    "finetune": (
        "train",
        "finetune",
        "Let a trained model learn from another text, as a new run.",
        _finetune,
    ),
    "compare": (
        "compare",
        "compare",
        "Train models that differ in one thing, and say which differences are clear.",
        _compare,
    ),
    "find-rate": (
        "rates",
        "find_rate",
        "Try growing learning rates in a short training, and suggest one.",
        _find_rate,
    ),
    "export": (
        "exchange",
        "export",
        "Write a run to a file, to keep or to use elsewhere.",
        _export,
    ),
    "import": (
        "exchange",
        "bring_in",
        "Bring a run in that export wrote, or a GPT-2 from elsewhere.",
        _import,
    ),
    "audit": (
        "audit",
        "audit",
        "Prove on a model that nothing leaks from what it predicts.",
        _audit,
    ),
    "generate": ("generate", "generate", "Let a trained model write.", _generate),
    "data": (
        "data",
        "data",
        "List, fetch, add, show or tokenize texts; download a model.",
        _data,
    ),
    "runs": ("runs", "runs", "List all runs.", _runs),
    "doctor": (
        "doctor",
        "doctor",
        "Say what is installed, what there is to compute on, what is missing.",
        lambda command: None,
    ),
}
