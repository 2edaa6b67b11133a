"""DeepMCP's two subnets: slow loops, and that they are gone in evaluation."""

import math

import pytest
import torch
from torch import nn

from hyperctr.models.deepmcp import Config, DeepMCP
from hyperctr.models.wide_deep import WideDeep


def worn(ids, **changed):
    torch.manual_seed(0)
    base = WideDeep(WideDeep.Config(dim=4, hidden=(6, 5)), ids)
    model = DeepMCP(base, Config(**{"negatives": 3, "hidden": (5, 4), **changed}), ids)
    for p in model.parameters():
        nn.init.normal_(p, std=0.7)
    return model.train()


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_matching_is_the_product_of_two_networks_that_end_in_tanh(ids, make):
    model, batch = worn(ids), make()
    users, items = model.tables

    def through(net, x):
        x = torch.relu(net[0](x))
        return torch.tanh(net[2](x))

    for user, item, found in zip(batch.user, batch.item, model.match(batch.user, batch.item), strict=True):
        wanted = through(model.match_user, users(user)) @ through(model.match_item, items(item))
        assert found.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("window", [1, 2, 9])
def test_correlation_agrees_with_a_slow_skip_gram(ids, make, window, monkeypatch):
    monkeypatch.setattr("hyperctr.models.deepmcp.WINDOW", window)
    model, past = worn(ids), make(lengths=[3, 0, 5, 1, 2], padding=2).histories
    drawn = torch.randint(30, (5, 3))
    drawn[0, 1] = past.item[0, 1]  # a click itself: no negative to it
    vector = {i: model.correlate(model.tables[1](torch.tensor(i))) for i in range(30)}
    total, pairs = 0.0, 0
    for q in range(5):
        clicks = past.item[q, past.mask[q]].tolist()
        for a, click in enumerate(clicks):
            for b, context in enumerate(clicks):
                if a != b and abs(a - b) <= window:
                    pairs += 1
                    total -= log_sigmoid((vector[click] @ vector[context]).item())
                    total -= sum(
                        log_sigmoid(-(vector[click] @ vector[i]).item()) for i in drawn[q].tolist() if i != click
                    )
    assert model.correlation(past.item, past.mask, drawn).item() == pytest.approx(total / pairs, rel=1e-4)


def test_vectors_that_know_nothing_lose_log_two_each_and_single_clicks_nothing(ids, make):
    model, past = worn(ids), make(lengths=[3, 4]).histories
    for p in model.correlate.parameters():
        nn.init.zeros_(p)
    drawn = torch.full((2, 3), 29)
    clicks = past.item.where(past.mask, 0).clamp(max=28)
    assert model.correlation(clicks, past.mask, drawn).item() == pytest.approx(4 * math.log(2))
    short = make(lengths=[1, 0]).histories
    assert model.correlation(short.item, short.mask, drawn).item() == 0


def test_both_losses_are_a_penalty_in_training_alone(ids, make):
    model, batch = worn(ids, match=0.3, correlation=0.2), make(lengths=[3, 2])
    out = model(batch)
    match, correlation = out.logs["match_loss"], out.logs["correlation_loss"]
    logit = model.match(batch.user, batch.item)
    assert match == pytest.approx(nn.functional.binary_cross_entropy_with_logits(logit, batch.label).item())
    assert out.penalty.item() == pytest.approx(0.3 * match + 0.2 * correlation)
    out.penalty.backward()
    assert model.base.embed.user.weight.grad.abs().sum() > 0 and model.base.embed.item.weight.grad.abs().sum() > 0
    assert model.eval()(batch).penalty == 0
    assert worn(ids, match=0.0, correlation=0.0)(batch).penalty == 0


def test_the_bases_draws_are_not_touched(ids, make):
    model = worn(ids)
    torch.manual_seed(1)
    wanted = model.base(make()).logit
    torch.manual_seed(1)
    assert torch.equal(model(make()).logit, wanted)


@pytest.mark.parametrize("changed", [{"match": -1.0}, {"correlation": math.nan}, {"negatives": 0}, {"hidden": ()}])
def test_settings_that_cannot_be_are_refused(changed):
    with pytest.raises(ValueError, match=f"wrapper.{next(iter(changed))} must be"):
        Config(**changed)
