"""Small runs of every kind, written to disk as the lab writes them, without training them."""

import dataclasses
import os
import time

import pytest
import torch

from archives import packed
from small import step
from transformer_lab.model import build_model
from transformer_lab.model.weights import count_parameters
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import save_checkpoint
from transformer_lab.runs.database import Sample
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore
from transformer_lab.text.corpora import load_corpus
from transformer_lab.text.tokenizers import TOKENIZERS

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing here needs a network

TINY = {
    "data.corpus": "python_docs",
    "data.vocabulary_size": 320,
    "model.layers": 2,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "sample.prompt": "The ",
    "sample.length": 24,
}


@pytest.fixture(scope="session")
def text():
    """Real text that is always there."""
    return load_corpus("python_docs", []).text[:20_000]


@dataclasses.dataclass
class MadeRun:
    """A run on disk, and what was put into it."""

    folder: object
    setup: object
    tokenizer: object
    model: object

    @property
    def id(self):
        return self.folder.name


@pytest.fixture(scope="session")
def make_run(text):
    """Write a run with random weights (random everywhere, so that nothing hides behind a zero)."""

    def made(home, *, steps=12, slug="small", checkpoints=("step", "best"), **changes):
        setup = Setup().with_values(TINY | changes)
        tokenizer = TOKENIZERS[setup.data.tokenizer].learn(text, setup.data.vocabulary_size)
        model = random_model(setup.model, tokenizer.vocabulary_size)
        writer = RunStore(home).create(slug, manifest(setup, tokenizer, model))
        writer.state("running", 0)
        for number in range(1, steps + 1):
            writer.append(step(number, 3.5 if number % 5 == 0 else None))
        Run(writer.folder).add_sample(Sample(steps, "The ", "cat, they say.\n"))
        writer.event("learning_rate", steps, "0.001")
        writer.state("finished", steps)
        writer.close()
        for kind in checkpoints:
            save_model(writer.folder / f"checkpoints/{kind}-{steps:08d}", model, tokenizer, steps)
        return MadeRun(writer.folder, setup, tokenizer, model)

    return made


@pytest.fixture
def save():
    """Save a model as one more checkpoint of a run."""
    return save_model


def random_model(config, vocabulary_size):
    model = build_model(config, vocabulary_size, seed=1).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.3, generator=generator)
    return model


def save_model(folder, model, tokenizer, step):
    meta = {"step": step, "run": folder.parents[1].name}
    save_checkpoint(folder, model.state_dict(), tokenizer.to_json(), meta)


def manifest(setup, tokenizer, model):
    """What the lab writes into run.json."""
    return {
        "recipe": "small",
        "setup": setup.to_mapping(),
        "corpus": {
            "name": "python_docs",
            "title": "Python documentation",
            "source": "pydoc_data.topics of this Python",
            "sha256": "0" * 64,
            "characters": 20_000,
            "distinct_characters": 90,
            "asked_for": setup.data.corpus,
            "training_tokens": 18_000,
            "validation_tokens": 2_000,
            "validation_bytes": 2_000,
            "unknown_share": 0.0,
        },
        "tokenizer": tokenizer.to_json(),
        "parameters": count_parameters(model),
        "device": {"name": "CPU", "reason": "no GPU was found"},
        "threads": 1,
        "environment": {"python": "3", "time": time.time()},
    }


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("home"), **{"model.layers": 1})


@pytest.fixture(scope="module")
def archive(run):
    return packed(run.folder)


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "runs"
