"""transformer-lab data"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformer_lab.cli.common import FAILED, home_folder
from transformer_lab.cli.hub import fetch_model
from transformer_lab.cli.output import mention, say
from transformer_lab.exchange import ImportRefusedError
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.text.study import verify
from transformer_lab.lab.text.texts import Texts
from transformer_lab.settings import ConfigError, from_mapping
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import TITLES, corpus_folders, fetch_missing
from transformer_lab.text.decoding import EncodingError


def data(arguments: argparse.Namespace) -> int:
    """List, fetch, add, show or tokenize texts."""

    if arguments.what == "fetch":
        return _fetch(arguments)
    if arguments.what != "list" and arguments.text is None:
        raise ConfigError("text", f"Say which text: transformer-lab data {arguments.what} NAME.")
    if arguments.what == "model":
        return _model(arguments)
    texts = Texts(home_folder(arguments))
    try:
        answers = {
            "list": _list_texts,
            "add": _add_text,
            "show": _show_text,
        }
        facts = answers.get(arguments.what, _tokenize_text)(texts, arguments)
    finally:
        texts.close()
    _print(facts, arguments)
    return 0


def _print(facts: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    for row in facts:
        words = "  ".join(str(value) for value in row.values())
        say(json.dumps(row) if arguments.json else words)


def _list_texts(texts: Texts, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        {"name": name, "title": title, "missing": texts.trouble(name)}
        for name, title in texts.titles().items()
    ]


def _fetch(arguments: argparse.Namespace) -> int:
    """Download texts. No `Texts` is made, since that would create the home folder."""
    home = home_folder(arguments)
    into = arguments.into or home / "data"
    facts = [
        {"name": name, "title": TITLES[name], "missing": why}
        for name, why in fetch_missing([into, *corpus_folders(home)], into).items()
    ]
    _print(facts, arguments)
    return FAILED if any(row["missing"] for row in facts) else 0


def _model(arguments: argparse.Namespace) -> int:
    """Download a model, and import it as a run."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / arguments.text.rpartition("/")[2]
        sums = fetch_model(arguments.text, folder, arguments.sha256)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        lab = Lab(home_folder(arguments))
        try:
            run_id = lab.runs.bring_in_path(folder)
        except ImportRefusedError as error:
            mention(f"transformer-lab: {error}", to=sys.stderr)
            return FAILED
        finally:
            lab.close()
    for file, sha256 in sums.items():
        mention(f"{sha256}  {file}", to=sys.stderr)
    _print([{"run": run_id}], arguments)
    return 0


def _add_text(texts: Texts, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    path = Path(arguments.text).expanduser()
    try:
        entry = texts.add_file(path, arguments.name or "", arguments.encoding or "")
    except EncodingError as error:
        for guess in error.guesses:
            mention(f"--encoding {guess.encoding:14} {guess.preview}", to=sys.stderr)
        raise
    return [
        {
            "name": entry.id,
            "title": entry.name,
            "characters": entry.characters,
            "note": entry.note,
        }
    ]


def _show_text(texts: Texts, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    corpus = texts.corpus(arguments.text)
    facts = {
        "title": corpus.title,
        "source": corpus.source,
        "note": corpus.note,
        "sha256": corpus.sha256,
        "characters": corpus.characters,
        "distinct characters": corpus.distinct_characters,
        "validation text that occurs in training": f"{texts.overlap(arguments.text, 0.1):.1%}",
        "begins": corpus.text[:200],
    }
    return [facts] if arguments.json else [{"fact": f"{k}:", "value": v} for k, v in facts.items()]


def _tokenize_text(texts: Texts, arguments: argparse.Namespace) -> list[dict[str, Any]]:

    wanted = {
        "corpus": arguments.text,
        "tokenizer": arguments.tokenizer,
        "vocabulary_size": arguments.vocabulary,
    }
    config = from_mapping(DataConfig, wanted)
    corpus = texts.corpus(config.corpus)
    encoded = texts.encoded(config, lambda words: mention(words, to=sys.stderr))
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
