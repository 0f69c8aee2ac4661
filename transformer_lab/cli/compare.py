"""transformer-lab compare: a question raced in a terminal; a page shows its runs live."""

import argparse
import json
import sys
import threading

from transformer_lab.cli.common import FAILED, INTERRUPTED, home_folder
from transformer_lab.cli.output import mention
from transformer_lab.cli.train import signals
from transformer_lab.experiments.comparison_words import rows, summary, tables
from transformer_lab.experiments.questions import find_question
from transformer_lab.lab.experiments.asked import Asked
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError
from transformer_lab.ui.words import clock

SHOWN_SECONDS = 2.0


def compare(arguments: argparse.Namespace) -> int:
    """Train the models of a question, and say which differences are clear."""
    question = find_question(arguments.question, quick=arguments.quick)
    if arguments.seeds is not None:
        question = question.with_seeds(arguments.seeds)
    if arguments.processes or arguments.ray:
        question = question.trained("cluster" if arguments.ray else "process")
    lab = Lab(home_folder(arguments))
    try:
        if arguments.ray:
            lab.trainings.connect(arguments.ray)
        asked = lab.comparisons.start(question)
        interrupted = _follow(lab, asked, as_json=arguments.json)
        return _summary(asked, as_json=arguments.json, interrupted=interrupted)
    except LabError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()


def _follow(lab: Lab, asked: Asked, *, as_json: bool) -> bool:
    """Print the progress until the end; returns whether it was interrupted."""
    stop, interrupted, said = signals(), False, ""
    wake = threading.Event()
    while asked.busy:
        if stop.is_set() and not interrupted:
            interrupted = True
            lab.comparisons.stop(asked.key)
        if asked.job is not None:
            asked.job.wait(SHOWN_SECONDS if not stop.is_set() else 0.1)
        else:  # it is only now being begun
            wake.wait(0.1)
        if asked.latest and not as_json:
            words = f"{100 * asked.latest.progress:.0f} %, {asked.latest.words}"
            if words != said:
                said = words
                mention(f"{words}, {clock(asked.seconds)}")
    return interrupted


def _summary(asked: Asked, *, as_json: bool, interrupted: bool) -> int:
    if asked.error:
        raise ConfigError(asked.comparison.slug, asked.error)
    outcome = asked.outcome
    if outcome is None:
        return INTERRUPTED if interrupted else FAILED
    found = summary(outcome)
    if as_json:
        for row in rows(outcome):
            mention(json.dumps(row))
        state = {"summary": True, "comparison": asked.key, "state": asked.state}
        mention(json.dumps({**state, **found}))
    else:
        for table in filter(lambda table: table.rows, tables(outcome)):
            mention(f"\n{table.title}")
            for cells in table.rows:
                mention("  " + "  |  ".join(cells))
        mention(f"\n{found['verdict']}")
        if found["ending"]:
            mention(f"\n{found['ending']}")
    return INTERRUPTED if interrupted else 0
