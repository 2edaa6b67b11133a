"""Choosing a setting on validation rows, the scale of the scores, and what a Config refuses."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from slow_referees import random_log

from hyperctr.data.loader import Loader
from hyperctr.referees import REFEREES
from hyperctr.referees.choose import Setting, scale_of

ROWS = np.arange(100, 240)


def chosen(values, history=50, rows=ROWS):
    """A setting of a score that knows the label up to noise, least noise at the value 2; and the values used."""
    loader, setting, used = Loader(random_log(), history), Setting(), []

    def score(batch):
        torch.manual_seed(0)
        noise = (used[-1] - 2) ** 2 + 0.5
        return batch.label.double() + noise * torch.randn(len(batch), dtype=torch.float64)

    found = setting.choose("depth", values, used.append, score, lambda: loader.batches(rows, 50), 1.0)
    return setting, found, used


def test_the_value_of_highest_auc_is_kept_and_used_last():
    setting, found, used = chosen((1.0, 2.0, 5.0))
    assert found["depth"] == 2.0 == setting.value and used == [1.0, 2.0, 5.0, 2.0]
    assert list(found["valid_auc"]) == ["1", "2", "5"] and found["valid_auc"]["2"] == max(found["valid_auc"].values())
    assert chosen((5.0, 2.0))[2] == [5.0, 2.0]  # already in use


def test_the_first_of_equals_is_kept():
    assert chosen((3.0, 1.0))[1]["depth"] == 3.0  # 1 and 3 are as far from 2


def test_the_share_of_cut_histories_is_said():
    assert chosen((2.0,))[1]["cut"] == 0
    log, history = random_log(), 10
    before = [((log.user == log.user[k]) & (log.time < log.time[k]) & (log.label == 1)).sum() for k in ROWS]
    assert chosen((2.0,), history)[1]["cut"] == pytest.approx(np.mean(np.array(before) > history))


def test_rows_of_one_label_are_refused():
    clicks = np.flatnonzero(random_log().label == 1)
    with pytest.raises(ValueError, match="depth is chosen on validation rows of both labels; they have one label"):
        chosen((2.0,), rows=clicks)


def test_a_setting_keeps_the_order_of_scores_and_is_all_in_its_state():
    setting = chosen((2.0,))[0]
    score = torch.linspace(-3, 30, 50, dtype=torch.float64)
    assert (setting.logit(score).diff() > 0).all()
    other = Setting()
    other.load_state_dict(setting.state_dict())
    assert torch.equal(other.logit(score), setting.logit(score))


def draw(slope, bias, seed=0, rows=4000):
    rng = np.random.default_rng(seed)
    score = rng.normal(2, 3, rows)
    return (rng.random(rows) < expit(slope * score + bias)).astype(float), score


def test_slope_and_bias_are_those_of_a_logistic_regression():
    """At the maximum of the likelihood the probabilities have the labels' mean, and their mean times the score."""
    label, score = draw(0.5, -2.0)
    slope, bias = scale_of(label, score)
    assert (slope, bias) == pytest.approx((0.5, -2.0), abs=0.15)
    p = expit(slope * score + bias)
    assert p.mean() == pytest.approx(label.mean(), abs=1e-6)
    assert (p * score).mean() == pytest.approx((label * score).mean(), abs=1e-4)


def test_non_clicks_count_as_in_training():
    """Scores that say nothing: the bias is the log of clicks per non-click, and with weights that of training."""
    label, score = np.array([1.0, 0, 0, 0, 0] * 4), np.zeros(20)
    assert scale_of(label, score)[1] == pytest.approx(np.log(1 / 4))
    assert scale_of(label, score, non_clicks=1.0)[1] == pytest.approx(0)
    assert scale_of(label, score, non_clicks=9.0)[1] == pytest.approx(np.log(1 / 9))


def test_a_score_that_points_the_wrong_way_is_not_turned_around():
    label, score = draw(-1.0, 0.5)
    slope, bias = scale_of(label, score)
    assert 0 < slope < 1e-3
    assert expit(slope * score + bias).mean() == pytest.approx(label.mean(), abs=1e-6)


def test_a_score_that_tells_all_labels_apart_is_finite():
    slope, bias = scale_of(np.array([0.0, 0, 1, 1]), np.array([1.0, 2, 3, 4]))
    assert 0 < slope < 1e3 and abs(bias) < 1e4


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("ease", {"ridges": ()}, r"model.ridges must be numbers above 0, at least one, got \[\]"),
        ("ease", {"ridges": (1.0, 0.0)}, "model.ridges must be numbers above 0"),
        ("itemknn", {"neighbours": (5, 0)}, "model.neighbours must be whole numbers of at least 1"),
        ("transitions", {"within": 0}, "model.within must be at least 1, got 0"),
        ("transitions", {"decays": (1.5,)}, "model.decays must be numbers above 0 and at most 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name, settings, says):
    with pytest.raises(ValueError, match=says):
        REFEREES[name].Config(**settings)
