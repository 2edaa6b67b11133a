"""Cross layers by hand."""

import pytest
import torch
from torch import nn

from hyperctr.models.dcn import Cross


@pytest.mark.parametrize("version", [1, 2])
def test_without_weights_nothing_is_crossed(version):
    cross, x = Cross(3, 2, version), torch.randn(4, 3)
    for weight in cross.weight:
        nn.init.zeros_(weight.weight)
    assert torch.equal(cross(x), x)


def test_version_1_multiplies_by_a_number():
    cross = Cross(2, 1, 1)
    with torch.no_grad():
        cross.weight[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        cross.bias[0].copy_(torch.tensor([0.5, -0.5]))
    assert cross(torch.tensor([[3.0, 1.0]])).tolist() == [[3 * 5 + 0.5 + 3, 1 * 5 - 0.5 + 1]]


def test_version_2_multiplies_by_a_vector():
    cross = Cross(2, 1, 2)
    with torch.no_grad():
        cross.weight[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        cross.bias[0].copy_(torch.tensor([0.5, -0.5]))
    assert cross(torch.tensor([[3.0, 1.0]])).tolist() == [[3 * (5 + 0.5) + 3, 1 * (-1 - 0.5) + 1]]


def test_two_layers_reach_the_third_degree():
    cross = Cross(1, 2, 2)
    for weight in cross.weight:
        nn.init.ones_(weight.weight)
    x = torch.tensor([[2.0]])
    assert cross(x).item() == 2 * (2 * 2 + 2) + (2 * 2 + 2)  # x^3 + 2 x^2 + x at 2
