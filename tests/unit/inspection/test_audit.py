"""The leak audit passes what is honest, fails each leak by the right proof, catches the cheat."""

import math

import pytest
import torch
from torch.nn import functional as F

from leaks import SeesEverything
from sampling import sampled
from transformer_lab.inspection import guessing, repetition
from transformer_lab.inspection.audit import PROOFS, audit, verdict
from transformer_lab.inspection.bound import Bound
from transformer_lab.inspection.causality import future_edit
from transformer_lab.inspection.clamped import clamped_target_loss, honest_loss, settled_losses
from transformer_lab.inspection.proof import Subject
from transformer_lab.model import GPT, ModelConfig, build_model
from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.cache import Cache
from transformer_lab.model.feedforward import FEEDFORWARDS
from transformer_lab.model.positions import POSITIONS
from transformer_lab.model.settling import Settling, settling_trace

TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
VOCABULARY = 11
VARIANTS = [
    *[{"positions": name} for name in POSITIONS],
    *[{"feedforward": name} for name in FEEDFORWARDS],
    *[{"architecture": name} for name in ARCHITECTURES],
    {"norm": "rms_norm", "norm_place": "post", "tied_head": True},
    {"smear": 3, "qk_norm": True, "dropout": 0.5},
    {"architecture": "pc_dual", "feedforward": "pc", "positions": "pc", "norm_place": "post"},
]


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Fewer repetitions than in a real audit; `test_leaks.py` has all of them."""
    monkeypatch.setattr(repetition, "PASSES", 20)
    monkeypatch.setattr(guessing, "LOSSES", 4)


def randomized(kind=GPT, **changes):
    model = kind(ModelConfig(**TINY | changes), VOCABULARY)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def proofs(model, seed=1):
    return {proof.key: proof for proof in audit(model, torch.Generator().manual_seed(seed))}


def failed(found):
    return {key for key, proof in found.items() if proof.passed is False}


def some_tokens(*shape):
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("variant", sampled(VARIANTS, 8), ids=str)
def test_every_variant_passes_all_proofs(variant):
    model = randomized(**variant).train()
    before = torch.get_rng_state()
    found = proofs(model)
    assert [proof.passed for proof in found.values()] == [True] * len(PROOFS)
    assert verdict(found.values()).outcome == "passed"
    assert all(proof.sentence.endswith(".") and proof.numbers for proof in found.values())
    assert model.training
    assert not model.embedding._forward_hooks
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_without_a_causal_mask_is_caught():
    found = proofs(randomized(causal=False))
    for key in ("future_edit", "future_gradient", "token_by_token", "in_training"):
        assert found[key].passed is False
    assert verdict(found.values()).outcome == "failed"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_another_precision_passes(dtype):
    assert verdict(proofs(randomized(feedforward="pc").to(dtype)).values()).outcome == "passed"


def test_proofs_come_one_by_one():
    steps = audit(randomized(), torch.Generator().manual_seed(1))
    assert next(steps).key == "finite"
    assert next(steps).key == "future_edit"


def test_of_a_model_with_constant_logits_nothing_is_reported_yet():
    model = build_model(ModelConfig(**TINY, zero_init=True), VOCABULARY, seed=1)
    found = proofs(model)
    told = {key for key, proof in found.items() if proof.passed is not None}
    assert told == {"finite", "loss", "signature"}
    assert verdict(found.values()).outcome == "not informative yet"


def test_attention_without_a_mask_fails_by_the_future():
    model = randomized()
    leaky = SeesEverything(model.config.attention_shape).eval()
    leaky.load_state_dict(model.blocks[1].attention.state_dict())
    model.blocks[1].attention = leaky
    found = proofs(model)
    assert failed(found) == {"future_edit", "future_gradient", "in_training", "token_by_token"}
    assert found["future_edit"].numbers["changed_before"] > 10
    assert found["future_gradient"].numbers["largest_after"] > 0
    assert verdict(found.values()).outcome == "failed"


class StopsTogether(Settling):
    """Settling that stops once the mean energy over a whole sequence, or batch, is low enough."""

    def forward(self, given, guesses):
        latents = guesses
        size = self.step_size()
        for _ in range(8):
            slopes = self.gradient(given, guesses, latents)
            moved = [z - size * slope for z, slope in zip(latents, slopes, strict=True)]
            mean = self.energy(given, guesses, latents).mean(self.over, keepdim=True)
            going = (mean > self.limit)[..., None]
            latents = [torch.where(going, *pair) for pair in zip(moved, latents, strict=True)]
        return latents


@pytest.mark.parametrize("over", [(1,), (0, 1)], ids=["sequence", "batch"])
def test_settling_until_a_mean_is_low_fails_by_editing_the_future(over):
    model = randomized(feedforward="pc", pc_step_size=0.05)
    for (_, energies), block in zip(
        settling_trace(model, some_tokens(16, 16)), model.blocks, strict=True
    ):
        part = block.feedforward.settling
        part.__class__, part.over, part.limit = StopsTogether, over, energies[3]
    found = future_edit(Subject(model=model, generator=torch.Generator().manual_seed(1)))
    assert found.passed is False


class Noisy(GPT):
    """Adds a little noise of its own to every answer."""

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        noise = torch.Generator().manual_seed(self.calls)
        Noisy.calls += 1
        return logits + 1e-6 * torch.randn(logits.shape, generator=noise)

    calls = 0


def test_hidden_noise_fails_by_reading_the_same_twice():
    found = proofs(randomized(Noisy))
    assert "determinism" in failed(found)
    assert "random_tokens" not in failed(found)


class Peeks(GPT):
    """Looks at the next token and makes it likely."""

    def forward(self, tokens, cache: Cache | None = None):
        ahead = F.one_hot(tokens.roll(-1, 1), self.vocabulary_size)
        return super().forward(tokens, cache) + 9.0 * ahead


def test_looking_at_the_next_token_fails_by_what_is_possible():
    found = proofs(randomized(Peeks))
    assert {"future_edit", "random_tokens"} <= failed(found)
    assert found["random_tokens"].numbers["mean_loss"] < math.log(VOCABULARY) - 1


class TakesTargets(GPT):
    """Has a way in for targets, and would use it."""

    def forward(self, tokens, cache: Cache | None = None, hint: torch.Tensor | None = None):
        return super().forward(tokens, cache)


class TakesAnything(GPT):
    """Takes whatever it is given."""

    def forward(self, tokens, **options):
        return super().forward(tokens)


@pytest.mark.parametrize("kind", [TakesTargets, TakesAnything])
def test_a_way_in_for_targets_fails_by_the_signature(kind):
    assert failed(proofs(randomized(kind))) == {"signature"}


def test_an_audit_that_does_not_catch_the_cheat_calls_itself_broken(monkeypatch):

    def blind(model, tokens, scored, *, steps, step_size, precision):
        return honest_loss(model, tokens, scored, step_size=step_size)

    monkeypatch.setattr(guessing, "clamped_target_loss", blind)
    found = proofs(randomized())
    assert failed(found) == {"positive_control"}
    assert verdict(found.values()).outcome == "broken"


def test_the_cheat_beats_what_is_possible_and_the_honest_evaluator_is_the_model():
    model, tokens = randomized(), some_tokens(16, 17)
    inputs, scored = tokens[:, :-1], tokens[:, 1:]

    def curve(targets):
        settings = {"looks": (0, 10, 60), "step_size": 0.2, "precision": 30.0}
        losses = dict(settled_losses(model, inputs, scored, targets=targets, **settings))
        return [losses[steps].mean().item() for steps in (0, 10, 60)]

    with torch.no_grad():
        own = model.loss(inputs, scored).item()
    assert curve(None) == pytest.approx([own] * 3)
    start, middle, end = curve(scored)
    assert own == pytest.approx(start)
    assert start > middle > end
    assert end < math.log(VOCABULARY) < own
    single = clamped_target_loss(model, inputs, scored, steps=60, step_size=0.2, precision=30.0)
    assert single.mean().item() == pytest.approx(end)
    honest = honest_loss(model, inputs, scored, step_size=0.2)
    assert honest.mean().item() == pytest.approx(own)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_an_answer_of_their_own(value):
    model = randomized()
    with torch.no_grad():
        model.blocks[1].feedforward.expand.weight[0, 0] = value
    found = proofs(model)
    assert failed(found) == {"finite"} == {*found}
    assert verdict(found.values()).outcome == "not a number"
    assert "blocks.1.feedforward.expand.weight" in verdict(found.values()).sentence


def test_each_place_and_token_is_tried_and_the_tokens_follow_from_the_seed():
    one, same, other = (proofs(randomized(), seed) for seed in (1, 1, 2))
    assert one["future_edit"].numbers["places"] == TINY["sequence_length"] + 1
    assert one["token_by_token"].numbers["tokens_seen"] == VOCABULARY
    assert one["random_tokens"].numbers == same["random_tokens"].numbers
    assert one["random_tokens"].numbers != other["random_tokens"].numbers


def test_a_mean_may_lie_below_the_bound_by_chance_or_rounding_only():
    least = math.log(VOCABULARY)
    assert Bound.of(torch.full((100,), least - 5e-6), VOCABULARY).kept
    assert not Bound.of(torch.full((100,), least - 5e-5), VOCABULARY).kept
    spread = torch.linspace(-1, 1, 100)
    error = spread.std().item() / 10
    assert Bound.of(spread + least - 2.9 * error, VOCABULARY).kept
    assert not Bound.of(spread + least - 3.1 * error, VOCABULARY).kept
