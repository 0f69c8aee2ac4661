"""The training loop and what it stands on."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab.model import ModelConfig, build_model
from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.runs.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from transformer_lab.settings import settings_of
from transformer_lab.training import LiveSettings, NonFiniteLossError, TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.muon import orthogonalized
from transformer_lab.training.optimizers import OPTIMIZERS, stacked_matrices
from transformer_lab.training.schedule import SCHEDULES, rate_factor

TINY = ModelConfig(layers=1, heads=2, embedding_dim=16, sequence_length=16, dropout=0.2)
TOKENS = torch.tensor([ord(c) % 32 for c in "to be or not to be, that is the question. " * 40])


def training(config, model=None, live=None):
    model = model or build_model(TINY, 32, seed=config.seed)
    batches = Batches(TOKENS, config.batch_size, 16, config.seed)
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    return train(model, optimizer, batches, batches, config, live)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    one, same, other = (Batches(TOKENS, 4, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(one(7)[0], same(7)[0])
    assert not torch.equal(one(7)[0], one(8)[0])
    assert not torch.equal(one(7)[0], other(7)[0])
    inputs, targets = one(7)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loss_falls_on_real_text(optimizer):
    rate = 0.5 if optimizer == "sgd" else 0.01
    config = TrainConfig(steps=60, batch_size=8, learning_rate=rate, optimizer=optimizer)
    losses = [metrics.train_loss for metrics in training(config)]
    assert losses[0] == pytest.approx(math.log(32), rel=0.05)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_interleaved_trainings_equal_the_same_two_alone(optimizer):
    first = TrainConfig(steps=5, batch_size=4, seed=1, optimizer=optimizer)
    second = TrainConfig(steps=5, batch_size=4, seed=2, optimizer=optimizer)
    alone = [[m.train_loss for m in training(config)] for config in (first, second)]
    together = list(zip(training(first), training(second), strict=True))
    assert [m.train_loss for m, _ in together] == alone[0]
    assert [m.train_loss for _, m in together] == alone[1]
    assert alone[0] != alone[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loss_that_is_not_finite_changes_no_weight(optimizer):
    config = TrainConfig(steps=3, batch_size=4, optimizer=optimizer)
    model = build_model(TINY, 32, seed=1)
    with torch.no_grad():
        model.head.weight[0, 0] = math.inf
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match="step 1 the loss"):
        list(training(config, model))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_live_learning_rate_takes_effect_at_the_next_step():
    live = LiveSettings()
    steps = training(TrainConfig(steps=10, batch_size=4, schedule="constant"), live=live)
    assert next(steps).learning_rate == 3e-4
    live.learning_rate = 1e-5
    assert next(steps).learning_rate == 1e-5


def test_weight_decay_is_on_matrices_only():
    groups = OPTIMIZERS["adamw"](build_model(TINY, 32, seed=1), TrainConfig()).param_groups
    for group in groups:
        for parameter in group["params"]:
            assert (parameter.dim() >= 2) == (group["weight_decay"] > 0)


@pytest.mark.parametrize(
    ("heads", "heights"),
    [(0, [32, 16, 16]), (1, [8] * 8), (2, [16, 16, 16, 16]), (3, [24, 8, 16, 16])],
)
def test_muon_takes_as_many_heads_as_it_is_told_for_one_matrix(heads, heights):
    config = replace(TINY, embedding_dim=32, heads=4, key_value_heads=2)
    stacked = stacked_matrices(build_model(config, 32, seed=1), heads)
    assert list(stacked["blocks.0.attention.query_key_value.weight"]) == heights
    assert list(stacked["blocks.0.attention.output.weight"]) == [32]


@pytest.mark.parametrize("shape", [(3, 24, 8), (3, 16, 64), (2, 32, 32)])
@pytest.mark.parametrize(
    ("format", "low", "high"), [(torch.float32, 0.4, 1.6), (torch.bfloat16, 0.4, 2.0)]
)
def test_muon_makes_directions_nearly_orthogonal(shape, format, low, high):
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(*shape, generator=generator).to(format)
    sizes = torch.linalg.svdvals(orthogonalized(matrices).float())
    assert sizes.min() > low
    assert sizes.max() < high


def test_a_direction_that_hardly_counts_does_not_grow_in_16_bits():
    generator = torch.Generator().manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(4, 32, 128, generator=generator), full_matrices=False)
    sizes = 10 ** torch.linspace(0, -5, 32)
    matrices = (u * sizes) @ v
    found = torch.linalg.svdvals(orthogonalized(matrices.bfloat16()).float())
    assert found.max() < 2.0  # the factors of a long matrix, multiplied in 16 bits, may end above 3


@pytest.mark.parametrize(
    ("able", "precision", "format"),
    [(True, "auto", torch.bfloat16), (True, "float32", torch.float32),
     (False, "auto", torch.float32), (False, "bfloat16", torch.bfloat16)],
)  # fmt: skip
def test_muon_takes_16_bits_where_the_processor_multiplies_them_or_they_are_asked_for(
    able, precision, format, monkeypatch
):
    monkeypatch.setattr("transformer_lab.training.precision.multiplies_bfloat16", lambda: able)
    seen = []

    def watched(matrices):
        seen.append(matrices.dtype)
        return orthogonalized(matrices)

    monkeypatch.setattr("transformer_lab.training.muon.orthogonalized", watched)
    model = build_model(TINY, 32, seed=1)
    optimizer = OPTIMIZERS["muon"](model, TrainConfig(precision=precision))
    model.loss(TOKENS[None, :16], TOKENS[None, :16]).backward()
    optimizer.step()
    assert set(seen) == {format}
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("feedforward", FEEDFORWARDS)
@pytest.mark.parametrize("multiple", [2, 3])
def test_muon_takes_apart_only_what_the_model_says_is_several_matrices(
    feedforward, multiple, monkeypatch
):
    config = replace(TINY, feedforward=feedforward, feedforward_multiple=multiple, pc_steps=1)
    model = build_model(config, 32, seed=1)
    named = model.named_parameters()
    inside = {n: p for n, p in named if n.startswith("blocks.") and p.dim() == 2}
    seen = []

    def watched(matrices):
        seen.extend(tuple(matrix.shape) for matrix in matrices)
        return orthogonalized(matrices)

    monkeypatch.setattr("transformer_lab.training.muon.orthogonalized", watched)
    optimizer = OPTIMIZERS["muon"](model, TrainConfig())
    tokens = TOKENS[None, :16]
    model.loss(tokens, tokens).backward()
    optimizer.step()
    expected = []
    for name, matrix in inside.items():
        parts = (
            3 if "query_key_value" in name else 1 + (feedforward == "swiglu") * ("expand" in name)
        )
        expected += parts * [(len(matrix) // parts, matrix.shape[1])]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_reported_to_be_several_matrices_is_in_the_model_and_can_be_parted(architecture):
    model = build_model(replace(TINY, architecture=architecture, layers=2), 32, seed=1)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    stacked = stacked_matrices(model)
    several = [name for name, heights in stacked.items() if len(heights) > 1]
    assert len(several) == sum(name.endswith("query_key_value.weight") for name in shapes) > 0
    assert all(shapes[name][0] == sum(heights) for name, heights in stacked.items())


def test_muon_parts_shared_keys_and_values_at_their_own_heights():
    config = replace(TINY, heads=4, key_value_heads=1)
    stacked = stacked_matrices(build_model(config, 32, seed=1))
    assert stacked["blocks.0.attention.query_key_value.weight"] == (16, 4, 4)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 300),
    warm=st.floats(0, 0.5),
    fine=st.floats(0, 0.5),
)
def test_the_phases_cover_every_step_once(name, steps, warm, fine):
    config = TrainConfig(steps=steps, warmup_share=warm, final_share=fine)
    phases = SCHEDULES[name](config)
    covered = [step for phase in phases for step in range(phase.first, phase.last + 1)]
    assert covered == list(range(1, steps + 1))
    assert all(0 <= rate_factor(phases, step) <= 1 for step in covered)


def test_the_tutorials_schedule_is_ten_eighty_ten():
    phases = SCHEDULES["three_phase"](TrainConfig(steps=1000))
    assert [(p.first, p.last) for p in phases] == [(1, 100), (101, 900), (901, 1000)]
    assert [phase.end for phase in phases] == [1.0, 1.0, 0.1]


def test_cosine_and_one_cycle_go_where_their_papers_say():
    config = TrainConfig(steps=100, final_factor=0.2)
    cosine, cycle = (SCHEDULES[name](config) for name in ("cosine", "one_cycle"))
    assert [rate_factor(cosine, step) for step in (10, 11, 100)] == pytest.approx([1, 1, 0.2])
    assert rate_factor(cosine, 55) == pytest.approx(0.6, abs=0.01)  # half-way between 1 and 0.2
    assert rate_factor(cosine, 20) > 0.97  # it leaves gently
    assert [rate_factor(cycle, step) for step in (1, 45, 90)] == pytest.approx([0.1, 1, 0.1])
    assert rate_factor(cycle, 100) == pytest.approx(0.001)


def checkpoint(folder):
    weights = {"a": torch.arange(6.0).view(2, 3)}
    save_checkpoint(folder, weights, {"kind": "characters", "characters": ["x"]}, {"step": 3})
    return weights


def test_a_checkpoint_comes_back_exactly(tmp_path):
    weights = checkpoint(tmp_path / "one")
    loaded, tokenizer, meta = load_checkpoint(tmp_path / "one")
    assert torch.equal(loaded["a"], weights["a"])
    assert (tokenizer["characters"], meta["step"]) == (["x"], 3)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "meta.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_checkpoint_is_named_not_loaded(tmp_path, name, damage):
    checkpoint(tmp_path / "one")
    path = tmp_path / "one" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80
    changed = {"truncate": data[:-3], "flip": data, "empty": b"", "delete": b""}[damage]
    path.write_bytes(changed)
    if damage == "delete":
        path.unlink()
    with pytest.raises(CheckpointError, match="one"):
        load_checkpoint(tmp_path / "one")


def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_the_first_steps_can_simply_be_taken():
    taken = list(itertools.islice(training(TrainConfig(steps=100, batch_size=4)), 3))
    assert [metrics.step for metrics in taken] == [1, 2, 3]


VARIANTS = [
    *({one.name: name} for one in settings_of(ModelConfig) for name in one.choices or ()),
    {"heads": 4, "key_value_heads": 2},
    {"heads": 4, "key_value_heads": 1},
    {"residual": False},
    {"logit_softcap": 10.0},
    {"smear": 2},
    {"ngrams": 3},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_variant_learns_a_small_text(variant):
    shape = replace(TINY, **{"layers": 2, "dropout": 0.0, "window": 5} | variant)
    config = TrainConfig(steps=40, batch_size=8, learning_rate=0.02)
    model = build_model(shape, 32, seed=1)
    losses = [metrics.train_loss for metrics in training(config, model)]
    assert losses[0] == pytest.approx(math.log(32), rel=0.05)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.8


FIRST_STEPS = """
import sys, torch
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.training import TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

