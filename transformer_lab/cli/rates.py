"""transformer-lab find-rate: the learning-rate range test in a terminal."""

import argparse
import json
import sys

from transformer_lab.cli.common import FAILED, INTERRUPTED, home_folder
from transformer_lab.cli.output import mention
from transformer_lab.cli.train import changes_of, signals
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.range_tests import RangeTest
from transformer_lab.recipes import find_recipe
from transformer_lab.settings import ConfigError
from transformer_lab.training.range_test import HIGH, LOW, STEPS

EVERY = 10  # steps between two lines for people
WAIT = 0.1


def find_rate(arguments: argparse.Namespace) -> int:
    """Try rates that grow from step to step, and suggest one; the weights are thrown away."""
    setup = find_recipe(arguments.recipe).setup.with_values(changes_of(arguments))
    lab = Lab(home_folder(arguments))
    try:
        test = lab.range_tests.start(setup)
        if not arguments.json:
            mention(f"At most {STEPS} steps, at rates from {LOW:g} to {HIGH:g}.")
        interrupted = _follow(test, as_json=arguments.json)
        return _summary(test, as_json=arguments.json, interrupted=interrupted)
    except LabError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()


def _follow(test: RangeTest, *, as_json: bool) -> bool:
    """Print its steps until it ends; returns whether it was interrupted."""
    stop, printed, done = signals(), 0, False
    while not done:
        done = test.wait(WAIT)
        if stop.is_set():
            test.stop()
        points = test.points
        for step, point in enumerate(points[printed:], printed + 1):
            row = {"step": step, "rate": point.rate, "loss": point.loss}
            if as_json:
                mention(json.dumps({**row, "smoothed": point.smoothed}))
            elif step % EVERY == 0:
                mention(f"step {step}  rate {point.rate:.2g}  smoothed loss {point.smoothed:.3f}")
        printed = len(points)
    return stop.is_set()


def _summary(test: RangeTest, *, as_json: bool, interrupted: bool) -> int:
    if test.state == "failed":
        raise ConfigError("train.learning_rate", test.reason)
    found = test.suggestion
    if as_json:
        summary = {
            "summary": True,
            "state": test.state,
            "rate": found.rate if found else None,
            "reason": found.sentence if found else "",
            "steps": len(test.points),
        }
        mention(json.dumps(summary))
    elif found:
        mention(found.sentence)
        if found.rate is not None:
            mention(
                f"Train with it: transformer-lab train --set train.learning_rate={found.rate:g}"
            )
    return INTERRUPTED if interrupted else 0
