"""The wide part: which weight a cross of user and item has."""

from dataclasses import replace

import pytest
import torch
from table_builder import change_tables

from hyperctr.models.wide_deep import BITS, WideDeep


def built(tables, **sizes):
    return WideDeep(WideDeep.Config(dim=2, hidden=(4,), **sizes), tables).eval()


def test_a_cross_is_of_this_user_and_this_item(ids, make):
    model, batch = built(ids), make(lengths=(1, 1, 1, 1), rows=1)
    batch = replace(batch, user=torch.tensor([3, 3, 4, 3]), item=torch.tensor([5, 6, 5, 5]))
    bucket = model.bucket(batch)
    assert bucket[0] == bucket[3] and len(bucket.unique()) == 3
    before = model(batch).logit
    with torch.no_grad():
        model.cross.weight[bucket[0]] += 1.5
    assert (model(batch).logit - before).tolist() == pytest.approx([1.5, 0, 0, 1.5])


def test_crosses_spread_over_all_weights(ids):
    count = 500
    seen = torch.ones(count, dtype=torch.bool)
    model = built(change_tables(ids, num_users=count, num_items=count, seen_user=seen, seen_item=seen))
    pair = torch.arange(count * count)

    class Rows:
        user, item = pair // count, pair % count

    bucket = model.bucket(Rows)
    assert bucket.min() >= 0 and bucket.max() < 2**BITS
    load = torch.bincount(bucket, minlength=2**BITS)
    # thrown at random, 250,000 pairs would leave e^-0.954 = 38.5 % of the weights unused
    assert (load == 0).float().mean() < 0.39 and load.max() < 12


@pytest.mark.parametrize(("user", "item"), [(18, 0), (0, 27), (20, 0), (0, 30)])
def test_a_cross_of_what_was_not_seen_adds_nothing(ids, make, user, item):
    model = built(ids)
    batch = replace(make(lengths=(0,), rows=1), user=torch.tensor([user]), item=torch.tensor([item]))
    assert model.bucket(batch).item() == 2**BITS
    assert not model.cross(model.bucket(batch)).any()


def test_a_field_of_the_item_can_be_crossed_instead(rich, make):
    model, kind = built(rich, cross="type"), rich.fields.item.code("type")
    same = [int(i) for i in torch.arange(30)[kind[:30] == kind[0]][:2]]
    other = int(torch.arange(30)[kind[:30] != kind[0]][0])
    batch = replace(make(lengths=(0,) * 4, rows=1), user=torch.tensor([3] * 4), item=torch.tensor([*same, other, 30]))
    bucket = model.bucket(batch)
    assert bucket[0] == bucket[1] != bucket[2] and bucket[3] == 2**BITS


def test_a_field_that_is_not_there_is_named(rich, ids):
    with pytest.raises(ValueError, match=r"model.cross must be a field of the items \(type\), got 'colour'"):
        built(rich, cross="colour")
    with pytest.raises(ValueError, match=r"model.cross must be a field of the items \(none\), got 'type'"):
        built(ids, cross="type")
