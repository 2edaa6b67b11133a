"""Layers and activations: against torch's own, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.layers.mlp import Dice, Linear, PReLU, activated, mlp


def test_weights_start_kaiming_normal_and_biases_zero():
    layer = Linear(200, 300)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert not layer.bias.any()
    assert Linear(3, 2, bias=False).bias is None


def test_layers_follow_each_other():
    net = mlp(3, (4, 2), dropout=0.5).eval()
    x = torch.randn(5, 6, 3)
    expected = torch.relu(F.linear(torch.relu(F.linear(x, net[0].weight, net[0].bias)), net[3].weight, net[3].bias))
    torch.testing.assert_close(net(x), expected)


def test_dropout_is_for_training_alone():
    net, x = mlp(8, (64,), dropout=0.5), torch.randn(100, 8)
    whole = net.eval()(x)
    assert torch.equal(whole, net(x))
    kept = net.train()(x)[whole > 0] > 0
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_no_width_is_the_identity():
    x = torch.randn(2, 3)
    assert mlp(3, ())(x) is x


@pytest.mark.parametrize("slope", [0.25, 0.0, 1.0, -0.5])
def test_prelu_is_torchs(slope):
    x = torch.tensor([[-2.0, 0.0, 3.0], [1.0, -0.5, -4.0]])
    factor = torch.tensor([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]])
    ours, theirs = PReLU(init=slope), nn.PReLU(init=slope)
    grads = []
    for act in (ours, theirs):
        given = x.clone().requires_grad_()
        y = act(given)
        (y * factor).sum().backward()
        grads.append((y, given.grad, act.weight.grad))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_prelu_takes_what_is_not_contiguous():
    x = torch.randn(4, 3, dtype=torch.double).T.requires_grad_()
    assert torch.autograd.gradcheck(PReLU().double(), (x,))


def test_dice_weighs_by_the_statistics_of_the_batch():
    act = Dice(1)
    nn.init.constant_(act.slope, 0.2)
    x = torch.tensor([[1.0], [3.0]])  # mean 2, variance 1
    p = 1 / (1 + math.exp(-1))
    assert act(x).squeeze().tolist() == pytest.approx([(1 - p) + p * 0.2, 3 * p + 3 * (1 - p) * 0.2])


def test_dice_weighs_by_running_statistics_in_evaluation():
    act = Dice(2).eval()
    act.norm.running_mean[:] = torch.tensor([1.0, -1.0])
    act.norm.running_var[:] = torch.tensor([4.0, 9.0])
    p, q = 1 / (1 + math.exp(-(5 - 1) / 2)), 1 / (1 + math.exp(-(2 + 1) / 3))
    assert act(torch.tensor([[5.0, 2.0]])).tolist() == [pytest.approx([5 * p, 2 * q])]


def test_activations_go_by_name():
    assert [type(activated(name, 3)) for name in ("relu", "prelu", "dice")] == [nn.ReLU, PReLU, Dice]
