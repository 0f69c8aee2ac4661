"""transformer-lab audit"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from transformer_lab.cli.common import FAILED, home_folder
from transformer_lab.cli.output import mention
from transformer_lab.inspection.audit import LIMITS, Verdict
from transformer_lab.lab.lab import Lab, LabError

WORDS = {True: "passed", False: "FAILED", None: "cannot tell"}


def audit(arguments: argparse.Namespace) -> int:
    """Prove on a model that it predicts tokens without having seen them."""
    lab = Lab(home_folder(arguments))
    try:
        snapshot, job = lab.models.audit(arguments.name, seed=arguments.seed)
        if not arguments.json:
            mention(f"{snapshot.run_id} after step {snapshot.step:,}")
        cursor, outcome = 0, ""
        while True:
            done = job.wait(0.1)
            found, cursor = job.since(cursor)
            for one in found:
                outcome = _told(one, as_json=arguments.json) or outcome
            if done:
                break
        if job.error:
            mention(f"transformer-lab: {job.error}", to=sys.stderr)
        return 0 if outcome == "passed" else FAILED
    except LabError as error:
        mention(f"transformer-lab: {error}", to=sys.stderr)
        return FAILED
    finally:
        lab.close()


def _told(one: Any, *, as_json: bool) -> str:
    """Print a proof or the verdict; gives the outcome when it is the verdict."""
    concludes = isinstance(one, Verdict)
    if as_json:
        mention(json.dumps(asdict(one) | ({} if concludes else {"numbers": dict(one.numbers)})))
    elif concludes:
        mention(LIMITS)
        mention(f"{one.outcome}: {one.sentence}")
    else:
        mention(f"  {WORDS[one.passed]:20} {one.title}. {one.sentence}")
    return one.outcome if concludes else ""
