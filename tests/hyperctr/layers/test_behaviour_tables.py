"""What a model knows of ids, found in any of them."""

import pytest
import torch
from torch import nn

from hyperctr.layers.embedding import IdDropout, id_table, unseen


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
    with pytest.raises(KeyError), unseen(model, "user", torch.tensor([0, 1, 2]), torch.tensor([True, False, True])):
        assert [mask.tolist() for mask in masks] == [[False, True, False, True], [False, True, False, True]]
        raise KeyError
    assert all(torch.equal(mask, held) for mask, held in zip(masks, before, strict=True))


def test_a_share_of_the_ids_is_hidden_the_same_in_all_tables_and_restored():
    torch.manual_seed(0)
    model = Two()
    model.seen_user, model.deep.seen_user = torch.ones(1000, dtype=torch.bool), torch.ones(1000, dtype=torch.bool)
    model.deep.seen_user[7] = False
    ids, drawn = IdDropout(model, 0.3), []
    for _ in range(2):
        ids.draw()
        assert not model.deep.seen_user[7] and torch.equal(model.seen_user[:7], model.deep.seen_user[:7])
        drawn.append(model.seen_user.clone())
    assert not torch.equal(*drawn)
    assert [float(mask.float().mean()) for mask in drawn] == pytest.approx([0.7, 0.7], abs=0.06)
    ids.restore()
    assert model.seen_user.all() and model.deep.seen_user.sum() == 999 and not model.deep.seen_user[7]


def test_without_a_share_nothing_is_drawn():
    model = Two()
    before = torch.get_rng_state()
    IdDropout(model, 0.0).draw()
    assert torch.equal(before, torch.get_rng_state())
