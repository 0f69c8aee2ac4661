"""Small models of every variant, in which every parameter is random."""

import pytest
import torch

from sampling import sampled
from transformer_lab.model import ModelConfig, build_model, model_from_weights
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.settings import settings_of

VOCABULARY = 11
TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.1}
CHOICES = [
    {setting.name: choice}
    for setting in settings_of(ModelConfig)
    for choice in setting.choices or ()
]
VARIANTS = [
    *CHOICES,
    *[
        {"norm": name, "norm_place": place, "bias": False}
        for name in NORMS
        for place in NORM_PLACES
    ],
    {"tied_head": True},
    {"qk_norm": True, "positions": "rotary"},
    {"smear": 3},
    {"ngrams": 3, "smear": 2},
    {"attention": "sliding_window", "window": 4, "positions": "alibi"},
    {"heads": 4, "key_value_heads": 2, "attention": "written_out"},
    {"residual": False},
    {"logit_softcap": 2.0},
    {"layers": 1, "heads": 1} | {"feedforward_multiple": 1},
    {"layers": 3, "heads": 4, "smear": 2, "qk_norm": True, "tied_head": True, "norm": "rms_norm"},
]


@pytest.fixture
def make():
    """A model for reading; without random parameters a zero could hide what a test is to see."""

    def model(vocabulary=VOCABULARY, **changes):
        made = build_model(ModelConfig(**TINY | changes), vocabulary, seed=1)
        generator = torch.Generator().manual_seed(2)
        weights = {
            name: torch.empty_like(weight).normal_(0.0, 0.3, generator=generator)
            for name, weight in made.state_dict().items()
        }
        return model_from_weights(made.config, vocabulary, weights)

    return model


@pytest.fixture(params=sampled(VARIANTS, 15), ids=str)
def variant(request, make):
    """Every choice of every setting of a model, and some of them together."""
    return make(**request.param)


@pytest.fixture
def tokens():
    """A function that draws token ids."""

    def draw(*shape, seed=3):
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, VOCABULARY, shape, generator=generator)

    return draw
