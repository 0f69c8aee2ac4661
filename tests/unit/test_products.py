"""Products by the wider library are those of PyTorch's usual one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transformer_lab.model import ModelConfig, build_model, products
from transformer_lab.model.products import LEAST_NUMBERS, linear


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the wider library multiplied, on whatever processor this is."""
    used: list[tuple[int, ...]] = []
    forward = products._Product.forward

    def noted(ctx: object, x: Tensor, weight: Tensor) -> Tensor:
        used.append((*x.shape, *weight.shape))
        return forward(ctx, x, weight)

    monkeypatch.setattr(products, "wider", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(products._Product, "forward", staticmethod(noted))
    return used


def drawn(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).requires_grad_()


def all_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Within what the order of a sum changes, beside the largest number of each tensor."""
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_a_wide_product_its_gradients_and_theirs_are_those_of_the_usual_one(
    wide: list[tuple[int, ...]],
) -> None:
    x, weight, bias = drawn(8, 64, 96), drawn(160, 96, seed=2), drawn(160, seed=3)

    def found(product: object) -> list[Tensor]:
        y = product(x, weight, bias)  # type: ignore[operator]
        first = torch.autograd.grad((y**3).sum(), (x, weight, bias), create_graph=True)
        lengths = sum((part**2).sum() for part in first)
        return [y, *first, *torch.autograd.grad(lengths, (x, weight, bias))]

    ours, theirs = found(linear), found(F.linear)
    assert len(wide) > 3 or not products.wider()
    all_close(ours, theirs)


def test_small_products_other_formats_and_autocast_take_the_usual_library(
    wide: list[tuple[int, ...]],
) -> None:
    weight = drawn(64, 64)
    linear(drawn(LEAST_NUMBERS // 64 - 1, 64), weight)
    linear(drawn(1024, 64).double(), weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(drawn(1024, 64), weight).dtype == torch.bfloat16
    assert not wide


def test_a_model_learns_by_wide_products_what_it_learns_by_the_usual_ones(
    wide: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(
        layers=1, heads=2, embedding_dim=64, sequence_length=64, dropout=0.0, bias=False
    )
    model = build_model(config, 11, 1)
    tokens = torch.randint(11, (16, 65), generator=torch.Generator().manual_seed(1))

    def gradients() -> list[Tensor]:
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    ours = gradients()
    assert wide or not products.wider()
    monkeypatch.setattr(products, "wider", lambda: False)
    all_close(ours, gradients())


@pytest.mark.parametrize(
    ("capability", "vendor", "expected"),
    [("AVX512", "AuthenticAMD", True), ("AVX2", "AuthenticAMD", False),
     ("AVX512", "GenuineIntel", False)],
)  # fmt: skip
def test_only_a_processor_that_the_usual_library_holds_back_takes_the_wider_one(
    capability: str, vendor: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "processor", lambda: f"vendor_id : {vendor}")
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert products.wider.__wrapped__() == (expected and there)
