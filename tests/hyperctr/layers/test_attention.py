"""Self-attention against a loop over heads and positions, in values and gradients."""

import math

import pytest
import torch

from hyperctr.layers import attention
from hyperctr.layers.attention import attend


def slow(projected, mask, count):
    """Every query of every head reads the real keys, one after another."""
    n, length, width = projected.shape
    d = width // 3
    w, rows = d // count, []
    for sequence, real in zip(projected, mask, strict=True):
        for query in sequence:
            found = []
            for h in range(count):
                part = slice(h * w, (h + 1) * w)
                powers = [(query[:d][part] @ key[d : 2 * d][part] / math.sqrt(w)).exp() * there
                          for key, there in zip(sequence, real, strict=True)]  # fmt: skip
                found.append(sum(p / sum(powers) * x[2 * d :][part] for p, x in zip(powers, sequence, strict=True)))
            rows.append(torch.cat(found))
    return torch.stack(rows).view(n, length, d)


@pytest.mark.parametrize("block", [1, 2, 64])
@pytest.mark.parametrize("whole", [True, False])
def test_values_and_gradients_are_those_of_a_loop(block, whole, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", block)
    torch.manual_seed(0)
    projected = torch.randn(5, 4, 18).double().requires_grad_()
    mask = torch.ones(5, 4, dtype=torch.bool) if whole else torch.arange(4) < torch.tensor([[4], [1], [3], [2], [4]])
    upstream = torch.randn(5, 4, 6).double()
    found, expected = attend(projected, mask, 3), slow(projected, mask, 3)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad((x * upstream).sum(), projected)[0] for x in (found, expected))
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda x: attend(x, mask, 2), projected)


def test_a_sequence_of_nothing_is_finite_and_trains_nothing_wrong():
    projected = torch.randn(2, 3, 12, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    found = attend(projected, mask, 2)
    found[1].sum().backward()
    assert found.isfinite().all() and projected.grad.isfinite().all() and not projected.grad[0].any()
    assert attend(projected[:0], mask[:0], 2).shape == (0, 3, 4)


def test_what_is_hidden_is_not_read():
    projected, mask = torch.randn(2, 3, 12, requires_grad=True), torch.tensor([[True, True, False]] * 2)
    found = attend(projected, mask, 2)
    other = projected.detach().clone()
    other[:, 2] = 7.0
    assert torch.equal(attend(other, mask, 2)[:, :2], found[:, :2])
    found[:, :2].sum().backward()
    assert not projected.grad[:, 2].any() and projected.grad[:, :2].any()
