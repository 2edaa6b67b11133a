"""Attention of DIN: what the weights add up to, and whose statistics Dice takes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hyperctr.layers import bodies
from hyperctr.layers.chunked import CANDIDATES
from hyperctr.models import din
from hyperctr.models.din import DIN, Activation


def scrambled(module, std=0.5):
    """The module with random weights; unknown numbers keep their zero."""
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    for table in (m for m in module.modules() if isinstance(m, nn.Embedding)):
        nn.init.zeros_(table.weight[-1])
    return module


def built(tables, **sizes):
    small = {"dim": 4, "attention": (6, 5), "hidden": (8, 6), "dropout": 0.0}
    return scrambled(DIN(DIN.Config(**small | sizes), tables))


MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])


@pytest.mark.parametrize("activation", ["prelu", "dice"])
def test_the_first_layer_reads_click_candidate_difference_and_product(activation):
    unit = scrambled(Activation(4, (6, 5), activation)).eval()
    item, clicks = torch.randn(3, 4), torch.randn(3, 3, 4)
    q = item[:, None].expand_as(clicks)
    x = unit.first(torch.cat([q, clicks, q - clicks, q * clicks], 2)).flatten(0, 1)
    expected = unit.rest(unit.act(x)).view(3, 3) * MASK
    torch.testing.assert_close(unit(item, clicks, MASK), expected, rtol=1e-4, atol=1e-5)


def test_weights_are_left_as_they_are_or_add_up_to_one(ids):
    item, clicks = torch.randn(3, 4), torch.ones(3, 3, 4)  # pooled ones are the sum of the weights
    free = built(ids).pool(item, clicks, MASK)[:, 0]
    assert free[2] == 0 and not torch.allclose(free[:2], torch.ones(2), atol=0.01)
    assert built(ids, softmax=True).pool(item, clicks, MASK)[:, 0].tolist() == pytest.approx([1, 1, 0])


def test_a_candidate_asks_for_its_own_clicks(ids):
    model, clicks = built(ids), torch.randn(1, 3, 4).expand(2, 3, 4)
    weight = model.activation(torch.randn(2, 4), clicks, torch.ones(2, 3, dtype=torch.bool))
    assert not torch.allclose(weight[0], weight[1])


def test_dice_takes_the_statistics_of_real_clicks(ids):
    model = built(ids, activation="dice").train()
    norm, item, clicks = model.activation.act.norm, torch.randn(3, 4), torch.randn(3, 3, 4)
    model.activation(item, clicks, MASK)
    found = norm.running_mean.clone()
    norm.reset_running_stats()
    clicks[~MASK] = 99.0
    model.activation(item, clicks, MASK)
    torch.testing.assert_close(norm.running_mean, found)
    assert found.any()


def test_clicks_on_unknown_items_are_no_clicks(ids, make):
    """They have no vector: there is nothing to weigh."""
    model, batch = built(ids).eval(), make()
    strangers = replace(batch, histories=replace(batch.histories, item=torch.full_like(batch.histories.item, 28)))
    nobody = replace(batch, histories=replace(batch.histories, mask=torch.zeros_like(batch.histories.mask)))
    torch.testing.assert_close(model(strangers).logit, model(nobody).logit)


@pytest.mark.parametrize("activation", ["prelu", "dice"])
def test_training_in_blocks_gives_what_all_rows_at_once_give(ids, make, monkeypatch, activation):
    def trained(cached):
        monkeypatch.setattr(din, "CACHED", cached)
        torch.manual_seed(0)
        model, batch = built(ids, activation=activation).train(), make()
        logit = model(batch).logit
        logit.square().sum().backward()
        return [logit, *(p.grad for p in model.parameters())]

    for a, b in zip(trained(1), trained(2**30), strict=True):
        torch.testing.assert_close(a, b)


# --- weights of pairs that are looked up ----------------------------------------------------------------------------


def many(make, model, monkeypatch):
    """A batch of two queries with enough candidates for the table, and clicks whose weights are computed anew."""
    batch, weighed = make(rows=CANDIDATES, lengths=(4, 2)), []
    weigh = model._weigh
    monkeypatch.setattr(model, "_weigh", lambda item, clicks: weighed.append(len(clicks)) or weigh(item, clicks))
    return batch, weighed


@torch.no_grad()
def test_weights_of_clicks_met_by_many_candidates_are_looked_up(rich, make, monkeypatch):
    model = built(rich).eval()
    batch, weighed = many(make, model, monkeypatch)
    monkeypatch.setattr(bodies, "PLAIN", True)
    expected = model(batch).logit
    monkeypatch.setattr(bodies, "PLAIN", False)
    first = model(batch).logit
    assert len(weighed) > 2  # the clicks are entered: each has been met by more candidates than there are items
    weighed.clear()
    again = model(batch).logit
    assert weighed == [0, 0]  # per query, the clicks that are not entered
    assert torch.equal(first, again)
    torch.testing.assert_close(again, expected)


@torch.no_grad()
def test_looked_up_weights_are_those_of_the_model_as_it_is(rich, make, monkeypatch):
    model = built(rich).eval()
    batch, _ = many(make, model, monkeypatch)
    before = model(batch).logit
    model.embed.item.weight[:20] += 0.5  # no word to the model
    after = model(batch).logit
    monkeypatch.setattr(bodies, "PLAIN", True)
    torch.testing.assert_close(after, model(batch).logit)
    assert not torch.allclose(before, after, atol=1e-3)
    assert model._kept is not None and model.train()._kept is None


def test_few_candidates_or_gradients_look_nothing_up(rich, make):
    model = built(rich).eval()
    model(make(rows=CANDIDATES, lengths=(4, 2)))
    with torch.no_grad():
        model(make(rows=CANDIDATES - 1, lengths=(4, 2)))
    assert model._kept is None
