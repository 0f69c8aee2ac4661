"""transformer-lab runs"""

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict

from transformer_lab.cli.common import home_folder
from transformer_lab.cli.output import say
from transformer_lab.runs.store import RunStore
from transformer_lab.runs.summaries import RunSummary


def runs(arguments: argparse.Namespace) -> int:
    """List runs, newest first."""

    found = RunStore(home_folder(arguments)).list()
    if arguments.json:
        for run in found:
            say(json.dumps(asdict(run)))
    elif not found:
        say("There are no runs yet: transformer-lab train makes one.")
    else:
        _table(found)
    return 0


def _table(found: Iterable[RunSummary]) -> None:
    heads = f"{'run':26} {'state':12} {'step':>16} {'val loss':>9} {'bits/byte':>9}"
    say(f"{heads}  {'made':16}  text")
    for run in found:
        loss = "-" if run.validation_loss is None else f"{run.validation_loss:.3f}"
        bits = "-" if run.bits_per_byte is None else f"{run.bits_per_byte:.3f}"
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        steps = f"{run.step:,} / {run.steps:,}"
        row = f"{run.id:26} {run.state:12} {steps:>16} {loss:>9} {bits:>9}"
        say(f"{row}  {made:16}  {run.corpus}")
