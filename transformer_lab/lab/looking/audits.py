"""Leak audits of the models of this lab: run on a job's thread, and kept with the run."""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from transformer_lab.inspection.audit import Proof, Verdict, audit, verdict
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore

log = logging.getLogger(__name__)
SEED = 1


def audit_model(store: RunStore, snapshot: Snapshot) -> Iterator[Proof | Verdict]:
    """The six proofs, each as it is done, then the verdict, which is kept with the run."""
    proofs: list[Proof] = []
    for proof in audit(snapshot.model(), torch.Generator().manual_seed(SEED)):
        proofs.append(proof)
        yield proof
    conclusion = verdict(proofs)
    facts = asdict(conclusion) | {"proofs": [_plain(proof) for proof in proofs]}
    with contextlib.suppress(RunNotFoundError):  # untrained, or deleted meanwhile
        try:
            store.open(snapshot.run_id).add_event("audit", snapshot.step, json.dumps(facts))
        except (OSError, sqlite3.Error) as error:
            log.warning("the verdict is not kept with %s: %s", snapshot.run_id, error)
    yield conclusion


def _plain(proof: Proof) -> Mapping[str, Any]:
    return {"key": proof.key, "passed": proof.passed, "numbers": dict(proof.numbers)}
