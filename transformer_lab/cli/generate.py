"""transformer-lab generate"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from typing import Any

from transformer_lab.cli.common import FAILED, SAMPLING, home_folder
from transformer_lab.cli.output import mention, say
from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError, from_mapping
from transformer_lab.text.tokenizers import UnknownTextError


def generate(arguments: argparse.Namespace) -> int:
    """Generate text and print it token by token."""

    given = {name: getattr(arguments, name) for name in SAMPLING}
    config = from_mapping(SampleConfig, {k: v for k, v in given.items() if v is not None})
    lab = Lab(home_folder(arguments))
    try:
        if arguments.prompt is None:
            config = replace(config, prompt=lab.models.prompt(arguments.name))
        if arguments.drop_unknown:
            config = lab.models.without_unknown(arguments.name, config)
        job, snapshot = lab.models.generate(arguments.name, config)
        text = _print_job(job, config.prompt, as_json=arguments.json)
        if arguments.json:
            about = {"run": snapshot.run_id, "step": snapshot.step, "sample": asdict(config)}
            say(json.dumps({**about, "text": text}))
        if job.error:
            mention(f"transformer-lab: {job.error}", to=sys.stderr)
            return FAILED
        return 0
    except UnknownTextError as error:
        raise ConfigError(
            "sample.prompt", f"{error} Use --drop-unknown to leave them out."
        ) from None
    except LabError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()


def _print_job(job: Any, prompt: str, *, as_json: bool) -> str:
    cursor, text = 0, ""
    if not as_json:
        say(prompt, end="")
    while True:
        done = job.wait(0.05)
        pieces, cursor = job.since(cursor)
        text += "".join(pieces)
        if not as_json:
            say("".join(pieces), end="" if not done else "\n")
        if done:
            return text
