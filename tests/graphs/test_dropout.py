"""Dropout drawn a byte an entry: its share, its scale, and what it must have in common with torch's."""

import numpy as np
import pytest
import torch

from graphs.dropout import Dropout, mask, zeros


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_about_a_share_p_becomes_zero_and_the_mean_stays(p):
    n = 200_000
    y = Dropout(p)(torch.ones(n // 10, 10))
    rounded = round(256 * p) / 256
    share = (y == 0).float().mean().item()
    assert abs(share - rounded) < 5 * (p * (1 - p) / n) ** 0.5
    assert abs(rounded - p) <= 1 / 512
    # the scale is that of the rounded share, so that the mean is kept exactly, not nearly
    assert y.unique().tolist() == [0.0, pytest.approx(1 / (1 - rounded), rel=1e-6)]


def test_the_same_torch_seed_gives_the_same_mask_and_the_next_call_another():
    drop, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first, second = drop(x), drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first) and torch.equal(drop(x), second)
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    assert not torch.equal(drop(x), first)
    np.random.seed(0)  # numpy's global state plays no part
    torch.manual_seed(3)
    assert torch.equal(drop(x), first)


def test_entries_are_dropped_independently_of_their_neighbours():
    kept = mask(torch.Size([100_000]), 0.5).float()
    for lag in (1, 2, 7, 8, 64):
        together = (kept[lag:] * kept[:-lag]).mean().item()
        assert abs(together - 0.25) < 5 * (0.25 * 0.75 / 100_000) ** 0.5, lag


def test_in_evaluation_and_for_a_share_of_zero_the_input_comes_back():
    x = torch.randn(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    state = torch.get_rng_state()
    Dropout(0.5).eval()(x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (0, 4)])
def test_any_shape_is_kept(shape):
    x = torch.full(shape, 2.0)
    y = Dropout(0.5)(x)
    assert y.shape == x.shape
    assert set(y.flatten().tolist()) <= {0.0, 4.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_is_kept(dtype):
    y = Dropout(0.25)(torch.ones(100, dtype=dtype))
    assert y.dtype == dtype
    assert set(y.tolist()) == {0.0, torch.tensor(4 / 3, dtype=dtype).item()}


def test_the_gradient_is_the_mask_times_the_scale():
    x = torch.randn(50, 4, requires_grad=True)
    torch.manual_seed(5)
    Dropout(0.25)(x).sum().backward()
    torch.manual_seed(5)
    torch.testing.assert_close(x.grad, Dropout(0.25)(torch.ones(50, 4)))
    assert (x.grad == 0).any() and (x.grad != 0).any()


def test_a_share_close_to_one_still_leaves_something():
    y = Dropout(0.9999)(torch.ones(100_000))
    assert zeros(0.9999) == 255
    assert y.max() == 256
    assert 200 < (y != 0).sum() < 600  # one in 256


def test_a_share_close_to_zero_rounds_to_none():
    assert torch.equal(Dropout(0.0001)(torch.ones(10_000)), torch.ones(10_000))


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_that_cannot_be_is_refused(p):
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        Dropout(p)


def test_it_says_its_share():
    assert repr(Dropout(0.2)) == "Dropout(p=0.2)"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="dropout on a CUDA device not checked: there is none")
def test_on_a_gpu_it_is_torch_dropout():
    x = torch.ones(1000, device="cuda")
    torch.manual_seed(0)
    y = Dropout(0.5)(x)
    torch.manual_seed(0)
    assert torch.equal(y, torch.nn.functional.dropout(x, 0.5, True))
