"""Blocks of rows: the same result, in as many calls as memory asks for."""

import pytest
import torch

from hyperctr.layers import chunked
from hyperctr.layers.chunked import blockwise


@pytest.mark.parametrize(("numbers", "calls"), [(1, [10]), (25, [4, 4, 2]), (99, [1] * 10), (1000, [1] * 10)])
def test_rows_are_computed_as_many_at_a_time_as_fit(monkeypatch, numbers, calls):
    monkeypatch.setattr(chunked, "NUMBERS", 100)
    seen = []

    def add(x, y):
        seen.append(len(x))
        return x + y[:, 0]

    x, y = torch.randn(10), torch.randn(10, 3)
    with torch.no_grad():
        assert torch.equal(blockwise(add, numbers, x, y), x + y[:, 0])
    assert seen == calls


def test_rows_are_computed_at_once_where_gradients_are_wanted(monkeypatch):
    monkeypatch.setattr(chunked, "NUMBERS", 1)
    seen = []
    blockwise(lambda x: seen.append(len(x)) or x, 50, torch.randn(10))
    assert seen == [10]


def test_rows_with_gradients_are_computed_in_blocks_where_that_is_asked_for():
    seen, x = [], torch.randn(10, requires_grad=True)
    blockwise(lambda x: seen.append(len(x)) or x * x, 25, x, training=100).sum().backward()
    assert seen == [4, 4, 2]
    torch.testing.assert_close(x.grad, 2 * x)


@pytest.mark.parametrize(
    ("numbers", "calls"),
    [([1, 2, 3, 10, 10, 60, 60, 200, 300], [5, 1, 1, 1, 1]), ([0] * 9, [9]), ([50] * 9, [2, 2, 2, 2, 1])],
)
def test_a_block_has_room_for_all_its_rows_at_the_size_of_its_last(monkeypatch, numbers, calls):
    monkeypatch.setattr(chunked, "NUMBERS", 100)
    seen, x = [], torch.randn(9)
    with torch.no_grad():
        assert torch.equal(blockwise(lambda x: seen.append(len(x)) or 2 * x, torch.tensor(numbers), x), 2 * x)
    assert seen == calls


def test_rows_of_rising_size_are_none_where_there_are_none():
    assert blockwise(lambda x: 2 * x, torch.empty(0, dtype=torch.long), torch.empty(0, 3)).shape == (0, 3)
