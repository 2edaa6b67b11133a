"""The compressed interaction network by hand."""

import torch

from hyperctr.models.xdeepfm import CIN


def test_a_map_weighs_all_pairs_of_fields():
    cin = CIN(2, (1, 1))
    with torch.no_grad():
        cin.weight[0].copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))  # pairs (0,0) (0,1) (1,0) (1,1)
        cin.weight[1].copy_(torch.tensor([[10.0, 100.0]]))  # pairs of the one map with both fields
    x = torch.tensor([[[1.0, 0.5], [2.0, -1.0]]])
    one = [1 * 1 + 5 * 2 + 4 * 4, 1 * 0.25 + 5 * -0.5 + 4 * 1]
    two = [10 * one[0] * 1 + 100 * one[0] * 2, 10 * one[1] * 0.5 + 100 * one[1] * -1]
    assert cin(x).tolist() == [[sum(one), sum(two)]]
