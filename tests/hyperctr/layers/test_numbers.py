"""Numbers as vectors: against loops of a few lines, missing numbers, first weights, and many numbers together."""

import math

import pytest
import torch
from random_weights import drawn
from torch import nn

from hyperctr.layers import numbers as layer
from hyperctr.layers.numbers import JointNumbers, Numbers, Periodic, Piecewise

NAN, INF = float("nan"), float("inf")
KNOTS = [torch.tensor([-1.0, 0.5, 2.0, 2.25]), torch.tensor([3.0]), torch.tensor([0.0, 10.0])]
ON_AND_OFF = [-1e30, -7.0, -1.0, -0.4, 0.5, 1.0, 2.0, 2.2, 2.25, 3.0, 5.0, 10.0, 1e30]


def interpolated(knots, rows, x):
    """Loop over the pieces; `rows` are the vectors of the knots."""
    if x <= knots[0]:
        return rows[0]
    for k in range(len(knots) - 1):
        if knots[k] <= x < knots[k + 1]:
            w = (x - knots[k]) / (knots[k + 1] - knots[k])
            return (1 - w) * rows[k] + w * rows[k + 1]
    return rows[-1]


# --- numbers by knots -------------------------------------------------------------------------------------------------


def test_piecewise_is_a_loop_over_the_pieces_in_values_and_gradients():
    module = drawn(Piecewise(KNOTS, 3))
    x = torch.tensor(ON_AND_OFF).double()[:, None].repeat(1, 3)
    x[:, 1] = x[:, 1].flip(0)
    weight = module.table.weight.detach().clone().requires_grad_()
    rows = weight[:-1].split([len(own) for own in KNOTS])
    slow = [[interpolated(own.tolist(), r, float(v)) for own, r, v in zip(KNOTS, rows, row, strict=True)] for row in x]
    slow, fast = torch.stack([torch.stack(row) for row in slow]), module(x)
    torch.testing.assert_close(fast, slow)
    factor = torch.randn_like(slow)
    (fast * factor).sum().backward()
    (slow * factor).sum().backward()
    torch.testing.assert_close(module.table.weight.grad, weight.grad)


def test_piecewise_inside_the_knots_is_the_papers_encoding_and_a_linear_map():
    knots, module = KNOTS[0].double(), drawn(Piecewise(KNOTS[:1], 5))
    x = torch.linspace(-1, 2.25, 50).double()
    encoded = ((x[:, None] - knots[:-1]) / knots.diff()).clamp(0, 1)  # Eq. (1): 0 before a piece, 1 after it
    rows = module.table.weight[: len(knots)]
    linear = nn.Linear(3, 5).double()
    with torch.no_grad():
        linear.weight.copy_(rows.diff(dim=0).T)
        linear.bias.copy_(rows[0])
    torch.testing.assert_close(module(x[:, None])[:, 0], linear(encoded))


def test_one_knot_gives_one_vector_whatever_the_number():
    module = drawn(Piecewise(KNOTS[1:2], 2))
    found = module(torch.tensor([[-5.0], [3.0], [8.0]]).double())[:, 0]
    assert torch.equal(found, module.table.weight[[0, 0, 0]])


def test_a_number_trains_its_two_knots_only():
    module = drawn(Piecewise(KNOTS[:1], 2))
    module(torch.tensor([[1.0]]).double()).sum().backward()
    assert module.table.weight.grad.any(1).tolist() == [False, True, True, False, False]


# --- numbers by waves -------------------------------------------------------------------------------------------------


def test_periodic_is_a_loop_over_the_waves():
    module = drawn(Periodic(2, 3))
    x = torch.tensor([[0.3, -2.0], [0.0, 0.7]]).double()
    for row, got in zip(x.tolist(), module(x), strict=True):
        for n, value in enumerate(row):
            want = module.bias[n, 0].clone()
            for k in range(layer.WAVES):
                angle = 2 * math.pi * module.frequency[0, n, k] * value
                want += angle.sin() * module.weight[n, k] + angle.cos() * module.weight[n, layer.WAVES + k]
            torch.testing.assert_close(got[n], want)


def test_first_frequencies_are_of_all_sizes():
    first = Periodic(2, 4).frequency[0]
    assert torch.equal(first[0], first[1])
    assert first[0, 0].item() == pytest.approx(layer.SLOWEST) and first[0, -1].item() == pytest.approx(layer.FASTEST)
    torch.testing.assert_close(first[0, 1:] / first[0, :-1], (first[0, 1] / first[0, 0]).expand(layer.WAVES - 1))


# --- both, and missing numbers ----------------------------------------------------------------------------------------


