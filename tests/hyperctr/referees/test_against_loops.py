"""EASE, item-kNN and transitions: numbers by hand, slow loops, and what they read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slow_referees import (
    ITEMS,
    TRAIN,
    USERS,
    VALID,
    fitted,
    past_of,
    random_log,
    slow_ease,
    slow_itemknn,
    slow_transitions,
)

from hyperctr import referees
from hyperctr.data.interactions import Interactions
from hyperctr.referees import itemknn as knn
from hyperctr.referees.ease import EASE
from hyperctr.referees.itemknn import ItemKNN
from hyperctr.referees.transitions import Transitions

ONE = {"ease": {"ridges": (3.0,)}, "itemknn": {"neighbours": (4,)}, "transitions": {"decays": (0.7,), "within": 6}}
SLOW = {
    "ease": lambda log: slow_ease(log, TRAIN, 3.0),
    "itemknn": lambda log: slow_itemknn(log, TRAIN, 4),
    "transitions": lambda log: slow_transitions(log, TRAIN, 6, 0.7),
}

REFEREES = {name: kind for name, kind in referees.REFEREES.items() if not name.startswith("trees")}
"""Those that read clicks alone."""


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("name", REFEREES)
def test_every_pair_equals_slow_loops(name, logged):
    """Of all users and items, unknown ones among them, at three times; only clicked pairs are read."""
    log = random_log(logged_non_clicks=logged)
    train = TRAIN if logged else np.flatnonzero(log.label[TRAIN])
    referee, loader = fitted(REFEREES[name], log, train, **ONE[name])
    slow = SLOW[name](log)
    user = np.repeat(np.arange(USERS + 1), 3)
    time = np.tile([0, 70, 200], USERS + 1)
    item, query = np.tile(np.arange(ITEMS + 1), len(user)), np.repeat(np.arange(len(user)), ITEMS + 1)
    batch = loader.make_batch(user, item, time, np.zeros(len(item)), query)
    wanted = [slow(past_of(log, user[q], time[q]), i) for q, i in zip(query, item, strict=True)]
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(referee.raw(batch), wanted, rtol=0, atol=1e-9)


def test_ease_equals_a_dense_solve_of_a_larger_matrix():
    rng = np.random.default_rng(1)
    x = rng.random((300, 80)) < 0.1
    user, item = np.nonzero(x)
    log = Interactions(user, item, np.arange(len(user)), np.ones(len(user)), 300, 80)
    referee, _ = fitted(EASE, log, np.arange(len(log)), value=50.0)
    p = np.linalg.inv(x.astype(float).T @ x + 50.0 * np.eye(80))
    b = np.eye(80) - p / np.diag(p)
    np.testing.assert_allclose(referee.weights, b, rtol=0, atol=1e-6)


def test_where_many_items_were_clicked_the_ridge_is_chosen_with_some_and_b_has_all(monkeypatch):
    """Three solves of the five most clicked items, and one of all ten, on which the scale is fitted too."""
    log, ridges = random_log(), (0.01, 3.0, 1e4)
    monkeypatch.setattr("hyperctr.referees.ease.MOST", 5)
    few, _ = fitted(EASE, log, ridges=ridges)
    one, _ = fitted(EASE, log, ridges=(few.setting.value.item(),))
    assert len(few.weights) == 10 and torch.equal(few.weights, one.weights)
    assert few.setting.value == one.setting.value and few.setting.slope == one.setting.slope
    seen = []
    monkeypatch.setattr("hyperctr.referees.ease.solve", lambda gram, ridge: seen.append((len(gram), ridge)) or gram)
    fitted(EASE, log, ridges=ridges)
    assert [size for size, _ in seen][:3] == [5] * 3 and seen[-1][0] == 10 and [r for _, r in seen[:3]] == [*ridges]


def follow(items, users=None):
    """A log of clicks in order, of one user or of those given."""
    users = [0] * len(items) if users is None else users
    return Interactions(users, items, range(1, len(items) + 1), [1] * len(items), USERS, ITEMS)


def raw(referee, loader, item, time, user=0):
    return referee.raw(
        loader.make_batch(np.array([user]), np.array([item]), np.array([time]), np.zeros(1), np.zeros(1, int))
    ).item()


def test_transitions_by_hand():
    """a, b, c once each: d is 1 + 5. At the end b has age 1, c age 0, and a, of age 2, is two clicks before c."""
    log = follow([0, 1, 2])
    referee, loader = fitted(Transitions, log, np.arange(3), value=0.5)
    assert raw(referee, loader, 2, 9) == pytest.approx((0.5 * 1 + 0.25 * 2**-0.5) / 6)
    assert raw(referee, loader, 0, 9) == 0  # nothing comes before a
    assert raw(referee, loader, 1, 2) == pytest.approx(1 / 6)  # strictly before time 2 is only a


def test_itemknn_by_hand():
    """Two of the three users of item 0 clicked item 1, one clicked item 2."""
    log = follow([0, 1, 0, 1, 0, 2], [0, 0, 1, 1, 2, 2])
    referee, loader = fitted(ItemKNN, log, np.arange(6), value=1)
    assert raw(referee, loader, 1, 2) == pytest.approx(2 / (6**0.5 + 10))
    assert raw(referee, loader, 0, 9, user=2) == 0  # its nearest is 1, which user 2 did not click; 2 is the second
    assert raw(referee, loader, 2, 9, user=2) == pytest.approx(1 / (3**0.5 + 10))


def test_clicks_at_one_time_do_not_follow_each_other():
    log = Interactions([0, 0], [0, 1], [5, 5], [1, 1], USERS, ITEMS)
    referee, _ = fitted(Transitions, log, np.arange(2), value=1.0)
    assert not referee.near.value.any()


@pytest.mark.parametrize("name", REFEREES)
def test_without_clicks_all_candidates_are_alike(name):
    referee, loader = fitted(REFEREES[name], random_log(), **ONE[name])
    item = np.arange(ITEMS + 1)
    found = referee.score(loader.make_batch(np.array([USERS]), item, np.array([90]), item * 0, item * 0))
    assert found.dtype == torch.float32 and (found == found[0]).all() and found.isfinite().all()
    empty = loader.make_batch(np.array([], int), item[:0], np.array([], int), item[:0], item[:0])
    assert referee.score(empty).shape == (0,)


@pytest.mark.parametrize("name", REFEREES)
def test_what_is_fitted_comes_from_the_training_rows_alone(name):
    """Other items in validation and test rows, other labels of shown rows: the same sums for the same history."""
    log = random_log()
    later = np.arange(len(log)) > TRAIN[-1]
    item = np.where(later, (log.item + 5) % ITEMS, log.item)
    referee, loader = fitted(REFEREES[name], log, **ONE[name])
    other, _ = fitted(REFEREES[name], replace(log, item=item, label=np.where(later, 1 - log.label, log.label)),
                      **ONE[name])  # fmt: skip
    batch = loader.batch(VALID)
    assert torch.equal(referee.raw(batch), other.raw(batch)) and referee.raw(batch).any()


@pytest.mark.parametrize("name", REFEREES)
def test_the_order_of_the_batches_changes_no_bit(name):
    log = random_log()
    referee, loader = fitted(REFEREES[name], log, **ONE[name])
    other, _ = fitted(REFEREES[name], log, **ONE[name])
    other.fit(lambda: loader.batches(TRAIN[::-1], 7))
    batch = loader.batch(VALID)
    assert torch.equal(referee.score(batch), other.score(batch))


@pytest.mark.parametrize("name", REFEREES)
def test_rows_scored_in_parts_get_the_same_scores(name, monkeypatch):
    """The caps on what is in memory at a time cut queries and rows into pieces."""
    referee, loader = fitted(REFEREES[name], random_log(), **ONE[name])
    batch = loader.batch(VALID, 5, np.random.default_rng(0))
    whole = referee.raw(batch)
    monkeypatch.setattr("hyperctr.referees.ease.GATHERED", 90)
    monkeypatch.setattr("hyperctr.referees.neighbours.CELLS", 30)
    assert torch.equal(referee.raw(batch), whole)


def test_cosines_in_parts_are_the_same_neighbours(monkeypatch):
    log = random_log()
    whole = fitted(ItemKNN, log)[0].near
    monkeypatch.setattr(knn, "ROWS", 3)
    parts = fitted(ItemKNN, log)[0].near
    assert torch.equal(whole.item, parts.item) and torch.equal(whole.value, parts.value)


@pytest.mark.parametrize("name", REFEREES)
def test_training_rows_without_a_click_are_refused(name):
    log = random_log()
    with pytest.raises(ValueError, match="reads the clicks of the training rows, and none of them is a click"):
        fitted(REFEREES[name], log, np.flatnonzero(log.label == 0))
