"""Tables of vectors, seen in few dimensions, and compared by direction."""

import math

import pytest
import torch

from transformer_lab.inspection.embeddings import (
    nearest,
    position_similarity,
    principal_components,
    similarities,
)
from transformer_lab.model.positions import POSITIONS
from transformer_lab.settings import ConfigError


def some(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_components_carry_the_variance_they_say():
    directions = torch.linalg.qr(some(6, 6)).Q[:3]
    places = some(50, 3) * torch.tensor([5.0, 2.0, 0.5])
    table = places @ directions + 7
    found = principal_components(table, 3)
    assert found.points.shape == (50, 3)
    variances = (table - table.mean(0)).square().sum()
    torch.testing.assert_close(found.shares, found.points.square().sum(0) / variances)
    assert found.shares.sum().item() == pytest.approx(1, abs=1e-5)  # there are only three
    assert found.shares.tolist() == sorted(found.shares.tolist(), reverse=True)
    torch.testing.assert_close(found.points @ found.components + table.mean(0), table)
    assert abs(found.components[0] @ directions[0]) > 0.99


def test_a_picture_is_not_mirrored():
    table = some(30, 5)
    found = principal_components(table, 2)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    other = principal_components(table[order], 2)
    torch.testing.assert_close(other.points, found.points[order], atol=1e-4, rtol=1e-4)
    mirrored = principal_components(-table, 2)
    torch.testing.assert_close(mirrored.components, found.components, atol=1e-4, rtol=1e-4)


def test_a_table_with_few_directions_is_filled_with_zeros():
    found = principal_components(some(2, 8), 3)
    assert found.points.shape == (2, 3)
    assert not found.points[:, 2].any()
    assert principal_components(torch.ones(4, 8)).shares.tolist() == [0, 0]


def test_the_nearest_point_the_same_way():
    table = torch.tensor([[1.0, 0.0], [5.0, 1.0], [0.0, 2.0], [-3.0, 0.0]])
    found = nearest(table, 0, 2)
    assert [one.token for one in found] == [1, 2]
    assert found[0].cosine == pytest.approx(5 / math.sqrt(26))
    assert found[1].cosine == pytest.approx(0)
    assert [one.token for one in nearest(table, 0, 99)] == [1, 2, 3]
    assert nearest(table, 0, 99)[-1].cosine == pytest.approx(-1)
    with pytest.raises(ConfigError, match="no token id 4: this model knows 0 to 3"):
        nearest(table, 4)


def test_learned_positions_are_compared_as_their_vectors(make):
    model = make()
    found = position_similarity(model)
    assert found.similarity.shape == (16, 16)
    torch.testing.assert_close(found.similarity, similarities(model.positions.table))
    one, other = model.positions.table[3], model.positions.table[8]
    cosine = torch.cosine_similarity(one, other, dim=0)
    assert found.similarity[3, 8].item() == pytest.approx(cosine.item(), abs=1e-5)
    assert position_similarity(model, 5).similarity.shape == (5, 5)


def test_rotary_positions_are_alike_by_distance_alone(make):
    model = make(positions="rotary", heads=1, sequence_length=32)
    found = position_similarity(model).similarity
    for back in (0, 1, 5, 20):
        angles = [back * 10_000 ** -(pair / 8) for pair in range(8)]  # K is 16
        expected = sum(map(math.cos, angles)) / 8
        diagonal = found.diagonal(back)
        torch.testing.assert_close(diagonal, torch.full_like(diagonal, expected))
    mean = torch.stack([u.double() @ turned(model, u, 7).double() for u in unit(4000, 16)]).mean()
    assert found[0, 7].item() == pytest.approx(mean.item(), abs=0.03)


def unit(count, width):
    return torch.nn.functional.normalize(some(count, width), dim=-1)


def turned(model, vector, place):
    return model.positions.rotate(vector[None], place)[0]


@pytest.mark.parametrize("name", POSITIONS)
def test_every_kind_of_positions_is_compared_or_a_sentence_says_why_not(make, name):
    model = make(positions=name)
    embedded = model.embedding(torch.arange(8))[None]
    added = model.positions(embedded) - embedded
    if not torch.allclose(added, model.positions(0 * embedded), atol=1e-5):
        with pytest.raises(ConfigError, match="depends on the token that stands there"):
            position_similarity(model)
        return
    if name in ("alibi", "none"):
        with pytest.raises(ConfigError, match="no vectors to compare"):
            position_similarity(model)
        return
    found = position_similarity(model)
    torch.testing.assert_close(found.similarity.diagonal(), torch.ones(16))
    assert found.similarity.std() > 0.01
    assert found.meaning.endswith(".")