def test_both_kinds_of_numbers_keep_their_order():
    module = drawn(Numbers([KNOTS[0], torch.empty(0), KNOTS[2], torch.empty(0)], 3))
    x = torch.randn(6, 4).double()
    cut, waving = module.piecewise(x[:, [0, 2]]), module.periodic(x[:, [1, 3]])
    assert torch.equal(module(x), torch.stack([cut[:, 0], waving[:, 0], cut[:, 1], waving[:, 1]], 1))


@pytest.mark.parametrize("knots", [KNOTS, [torch.empty(0)] * 3, [torch.empty(0), *KNOTS[:2]]])
def test_a_missing_number_has_a_vector_of_its_own_and_leaves_the_others_alone(knots):
    module, x = drawn(Numbers(knots, 2)), torch.randn(4, 3).double()
    x[0, 0] = x[1, 2] = x[2] = NAN
    found, without = module(x), module(x.nan_to_num(7.0))
    for n, k in x.isnan().nonzero().tolist():
        assert torch.equal(found[n, k], module.missing[0, k])
    there = ~x.isnan()
    assert torch.equal(found[there], without[there])
    found.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


def test_a_number_that_no_training_row_lacks_is_zero_where_it_is_missing():
    module = Numbers(KNOTS, 2)
    assert not module(torch.full((1, 3), NAN)).any() and module(torch.zeros(1, 3)).any()


def test_infinite_numbers_are_far_outside():
    module = drawn(Numbers([KNOTS[0], torch.empty(0)], 2))
    found = module(torch.tensor([[INF, INF], [-INF, -INF]]))
    assert found.isfinite().all() and torch.equal(found[:, 0], module.piecewise.table.weight[[3, 0]])


# --- many numbers together --------------------------------------------------------------------------------------------

TOGETHER = [torch.tensor([-1.0, 0.5, 2.0, 2.25]), torch.tensor([3.0]), torch.tensor([0.0, 10.0])]


def one_row(module, row):
    """Compute the vectors of one row in loops, by the equations of `JointNumbers`."""

    def dot(weights, x):
        return [sum(a * b for a, b in zip(column, x, strict=True)) for column in zip(*weights, strict=True)]

    embed, e = module.embed.tolist(), []
    for f, value in enumerate(row):
        knots, gone = TOGETHER[f].tolist(), value != value
        value = 0.0 if gone else value
        pieces = [min(max((value - s) / (t - s), 0.0), 1.0) for s, t in zip(knots, knots[1:], strict=False)]
        pieces += [0.0] * (3 - len(pieces))
        e += [max(x, 0.0) for x in dot(embed[f], [*pieces, value, float(not gone), float(gone)])]
    z = e
    for down, up, bias in zip(module.down.tolist(), module.up.tolist(), module.bias.tolist(), strict=True):
        z = [first * (y + b) + old for first, y, b, old in zip(e, dot(up, dot(down, z)), bias[0], z, strict=True)]
    h = e
    for weight, bias in zip(module.layers, module.biases, strict=True):
        h = [max(y + b, 0.0) for y, b in zip(dot(weight[0].tolist(), h), bias[0, 0].tolist(), strict=True)]
    numbers = [0.0 if x != x else x for x in row]
    return dot(module.out[0].tolist(), [*h, *z, *numbers, *(float(x != x) for x in row)])


def test_numbers_together_are_loops_over_their_equations(monkeypatch):
    monkeypatch.setattr(layer, "HIDDEN", (4, 3))
    monkeypatch.setattr(layer, "RANK", 2)
    module = drawn(JointNumbers(TOGETHER, 2, 5)).eval()
    x = torch.tensor([[0.7, 3.0, 2.5], [-9.0, NAN, 11.0], [2.1, -4.0, NAN], [NAN, NAN, NAN]]).double()
    got = module(x)
    assert got.shape == (4, 2, 5)
    for row, vectors in zip(x.tolist(), got, strict=True):
        torch.testing.assert_close(vectors.flatten(), torch.tensor(one_row(module, row)).double())


def test_numbers_together_learn_a_product_that_no_sum_of_functions_is():
    torch.manual_seed(0)
    x = torch.randn(512, 2)
    label = (x[:, 0] * x[:, 1] > 0).float()
    module = JointNumbers([torch.linspace(-2, 2, 9)] * 2, 1, 1)
    adam = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(module(x)[:, 0, 0], label).backward()
        adam.step()
    assert ((module.eval()(x)[:, 0, 0] > 0) == (label == 1)).float().mean() > 0.95


def test_numbers_together_of_no_rows():
    assert JointNumbers(TOGETHER, 4, 2)(torch.empty(0, 3)).shape == (0, 4, 2)


def test_draws_of_a_models_matrices_leave_numbers_together_alone():
    assert all(p.ndim == 3 for p in JointNumbers(TOGETHER, 4, 2).parameters())
