"""MMoE: each task's own mix of the experts, row by row."""

import math

import pytest
import torch

from hyperctr.models.mmoe import Config, MMoE


@pytest.fixture(params=[(3, (4,)), (2, (5, 4))])
def model(rich, request):
    experts, tower = request.param
    return MMoE(Config(dim=4, experts=experts, hidden=(6, 5), tower=tower), rich)


def test_eq_6_to_8_row_by_row(model, make):
    b = make(conversion=torch.rand(8))
    out, x = model.eval()(b), model.crossed(b)
    for task, found in (("click", out.logit), ("conversion", out.conversion)):
        for k in range(len(b)):
            score = [math.exp(sum(w * v for w, v in zip(row, x[k].tolist(), strict=True)))
                     for row in model.gates[task].weight.tolist()]  # fmt: skip
            mixed = sum(s / sum(score) * expert(x[k]) for s, expert in zip(score, model.experts, strict=True))
            assert found[k].item() == pytest.approx(model.towers[task](mixed).item(), rel=1e-4, abs=1e-6)


def test_both_losses_reach_every_expert_and_each_its_own_gate(model, make):
    b = make(conversion=torch.rand(8), label=torch.ones(8))
    with torch.no_grad():
        for p in model.crossed.embed.parameters():
            p.normal_()
    model.train()(b).loss.backward()
    assert all(p.grad.any() for p in [*model.experts.parameters(), *model.gates.parameters()])
    model.zero_grad()
    model(b).conversion.sum().backward()
    assert model.gates["click"].weight.grad is None and model.gates["conversion"].weight.grad.any()
