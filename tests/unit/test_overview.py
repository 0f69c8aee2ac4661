"""The drawing of a model: every part of every variant stands in it once, with what it adds."""

import pytest
import torch

from transformer_lab.inspection.architecture import describe
from transformer_lab.inspection.capture import capture
from transformer_lab.lab.looking.looks import lens_look
from transformer_lab.model import ModelConfig
from transformer_lab.model.architectures import ARCHITECTURES
from transformer_lab.model.weights import build_model
from transformer_lab.ui.look.overview import blocks_of, branches, kinds

SMALL = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 8}
VARIANTS = [
    *({"architecture": name} for name in ARCHITECTURES),
    {"norm_place": "post"},
    {"residual": False},
    {"feedforward": "none"},
    {"norm": "none"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_part_of_a_layer_is_drawn_once_and_every_write_is_shown(variant):
    config = ModelConfig(**SMALL, **variant)
    model = build_model(config, 11, seed=1).eval()
    parts = describe(model)
    lens = lens_look(model, capture(model, torch.arange(6)))
    shown, writes = [], []
    for layer in range(config.layers):
        blocks = blocks_of(parts, config, layer)
        found = branches(blocks, lens, 3, post=config.norm_place == "post")
        drawn = [block for one in found for block in [*one.blocks, *one.after]]
        assert {block.part.path for block in drawn} == {block.part.path for block in blocks}
        assert all(one.blocks and not one.blocks[-1].is_norm for one in found)
        shown += [block.part.path for block in drawn]
        writes += [one.write for one in found if one.write is not None]
    assert len(shown) == len(set(shown))
    assert sorted(writes) == pytest.approx(sorted(lens.writes[:, 3].tolist()))
    inside = {part.path for part in parts if part.layer is not None}
    ends = {path for path in inside if not any(other.startswith(f"{path}.") for other in inside)}
    norms = {path for path in ends if "norm" in path.rpartition(".")[2]}
    assert set(shown) == (ends - norms if config.norm == "none" else ends)


def test_a_block_says_which_variant_this_model_has():
    config = ModelConfig(**SMALL, positions="rotary", feedforward="swiglu", norm="rms_norm")
    words = kinds(config)
    assert words["attention"] == "2 heads · Multi-head · Rotary positions"
    assert (words["feedforward"], words["norm"]) == ("SwiGLU", "RMSNorm")