model = build_model(ModelConfig(layers=1, sequence_length=8), 65, 1)
config = TrainConfig(steps=2, batch_size=2, optimizer=sys.argv[1], evaluation_batches=1)
batches = Batches(torch.zeros(100, dtype=torch.long), 2, 8, 1)
optimizer = OPTIMIZERS[sys.argv[1]](model, config)
assert len(list(train(model, optimizer, batches, batches, config))) == 2
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_that_compiles_nothing_loads_no_compiler(name):
    assert subprocess.run([sys.executable, "-c", FIRST_STEPS, name], check=False).returncode == 0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_of_pytorch_takes_its_steps(name):
    config = TrainConfig(learning_rate=0.01)
    ours, theirs = (build_model(TINY, 32, seed=1).eval() for _ in range(2))
    optimizer = OPTIMIZERS[name](ours, config)
    original = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    own = {
        "adamw": {"betas": (config.beta_1, config.beta_2)},
        "sgd": {"momentum": config.momentum},
    }[name]
    matrices = [p for p in theirs.parameters() if p.dim() >= 2]
    others = [p for p in theirs.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    other = original(groups, lr=0.01, fused=True, **own)
    for _ in range(3):
        for model, one in ((ours, optimizer), (theirs, other)):
            model.zero_grad()
            model.loss(TOKENS[None, :16], TOKENS[None, 1:17]).backward()
            one.step()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, its)
