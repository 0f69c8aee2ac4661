"""However large a batch is, no more is computed at once than was promised, wherever it is read."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transformer_lab.inspection import ablation, audit, induction
from transformer_lab.lab.cost import estimate as cost
from transformer_lab.model import GPT, ModelConfig, build_model
from transformer_lab.recipes import Setup
from transformer_lab.training import LiveSettings, TrainConfig, micro_batches, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.live import Change
from transformer_lab.training.micro_batches import OutOfMemoryError
from transformer_lab.training.optimizers import OPTIMIZERS

TINY = ModelConfig(layers=2, heads=2, embedding_dim=16, sequence_length=16, dropout=0.0)
TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])
CONFIG = TrainConfig(
    steps=2, batch_size=24, micro_batch=4, evaluate_every=1, evaluation_batches=2, learning_rate=0.1
)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made, in bytes."""

    nbytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **kwargs or {})
        sizes = [made.nbytes for made in tree_leaves(found) if isinstance(made, torch.Tensor)]
        self.nbytes = max([self.nbytes, *sizes])
        return found


@pytest.fixture
def model():
    return build_model(TINY, 32, seed=1)


@pytest.fixture
def read(monkeypatch):
    """How many sequences of 16 tokens the model was given at once, pass by pass."""
    computed, counts = GPT.forward, []

    def counting(self, tokens, cache=None):
        counts.append(-(-tokens.numel() // 16))
        return computed(self, tokens, cache)

    monkeypatch.setattr(GPT, "forward", counting)
    return counts


def text(count=24):
    return Batches(TOKENS, count, 16, 0)


def test_an_evaluation_reads_as_many_sequences_at_once_as_a_step(model, read):
    optimizer = OPTIMIZERS["adamw"](model, CONFIG)
    *_, last = train(model, optimizer, text(), text(), CONFIG)
    assert set(read) == {4}
    whole = evaluate(model, text(), 2, LiveSettings(micro_batch=24))
    assert last.validation_loss == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("vocabulary", [32, 2000])
def test_an_evaluation_makes_nothing_larger_than_a_step_does(vocabulary):
    model = build_model(TINY, vocabulary, seed=1)
    config = replace(CONFIG, evaluate_every=100, steps=3)
    steps = train(model, OPTIMIZERS["adamw"](model, config), text(), text(), config)
    with Largest() as step:
        next(steps)
    with Largest() as look:
        evaluate(model, text(), 2, LiveSettings(micro_batch=4))
    assert look.nbytes <= step.nbytes


def cramped(monkeypatch, room, error):
    """Let evaluations of more than `room` sequences at once fail."""
    computed = GPT.loss

    def loss(self, tokens, targets):
        if len(tokens) > room and not self.training:
            raise error
        return computed(self, tokens, targets)

    monkeypatch.setattr(GPT, "loss", loss)


@pytest.mark.parametrize(
    "words",
    ["CUDA out of memory", "MPS backend out of memory", "DefaultCPUAllocator: not enough memory"],
)
def test_memory_that_runs_out_in_an_evaluation_halves_what_steps_compute_too(
    model, read, monkeypatch, words
):
    cramped(monkeypatch, 3, RuntimeError(words))
    live = LiveSettings()
    found = list(
        train(model, OPTIMIZERS["adamw"](model, CONFIG), text(), text(), CONFIG, live=live)
    )
    assert [one.step for one in found] == [1, 2]
    assert all(one.validation_loss for one in found)
    assert live.micro_batch == 2
    assert live.made == [Change(1, "micro_batch", 2)]
    assert "2 sequences at a time" in live.notes[0]
    assert set(read[-18:]) == {2}


def test_an_evaluation_with_no_room_for_one_sequence_is_an_error_and_keeps_the_step(
    model, monkeypatch
):
    cramped(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    steps = train(model, OPTIMIZERS["adamw"](model, CONFIG), text(), text(), CONFIG)
    assert next(steps).step == 1
    with pytest.raises(OutOfMemoryError, match="even one sequence"):
        next(steps)


def test_another_error_is_not_taken_for_one_of_memory(model, monkeypatch):
    cramped(monkeypatch, 0, RuntimeError("a shape is wrong"))
    with pytest.raises(RuntimeError, match="shape"):
        evaluate(model, text(), 1, LiveSettings(micro_batch=4))


def audited(model):
    proofs = list(audit.audit(model, torch.Generator().manual_seed(1)))
    return [number for one in proofs for number in one.numbers.values()]


def importances(model):
    found = ablation.importance(model, [text(12)(1), text(12)(2)], mean=True)
    return [(one.loss, one.baseline) for one in found]


def induced(model):
    texts = induction.random_repetitions(model, torch.Generator().manual_seed(1), count=9)
    check = induction.induction_check(model, texts, threshold=0.0)
    return [check.baseline, check.together, *(one.loss for one in check.found)]


@pytest.mark.parametrize("measure", [audited, importances, induced], ids=lambda f: f.__name__)
def test_whatever_measures_a_model_reads_a_few_sequences_at_a_time(
    model, read, monkeypatch, measure
):
    model.eval()
    whole = measure(model)
    assert max(read) > 3
    monkeypatch.setattr(micro_batches, "LOGITS", 3 * 16 * 4 * 32)
    read.clear()
    few = measure(model)
    assert max(read) <= 3
    torch.testing.assert_close(torch.tensor(few), torch.tensor(whole), rtol=1e-4, atol=1e-6)


def test_targets_that_do_not_count_weigh_nothing_in_any_part(model):
    inputs, targets = text(7)(1)
    targets = targets.clone()
    targets[:3] = micro_batches.NOT_COUNTED  # whole parts with nothing to count
    targets[4, 2:] = micro_batches.NOT_COUNTED
    whole = model.loss(inputs, targets).item()
    for size in (1, 2, 7):
        live = LiveSettings(micro_batch=size)
        found = micro_batches.mean_loss(model, (inputs, targets), live)
        assert found == pytest.approx(whole, rel=1e-6)


def test_the_estimate_counts_the_batch_that_is_drawn_whole():
    setup = Setup().with_values({"train.micro_batch": 4, "train.batch_size": 4})
    large = setup.with_values({"train.batch_size": 4096})
    small, more = (cost.estimate(one, 65, "cpu", speed=None).memory for one in (setup, large))
    tokens = (4096 - 4) * setup.model.sequence_length
    assert more - small >= 2 * 8 * tokens
