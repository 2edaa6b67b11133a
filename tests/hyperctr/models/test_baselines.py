"""The two baselines on numbers worked out by hand."""

import math

import pytest
import torch
from table_builder import make_tables

from hyperctr.batch import Batch, History
from hyperctr.models.matrix_factorisation import MatrixFactorisation
from hyperctr.referees.popularity import Popularity


def tables(click_rate=0.25):
    """Two users and three items; user 1 and item 2 have no training row."""
    return make_tables(
        2, 3, seen_user=torch.tensor([True, False]), seen_item=torch.tensor([True, True, False]), click_rate=click_rate,
    )  # fmt: skip


def batch(user, item, clicks=None, shows=None):
    n = len(user)
    row, none = torch.arange(n), torch.zeros(n, 1, dtype=torch.long)
    return Batch(
        user=torch.tensor(user), item=torch.tensor(item), time=row, query=row, query_row=row,
        histories=History(none, none.bool(), none),
        clicks_before=torch.zeros(n) if clicks is None else torch.tensor(clicks),
        shows_before=None if shows is None else torch.tensor(shows), context=None, label=torch.zeros(n),
    )  # fmt: skip


def factors():
    model = MatrixFactorisation(MatrixFactorisation.Config(dim=2), tables())
    with torch.no_grad():
        model.user.weight.copy_(torch.tensor([[1.0, 2.0, 0.5], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]))
        model.item.weight.copy_(torch.tensor([[3.0, -1.0, 0.25], [0.0, 4.0, -2.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]))
        model.bias.fill_(0.125)
    return model


def test_factorisation_adds_the_biases_to_the_inner_product():
    logit = factors()(batch([0, 0], [0, 1])).logit
    assert logit.tolist() == [0.125 + 0.5 + 0.25 + 1 * 3 - 2 * 1, 0.125 + 0.5 - 2 + 2 * 4]


def test_factorisation_adds_nothing_for_users_and_items_without_training_rows():
    # user 1 and item 2 were never trained; 2 and 3 stand for any unknown ones
    logit = factors()(batch([0, 0, 1, 2, 1, 2], [2, 3, 0, 1, 2, 3])).logit
    assert logit.tolist() == [0.625, 0.625, 0.375, -1.875, 0.125, 0.125]


def test_factorisation_leaves_vectors_of_unseen_ids_without_gradient():
    model = factors()
    model(batch([0, 1], [2, 0])).logit.sum().backward()
    assert model.user.weight.grad[1:].eq(0).all()
    assert model.item.weight.grad[2:].eq(0).all()
    assert model.user.weight.grad[0].tolist() == [0, 0, 1]


def test_popularity_is_the_smoothed_click_rate_before_the_row(monkeypatch):
    monkeypatch.setattr("hyperctr.referees.popularity.PRIOR", 4.0)
    model = Popularity(Popularity.Config(), tables())
    logit = model(batch([0, 0, 1], [0, 1, 3], clicks=[3.0, 0.0, 0.0], shows=[6.0, 6.0, 0.0])).logit
    wanted = [(3 + 1) / (6 + 4), 1 / 10, 1 / 4]  # an item without rows has the average rate
    assert logit.sigmoid().tolist() == pytest.approx(wanted)


def test_popularity_counts_clicks_where_non_clicks_were_not_logged():
    model = Popularity(Popularity.Config(), tables())
    logit = model(batch([0, 0], [0, 1], clicks=[0.0, 7.0])).logit
    assert logit.tolist() == pytest.approx([0.0, math.log(8)])


def test_popularity_cannot_turn_its_order_around():
    model = Popularity(Popularity.Config(), tables())
    with torch.no_grad():
        model.log_slope.fill_(-3.0)
        model.bias.fill_(2.0)
    logit = model(batch([0] * 4, [0, 1, 2, 3], clicks=[0.0, 1.0, 5.0, 50.0])).logit
    assert (logit.diff() > 0).all()


def test_popularity_is_finite_where_every_row_or_none_was_clicked():
    for rate in (0.0, 1.0):
        model = Popularity(Popularity.Config(), tables(click_rate=rate))
        assert model(batch([0], [0], clicks=[0.0], shows=[0.0])).logit.isfinite().all()


def test_factors_must_have_a_width():
    with pytest.raises(ValueError, match="model.dim must be at least 1, got 0"):
        MatrixFactorisation.Config(dim=0)
