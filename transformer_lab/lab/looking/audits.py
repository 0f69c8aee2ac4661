"""Leak audits of the models of this lab: run on a job's thread, and kept with the run."""

import contextlib
import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from transformer_lab.inspection.audit import Proof, Verdict, audit, verdict
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.store import RunStore

log = logging.getLogger(__name__)


def audit_model(
    store: RunStore,
    snapshot: Snapshot,
    text: Callable[[], Tensor | None] = lambda: None,
    seed: int | None = None,
) -> Iterator[Proof | Verdict]:
    """The proofs, each as it is done, then the verdict, which is kept with the run.

    `text` gives (N,) token ids of real text, if there is some. Without a seed a fresh one is drawn,
    so that no model can be made for the tokens that will be tried; it is kept with the verdict.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    proofs: list[Proof] = []
    for proof in audit(snapshot.model(), torch.Generator().manual_seed(seed), text()):
        proofs.append(proof)
        yield proof
    found = verdict(proofs)
    conclusion = replace(found, sentence=f"{found.sentence} (Seed {seed}.)")
    facts = asdict(conclusion) | {"seed": seed, "proofs": [_plain(proof) for proof in proofs]}
    with contextlib.suppress(RunNotFoundError):  # untrained, or deleted meanwhile
        try:
            store.open(snapshot.run_id).add_event("audit", snapshot.step, json.dumps(facts))
        except (OSError, sqlite3.Error) as error:
            log.warning("the verdict is not kept with %s: %s", snapshot.run_id, error)
    yield conclusion


def _plain(proof: Proof) -> Mapping[str, Any]:
    return {"key": proof.key, "passed": proof.passed, "numbers": dict(proof.numbers)}
