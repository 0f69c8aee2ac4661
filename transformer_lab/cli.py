"""The command line: serve, train, generate, runs, doctor.

The same settings and the same Lab as the page.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer_lab.settings import ConfigError

if TYPE_CHECKING:
    from transformer_lab.lab.lab import Lab
    from transformer_lab.lab.live_run import LiveRun
    from transformer_lab.lab.runs import RunSummary
    from transformer_lab.lab.texts import Texts
    from transformer_lab.recipes import Recipe

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    arguments = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as with Ctrl-C: save first
    try:
        return arguments.run(arguments)
    except ConfigError as error:
        print(f"transformer-lab: {error.field}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="transformer-lab", description="Understand transformers by making one."
    )
    top.add_argument("--version", action="version", version=_version("transformer-lab"))
    commands = top.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], int], words: str) -> Any:
        sub = commands.add_parser(name, help=words, description=words)
        sub.add_argument(
            "--home", type=Path, default=None, help="folder of runs and corpora (default: yours)"
        )
        sub.set_defaults(run=run)
        return sub

    sub = command("serve", serve, "Open the lab as a web page.")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    sub.add_argument("--port", type=int, default=8050, help="port to listen on (%(default)s)")
    sub.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too"
    )
    sub.add_argument("--debug", action="store_true", help="Dash's developer tools")

    sub = command("train", train, "Train a model; Ctrl-C saves it.")
    sub.add_argument("--recipe", default="quick_start", help="name or .toml file (%(default)s)")
    sub.add_argument("--corpus", help="name or .txt file, instead of the recipe's")
    sub.add_argument("--steps", help="how many steps, instead of the recipe's")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. model.layers=2"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    sub = command("generate", generate, "Let a trained model write.")
    sub.add_argument("--run", dest="name", default="latest", help="a run's name (%(default)s)")
    for name in ("prompt", "length", "temperature", "top-k", "seed"):
        sub.add_argument(f"--{name}")
    sub.add_argument(
        "--drop-unknown", action="store_true", help="leave out characters the model cannot read"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object at the end")

    sub = command("data", data, "List, add, show or tokenize texts.")
    sub.add_argument("what", choices=("list", "add", "show", "tokenize"))
    sub.add_argument("text", nargs="?", help="a text's name, or the path of a file")
    sub.add_argument("--name", help="what to call the text that is added")
    sub.add_argument("--tokenizer", default="characters", help="(%(default)s)")
    sub.add_argument("--vocabulary", default="2048", help="of bpe and words (%(default)s)")
    sub.add_argument("--json", action="store_true", help="JSON instead of words")

    sub = command("runs", runs, "List all runs.")
    sub.add_argument("--json", action="store_true", help="one JSON object a line")

    command(
        "doctor", doctor, "Say what is installed, what there is to compute on, what is missing."
    )
    return top


def home_folder(arguments: argparse.Namespace) -> Path:
    """Where runs and corpora live: --home, TRANSFORMER_LAB_HOME, or the user's data folder."""
    if arguments.home is not None:
        return arguments.home.expanduser()
    if named := os.environ.get("TRANSFORMER_LAB_HOME"):
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("transformer-lab", appauthor=False)


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; what trains then is saved."""
    # On the main thread, before any other starts: the optimizers need it, and it takes a second.
    import torch._dynamo  # noqa: F401
    import waitress

    from transformer_lab.lab.lab import Lab
    from transformer_lab.ui.server import create_app

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not 0 < arguments.port < 65536:
        raise ConfigError("port", f"Port is {arguments.port}: choose one from 1 to 65,535.")
    lab = Lab(home_folder(arguments))
    try:
        named = [arguments.host, *arguments.allow_host]
        app = create_app(lab, allowed_hosts=[name.lower() for name in named])
        address = "localhost" if arguments.host in ("127.0.0.1", "0.0.0.0") else arguments.host
        where = f"Transformer Lab is at http://{address}:{arguments.port} - Ctrl-C ends it. "
        ready = f"{where}Runs are kept in {lab.home}."
        if arguments.debug:
            print(ready, flush=True)
            app.run(
                host=arguments.host,
                port=arguments.port,
                debug=True,
                use_reloader=False,
                dev_tools_disable_version_check=True,
            )
        else:
            server = waitress.create_server(
                app.server, host=arguments.host, port=arguments.port, threads=8
            )
            print(ready, flush=True)
            server.run()
    except OSError as error:
        raise ConfigError(
            "port",
            f"{arguments.host}:{arguments.port} cannot be used ({error.strerror or error}): "
            f"end the program that holds it, or choose another with --port {arguments.port + 1}.",
        ) from None
    finally:
        lab.close()
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Train in this terminal; a page on the same home shows it live."""
    from transformer_lab.lab.lab import Lab, LabError
    from transformer_lab.recipes import find_recipe

    recipe = find_recipe(arguments.recipe)
    setup = recipe.setup.with_values(_changes(arguments))
    lab = Lab(home_folder(arguments))
    try:
        lab.start(setup, recipe.slug)
        code = _follow(lab, recipe, as_json=arguments.json)
    except LabError as error:
        print(f"transformer-lab: {error}", file=sys.stderr)
        return FAILED
    finally:
        lab.close()
    return code


