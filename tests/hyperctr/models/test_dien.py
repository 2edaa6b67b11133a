"""DIEN: the auxiliary loss, and a state that only the candidate's interests move."""

import math
from dataclasses import replace

import pytest
import torch
from table_builder import change_tables
from torch import nn

from hyperctr.batch import Step
from hyperctr.models.dien import DIEN, Evolution


def built(tables, **sizes):
    model = DIEN(DIEN.Config(**{"dim": 4, "hidden": (8, 6), "dropout": 0.0} | sizes), tables)
    for p in model.parameters():
        nn.init.normal_(p, std=0.4)
    return model.train()


def test_a_state_that_knows_nothing_costs_two_bits(ids, make):
    model = built(ids)
    for p in model.extraction.parameters():
        nn.init.zeros_(p)
    assert model(make()).penalty.item() == pytest.approx(2 * math.log(2))


def test_histories_of_one_click_have_no_next(ids, make):
    assert built(ids)(make(lengths=(1, 0, 1))).penalty == 0


def test_rows_of_a_query_count_once(ids, make):
    model, short = built(ids), make(rows=1)
    many = make(rows=9, histories=short.histories)
    penalties = []
    for batch in (short, many):
        torch.manual_seed(5)
        penalties.append(model(batch).penalty)
    assert torch.equal(*penalties)


def test_the_loss_is_weighed_and_is_for_training_alone(ids, make):
    model, batch = built(ids), make()
    torch.manual_seed(5)
    whole = model(batch).penalty
    model.share = 0.25
    torch.manual_seed(5)
    assert model(batch).penalty.item() == pytest.approx(0.25 * whole.item())
    assert model(replace(batch, step=Step(is_augmented=True))).penalty == 0 and model.eval()(batch).penalty == 0
    assert built(ids, auxiliary=0.0)(batch).penalty == 0


def test_only_items_with_training_rows_are_drawn(ids, make, monkeypatch):
    model, asked = built(ids), []
    items = model.embed.items
    monkeypatch.setattr(model.embed, "items", lambda drawn: asked.append(drawn) or items(drawn))
    model(make(lengths=(5,) * 200))
    assert set(asked[0].unique().tolist()) == set(range(27))


def test_no_loss_without_an_item_to_draw_against(ids, make):
    """The next click itself, drawn, would be told from itself."""
    one = change_tables(ids, seen_item=torch.arange(30) == 4)
    batch = make(lengths=(3, 3))
    same = replace(batch, histories=replace(batch.histories, item=torch.full_like(batch.histories.item, 4)))
    assert built(one)(same).penalty == 0


def test_interests_without_attention_leave_the_state_alone():
    cell = Evolution(4)
    item, interests = torch.randn(2, 4), torch.randn(2, 5, 4)
    query, mask = torch.arange(2), torch.tensor([[True, True, False, False, False], [False] * 5])
    whole = cell(item, interests, mask, query)
    torch.testing.assert_close(whole[0], cell(item[:1], interests[:1, :2], mask[:1, :2], query[:1])[0])
    assert not whole[1].any() and whole[0].any()


def test_the_candidate_steers_the_evolution():
    cell, interests = Evolution(4), torch.randn(1, 5, 4)
    found = cell(torch.randn(2, 4) * 5, interests, torch.ones(1, 5, dtype=torch.bool), torch.zeros(2, dtype=torch.long))
    assert not torch.allclose(found[0], found[1], atol=1e-3)
