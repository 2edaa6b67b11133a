"""The state behind the last click."""

import torch
from torch import nn

from hyperctr.models.gru4rec import GRU4Rec


def test_the_state_is_that_of_the_history_alone(ids):
    model = GRU4Rec(GRU4Rec.Config(dim=4, depth=2, hidden=(8, 6)), ids)
    for p in model.parameters():
        nn.init.normal_(p)
    history, lengths = torch.randn(3, 6, 4), (6, 0, 2)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = model.read(history, mask)
    for state, clicks, length in zip(found, history, lengths, strict=True):
        expected = nn.GRU.forward(model.gru, clicks[None, :length])[1][-1, 0] if length else torch.zeros(4)
        torch.testing.assert_close(state, expected)
