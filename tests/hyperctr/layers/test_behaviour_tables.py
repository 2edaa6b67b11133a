"""What a model knows of ids, found in any of them."""

import pytest
import torch
from torch import nn

from hyperctr.layers.embedding import id_table, unseen


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.item = nn.Embedding(5, 2)
        self.deep = nn.Module()
        self.deep.item = nn.Embedding(5, 3)
        self.deep.user = nn.Embedding(5, 3)
        self.other = nn.Embedding(5, 3)
        self.register_buffer("seen_user", torch.tensor([True, True, False, True]))
        self.deep.register_buffer("seen_user", torch.tensor([True, True, True, True]))


def test_the_one_table_of_that_name_and_size_is_found():
    model = Two()
    assert id_table(model, "user", 4) is model.deep.user
    with pytest.raises(ValueError, match="Two must look items up in one table named item, it has 2"):
        id_table(model, "item", 4)
    with pytest.raises(ValueError, match="users up in one table named user, it has 0"):
        id_table(model, "user", 7)


def test_ids_are_strangers_inside_the_block_alone():
    model = Two()
    masks = model.seen_user, model.deep.seen_user
    before = [mask.clone() for mask in masks]
    with pytest.raises(KeyError), unseen(model, "user", torch.tensor([0, 2])):
        assert [mask.tolist() for mask in masks] == [[False, True, False, True], [False, True, False, True]]
        raise KeyError
    assert all(torch.equal(mask, held) for mask, held in zip(masks, before, strict=True))