def _changes(arguments: argparse.Namespace) -> dict[str, str]:
    changes: dict[str, str] = {}
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError("--set", f"{item!r} has no value: write --set model.layers=2.")
        changes[key.strip()] = value
    if arguments.corpus is not None:
        changes["data.corpus"] = arguments.corpus
    if arguments.steps is not None:
        changes["train.steps"] = arguments.steps
    return changes


def _follow(lab: "Lab", recipe: "Recipe", *, as_json: bool) -> int:
    """Print the steps of the run that has just been started, until it ends."""
    run = lab.current
    assert run is not None
    printer = _Printer(run.setup.train.steps, as_json=as_json)
    asked, named, stopping = _signals(), False, False
    while not run.ended:
        time.sleep(0.1)
        if asked.is_set() and not stopping:
            stopping = True
            lab.wait()
            if run.status.state in ("running", "paused"):
                lab.stop("Interrupted.")
        if not named and run.made and run.status.run_id:
            named = True
            words = f"{run.status.run_id}: {recipe.title}, {run.parameters:,} parameters, "
            words += f"{run.made.corpus.title}, {run.device.name}. {run.status.note}"
            print(words.strip(), file=sys.stderr if as_json else sys.stdout)
        printer.show(run)
    printer.show(run)
    return _summary(lab, as_json=as_json, interrupted=stopping)


