"""ESMM, arXiv 1804.07931: its loss over the entire space, row by row."""

import math
from dataclasses import replace

import pytest
import torch

from hyperctr.models.esmm import ESMM, Config


@pytest.fixture
def build(rich):
    def build(**config):
        torch.manual_seed(0)
        return ESMM(Config(dim=4, hidden=(9, 7), **config), rich).train()

    return build


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_eq_3_is_the_loss_of_clicks_and_of_clicks_with_conversions(build, make, kind):
    conversion = torch.tensor([0.0, 1.0, 0.4, math.nan, 1.0, math.nan, 0.7, 0.0])
    b = make(conversion=conversion, label=torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 1]))
    out = (model := build(b=2.0, conversion_loss=kind))(b)
    clicks, both, count = 0.0, 0.0, 0
    for k in range(8):
        p, q, y = sigmoid(out.logit[k].item()), sigmoid(out.conversion[k].item()), b.label[k].item()
        clicks -= math.log(p if y else 1 - p) / 8
        z = conversion[k].item() if y else 0.0  # y z: what follows no click is known
        if math.isnan(z):
            continue
        both += (p * q - z) ** 2 if kind == "mse" else -z * math.log(p * q) - (1 - z) * math.log(1 - p * q)
        count += 1
    assert count == 7
    assert out.loss.item() == pytest.approx(clicks + 2 * both / count, rel=1e-5)
    assert model.eval()(b).loss is None


def test_the_tower_of_conversions_learns_from_impressions_without_a_click(build, make):
    model = build()
    model(make(label=torch.zeros(8), conversion=torch.full((8,), math.nan))).loss.backward()
    assert all(p.grad.any() for p in model.conversion[-1].parameters())


def test_certain_clicks_and_conversions_have_a_finite_loss(build, make):
    model, b = build(conversion_loss="bce"), make(conversion=torch.zeros(8))
    with torch.no_grad():
        for tower in (model.click, model.conversion):
            tower[-1].bias.fill_(100.0)
    loss = model(replace(b, label=torch.ones(8))).loss
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
