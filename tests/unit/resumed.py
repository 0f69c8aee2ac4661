"""Trainings to be cut off, and how they would have gone."""

import shutil

import torch

from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import (
    load_checkpoint,
    load_training,
    save_checkpoint,
)
from waiting import ended

TINY = {
    "data.corpus": "python_docs",
    "model.layers": 1,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "model.dropout": 0.2,
    "train.batch_size": 4,
    "train.steps": 12,
    "train.evaluate_every": 3,
    "train.evaluation_batches": 1,
    "train.threads": 1,
    "train.save_every": 4,
    "train.save_minutes": 0,
    "train.learning_rate": 0.01,
    "sample.length": 5,
    "sample.prompt": "The ",
}
SETUP = Setup().with_values(TINY)


def numbers(points):
    """What must repeat; speeds and seconds do not."""
    return [
        (p.step, p.train_loss, p.gradient_norm, p.learning_rate, p.validation_loss) for p in points
    ]


def curve(lab, run_id):
    return numbers(lab.runs.open(run_id).since()[0])


def weights(lab, run_id):
    return lab.models.stored.read(*_newest(lab, run_id)).weights


def _newest(lab, run_id):
    run = lab.runs.open(run_id)
    return run, run.checkpoints()[-1]


def uninterrupted(lab, setup):
    lab.trainings.start(setup, "whole")
    status = ended(lab)
    assert (status.state, status.reason) == ("finished", "")
    return status.run_id


def crash_back_to(lab, run_id, step):
    """What is left of a run that was killed after `step` was saved and some more steps taken."""
    run = lab.runs.open(run_id)
    for folder in run.checkpoints():
        if int(folder.name[5:]) > step:
            shutil.rmtree(folder)
    assert run.checkpoints()


def forget_the_end(lab, run_id):
    """Make a finished run one that was cut off."""
    with lab.runs.open(run_id).reading() as database, database:
        database.execute("UPDATE events SET detail = replace(detail, 'finished', 'interrupted')")


def without_memory(folder):
    tensors, progress = load_training(folder)
    rewrite(folder, {n: torch.zeros_like(t) for n, t in tensors.items()}, progress)


def rewrite(folder, tensors, progress):
    weights, tokenizer, meta = load_checkpoint(folder)
    shutil.rmtree(folder)
    meta = {k: v for k, v in meta.items() if k != "sha256"}
    save_checkpoint(folder, weights, tokenizer, meta, optimizer=tensors, progress=progress)