def _signals() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; a second one ends the program as usual."""
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return asked


class _Printer:
    """Prints the steps that are new: all of them as JSON, for people every two seconds."""

    def __init__(self, steps: int, *, as_json: bool) -> None:
        self._steps, self._as_json = steps, as_json
        self._cursor, self._printed = 0, 0.0

    def show(self, run: "LiveRun") -> None:
        points, self._cursor = run.stream.since(self._cursor)
        for point in points:
            if self._as_json:
                print(json.dumps(_row(point)), flush=True)
            elif point.validation_loss is not None or time.monotonic() - self._printed > 2:
                self._printed = time.monotonic()
                print(_line(point, self._steps), flush=True)


def _row(point: Any) -> dict[str, Any]:
    row = asdict(point)
    row["val_loss"] = row.pop("validation_loss")
    return row


def _line(point: Any, steps: int) -> str:
    validation = f"  val {point.validation_loss:.3f}" if point.validation_loss is not None else ""
    return (
        f"step {point.step:,} / {steps:,}  loss {point.train_loss:.3f}{validation}"
        f"  lr {point.learning_rate:.2g}  {point.tokens_per_second:,.0f} tokens/s"
        f"  {point.seconds:.1f} s"
    )


def _summary(lab: "Lab", *, as_json: bool, interrupted: bool) -> int:
    run = lab.current
    assert run is not None
    status = run.status
    if status.state == "failed" and status.field:
        raise ConfigError(status.field, status.reason)
    view = lab.view(status.run_id)
    if as_json:
        summary = {
            "summary": True,
            "run": status.run_id,
            "state": status.state,
            "reason": status.reason,
            "step": status.step,
            "val_loss": view.validation_loss,
            "seconds": view.seconds,
            "corpus": run.made.corpus.name if run.made else "",
            "note": status.note,
            "parameters": run.parameters,
        }
        print(json.dumps(summary), flush=True)
    else:
        loss = (
            "" if view.validation_loss is None else f", validation loss {view.validation_loss:.3f}"
        )
        print(f"{status.run_id} {status.state} after step {status.step:,}{loss}. {status.reason}")
        if view.step:
            print(f'Let it write: transformer-lab generate --run {status.run_id} --prompt "..."')
    if interrupted:
        return INTERRUPTED
    return FAILED if status.state == "failed" else 0


def generate(arguments: argparse.Namespace) -> int:
    """Print what a model writes, as it writes it."""
    from transformer_lab.generation import SampleConfig
    from transformer_lab.lab.lab import Lab, LabError
    from transformer_lab.settings import from_mapping
    from transformer_lab.text.tokenizers import UnknownTextError

    names = ("prompt", "length", "temperature", "top_k", "seed")
    given = {name: getattr(arguments, name) for name in names}
    config = from_mapping(SampleConfig, {k: v for k, v in given.items() if v is not None})
    lab = Lab(home_folder(arguments))
    try:
        if arguments.drop_unknown:
            config = lab.without_unknown(arguments.name, config)
        job, snapshot = lab.generate(arguments.name, config)
        text = _print_job(job, config.prompt, as_json=arguments.json)
        if arguments.json:
            about = {"run": snapshot.run_id, "step": snapshot.step, "sample": asdict(config)}
            print(json.dumps({**about, "text": text}))
        if job.error:
            print(f"transformer-lab: {job.error}", file=sys.stderr)
            return FAILED
        return 0
    except UnknownTextError as error:
        raise ConfigError(
            "sample.prompt", f"{error} Use --drop-unknown to leave them out."
        ) from None
    except LabError as error:
        print(f"transformer-lab: {error}", file=sys.stderr)
        return FAILED
    finally:
        lab.close()


def _print_job(job: Any, prompt: str, *, as_json: bool) -> str:
    cursor, text = 0, ""
    if not as_json:
        print(prompt, end="", flush=True)
    while True:
        done = job.wait(0.05)
        pieces, cursor = job.since(cursor)
        text += "".join(pieces)
        if not as_json:
            print("".join(pieces), end="" if not done else "\n", flush=True)
        if done:
            return text


def data(arguments: argparse.Namespace) -> int:
    """Texts: which there are, what is in them, how they become tokens."""
    from transformer_lab.lab.texts import Texts

    if arguments.what != "list" and arguments.text is None:
        raise ConfigError("text", f"Say which text: transformer-lab data {arguments.what} NAME.")
    texts = Texts(home_folder(arguments))
    try:
        answers = {"list": _list_texts, "add": _add_text, "show": _show_text}
        facts = answers.get(arguments.what, _tokenize_text)(texts, arguments)
    finally:
        texts.close()
    for row in facts:
        words = "  ".join(str(value) for value in row.values())
        print(json.dumps(row, ensure_ascii=False) if arguments.json else words)
    return 0


def _list_texts(texts: "Texts", arguments: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        {"name": name, "title": title, "missing": texts.missing(name)}
        for name, title in texts.titles().items()
    ]


def _add_text(texts: "Texts", arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from transformer_lab.text.corpora import read_text_file

    corpus = read_text_file(Path(arguments.text).expanduser())
    name = arguments.name or corpus.title
    entry = texts.library.add(corpus.text.encode(), name, f"file {corpus.title}")
    return [{"name": entry.id, "title": entry.name, "characters": entry.characters}]


def _show_text(texts: "Texts", arguments: argparse.Namespace) -> list[dict[str, Any]]:
    corpus = texts.corpus(arguments.text)
    facts = {
        "title": corpus.title,
        "source": corpus.source,
        "sha256": corpus.sha256,
        "characters": corpus.characters,
        "distinct characters": corpus.distinct_characters,
        "validation text that occurs in training": f"{texts.overlap(arguments.text, 0.1):.1%}",
        "begins": corpus.text[:200],
    }
    return [facts] if arguments.json else [{"fact": f"{k}:", "value": v} for k, v in facts.items()]


def _tokenize_text(texts: "Texts", arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from transformer_lab.lab.study import verify
    from transformer_lab.settings import from_mapping
    from transformer_lab.text import DataConfig

    wanted = {
        "corpus": arguments.text,
        "tokenizer": arguments.tokenizer,
        "vocabulary_size": arguments.vocabulary,
    }
    config = from_mapping(DataConfig, wanted)
    corpus = texts.corpus(config.corpus)
    encoded = texts.encoded(config, lambda words: print(words, file=sys.stderr))
    tokens = len(encoded.training) + len(encoded.validation)
    check = verify(encoded.tokenizer, corpus.text)
    comes_back = "yes" if check.at is None else f"not from character {check.at:,} on"
    first = encoded.training[:12]
    facts = {
        "vocabulary": encoded.tokenizer.vocabulary_size,
        "tokens": tokens,
        "characters per token": round(corpus.characters / tokens, 3),
        "comes back from its tokens": comes_back,
        "first tokens": " ".join(map(str, first)),
        "which are": " | ".join(encoded.tokenizer.decode([token]) for token in first),
    }
    return [facts] if arguments.json else [{"fact": f"{k}:", "value": v} for k, v in facts.items()]


def runs(arguments: argparse.Namespace) -> int:
    """List runs, newest first."""
    from transformer_lab.lab.runs import RunStore

    found = RunStore(home_folder(arguments)).list()
    if arguments.json:
        for run in found:
            print(json.dumps(asdict(run)))
    elif not found:
        print("There are no runs yet: transformer-lab train makes one.")
    else:
        _table(found)
    return 0


def _table(found: "Iterable[RunSummary]") -> None:
    heads = f"{'run':26} {'state':12} {'step':>16} {'val loss':>9} {'bits/byte':>9}"
    print(f"{heads}  {'made':16}  text")
    for run in found:
        loss = "-" if run.validation_loss is None else f"{run.validation_loss:.3f}"
        bits = "-" if run.bits_per_byte is None else f"{run.bits_per_byte:.3f}"
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        steps = f"{run.step:,} / {run.steps:,}"
        row = f"{run.id:26} {run.state:12} {steps:>16} {loss:>9} {bits:>9}"
        print(f"{row}  {made:16}  {run.corpus}")


def doctor(arguments: argparse.Namespace) -> int:
    """What is here and what is missing; works when packages are missing."""
    missing = []
    print(f"Transformer Lab {_version('transformer-lab')}, Python {sys.version.split()[0]}")
    for name in _dependencies():
        found = _version(name)
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
    from transformer_lab.lab.device import choose_device, environment, thread_count
    from transformer_lab.text.corpora import CorpusError, corpus_folders, load_corpus

    home = home_folder(arguments)
    missing = []
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"a home that can be written to: {home} ({error.strerror}); use --home"]
    facts, device = environment(home), choose_device("auto")
    print(f"Device   {device.name} ({device.reason})")
    print(f"Threads  {thread_count(0)} of {facts['cores']}")
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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    raise SystemExit(main())
