"""The pairwise term by hand."""

import torch

from hyperctr.layers.feature_cross import pairwise


def test_all_pairs_of_fields_are_multiplied_column_by_column():
    x = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [5.0, 4.0]]])
    assert pairwise(x).tolist() == [[1 * 3 + 1 * 5 + 3 * 5, 2 * -1 + 2 * 4 + -1 * 4]]


def test_one_field_has_no_pair():
    assert pairwise(torch.randn(4, 1, 3)).abs().max() < 1e-6
