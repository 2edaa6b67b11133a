"""Metrics: numbers by hand, slow loops over pairs, and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyperctr.evaluation import metrics, significance


def auc_by_pairs(label, score):
    """Count every pair: 2 for a pair won, 1 for a tie."""
    positives = [s for y, s in zip(label, score, strict=True) if y == 1]
    negatives = [s for y, s in zip(label, score, strict=True) if y == 0]
    wins = sum(2 * (p > n) + (p == n) for p in positives for n in negatives)
    return wins / (2 * len(positives) * len(negatives))


def drawn(n=300, levels=None, users=1, seed=0):
    r = np.random.default_rng(seed)
    label = r.integers(0, 2, n)
    score = label + r.normal(0, 1.5, n)
    return label, score if levels is None else np.round(score * levels) / levels, r.integers(0, users, n)


@pytest.mark.parametrize(
    ("label", "score", "expected"),
    [
        ([0, 1], [1, 2], 1.0),
        ([0, 1], [2, 1], 0.0),
        ([0, 1], [1, 1], 0.5),
        ([0, 1, 1], [1, 1, 2], 0.75),
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], 0.75),
        ([0, 0, 1], [-math.inf, 0.0, math.inf], 1.0),
        ([1, 0], [0.0, -0.0], 0.5),
        ([True, False], [3, 2], 1.0),
    ],
)
def test_auc_by_hand(label, score, expected):
    assert metrics.auc(label, score) == expected


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=30))
def test_auc_equals_the_count_over_pairs_exactly(rows):
    label, score = [y for y, _ in rows], [s for _, s in rows]
    if len(set(label)) == 2:
        assert metrics.auc(label, score) == auc_by_pairs(label, score)
        assert metrics.user_auc(label, score, [7] * len(label))[1] == auc_by_pairs(label, score)


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_auc_and_logloss_equal_scikit_learns(levels):
    from sklearn.metrics import log_loss, roc_auc_score

    label, score, _ = drawn(2000, levels)
    assert metrics.auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    probability = 1 / (1 + np.exp(-score))
    assert metrics.logloss(label, score) == pytest.approx(log_loss(label, probability), abs=1e-12)


def test_auc_of_float32_scores_does_not_invent_ties():
    score = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    assert metrics.auc([0, 1], score) == 1.0


def test_the_interval_of_auc_equals_delongs_sums_over_pairs():
    label, score, _ = drawn(60, levels=2)
    positives, negatives = score[label == 1], score[label == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    variance = wins.mean(1).var(ddof=1) / len(positives) + wins.mean(0).var(ddof=1) / len(negatives)
    assert metrics.auc_interval(label, score) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


def test_the_interval_of_auc_holds_the_truth_19_times_in_20():
    truth = 0.5 * (1 + math.erf(1 / 2))  # P(N(1,1) > N(0,1))
    held = 0
    for seed in range(400):
        r = np.random.default_rng(seed)
        label = np.repeat([0, 1], [80, 60])
        score = r.normal(label, 1.0)
        held += abs(metrics.auc(label, score) - truth) <= metrics.auc_interval(label, score)
    assert 0.92 <= held / 400 <= 0.975


def test_the_interval_of_auc_is_unknown_from_one_positive_and_zero_when_classes_part():
    assert math.isnan(metrics.auc_interval([1, 0, 0], [1, 2, 0]))
    assert metrics.auc_interval([0, 0, 1, 1], [1, 2, 3, 4]) == 0.0


def test_user_auc_by_hand():
    label = [1, 0, 0, 1, 0, 1, 1, 0]
    score = [3, 1, 2, 1, 2, 5, 6, 9]
    user = [0, 0, 0, 1, 1, 2, 2, 3]  # user 0: 1.0 in 3 rows; user 1: 0.0 in 2 rows; users 2 and 3 have one class
    assert metrics.user_auc(label, score, user) == (3 / 5, 1 / 2, 2, 2)
    assert metrics.user_auc(label, score, np.array(user) * 10**12 - 5) == (3 / 5, 1 / 2, 2, 2)
    assert metrics.user_auc(label, score, [f"u{u}" for u in user]) == (3 / 5, 1 / 2, 2, 2)


@pytest.mark.parametrize("levels", [None, 1])
def test_user_auc_equals_a_loop_over_users(levels):
    label, score, user = drawn(500, levels, users=60)
    rows, each = [], []
    for u in np.unique(user):
        own = user == u
        if 0 < label[own].sum() < own.sum():
            rows.append(own.sum())
            each.append(auc_by_pairs(label[own], score[own]))
    weighted, plain, counted, skipped = metrics.user_auc(label, score, user)
    assert weighted == pytest.approx(np.average(each, weights=rows), abs=1e-12)
    assert plain == pytest.approx(np.mean(each), abs=1e-12)
    assert (counted, skipped) == (len(each), len(np.unique(user)) - len(each))


@pytest.mark.parametrize("levels", [None, 1])
def test_positive_auc_is_a_double_loop_over_clicks_and_their_own_negatives(levels):
    label, score, query = drawn(400, levels, users=90)
    query[-5:] = np.arange(90, 95)  # clicks without a negative
    label = np.isin(np.arange(400), np.unique(query, return_index=True)[1][10:]).astype(int)  # ten queries lack a click
    shares = []
    for y, s, q in zip(label, score, query, strict=True):
        own = score[(query == q) & (label == 0)]
        if y == 1 and len(own):
            shares.append(sum((s > n) + 0.5 * (s == n) for n in own) / len(own))
    assert len(shares) < label.sum()
    mean, error = metrics.positive_auc(label, score, query)
    assert mean == pytest.approx(np.mean(shares), abs=1e-12)
    assert error == pytest.approx(np.std(shares, ddof=1) / math.sqrt(len(shares)), abs=1e-12)


def test_positive_auc_of_one_click_has_no_error_and_of_none_no_value():
    assert metrics.positive_auc([1, 0, 0, 1], [2, 1, 2, 5], ["a", "a", "a", "b"])[0] == 0.75
    assert math.isnan(metrics.positive_auc([1, 0, 0], [2, 1, 3], [7, 7, 7])[1])
    for label in ([1, 1], [0, 0]):
        assert np.isnan(metrics.positive_auc(label, [1.0, 2.0], [0, 1])).all()
    assert np.isnan(metrics.positive_auc([], [], [])).all()
    with pytest.raises(ValueError, match="one positive per query, got 2 in one"):
        metrics.positive_auc([1, 0, 1], [2, 1, 3], [4, 4, 4])


def test_user_auc_without_a_user_of_both_classes_says_so_in_the_counts():
    weighted, plain, counted, skipped = metrics.user_auc([1, 0], [1, 2], ["a", "b"])
    assert math.isnan(weighted) and math.isnan(plain) and (counted, skipped) == (0, 2)
    assert metrics.user_auc([], [], [])[2:] == (0, 0)


def test_logloss_by_hand():
    assert metrics.logloss([1, 0], [0.0, 0.0]) == pytest.approx(math.log(2))
    assert metrics.logloss([1], [math.log(3)]) == pytest.approx(-math.log(0.75))
    assert metrics.logloss([0, 1], [1000.0, 0.0]) == pytest.approx((1000 + math.log(2)) / 2)
    assert metrics.logloss([1, 0], [math.inf, -math.inf]) == 0.0
    assert metrics.logloss([1], np.array([-200.0], dtype=np.float32)) == pytest.approx(200)


def test_balanced_logloss_is_the_expectation_over_one_negative_per_positive():
    label, logit = np.array([1, 0, 0, 0]), np.array([0.3, -1.0, 0.5, 2.0])
    one_each = [metrics.logloss([1, 0], [0.3, negative]) for negative in logit[1:]]
    assert metrics.balanced_logloss(label, logit) == pytest.approx(np.mean(one_each))
    more = np.r_[label, label[1:]], np.r_[logit, logit[1:]]
    assert metrics.balanced_logloss(*more) == pytest.approx(metrics.balanced_logloss(label, logit))


def test_shifted_logits_are_calibrated_at_the_other_ratio():
    # A third of the cases is positive within each group; a model trained 1:1 answers each group's odds at 1:1.
    logit_at_1 = np.log([3.0, 0.5])
    shifted = metrics.calibrate_shift(logit_at_1, r_train=1, r_test=1000)
    assert np.exp(shifted) == pytest.approx([0.003, 0.0005])
    assert metrics.calibrate_shift(shifted, 1000, 1) == pytest.approx(logit_at_1)
    with pytest.raises(ValueError, match="above 0, got r_train=0 and r_test=1"):
        metrics.calibrate_shift([0.0], 0, 1)


def test_relaimpr_and_closed_by_hand():
    assert significance.relaimpr(0.8120, 0.7870) == pytest.approx(0.0871, abs=5e-5)  # HyperCTR over AutoFIS on Kuaishou
    assert metrics.gap_closed(0.7, 0.6, 0.8) == pytest.approx(0.5)
    assert metrics.gap_closed(0.5, 0.6, 0.8) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="base above 0.5, got 0.5"):
        significance.relaimpr(0.7, 0.5)
    with pytest.raises(ValueError, match="ceiling above the floor"):
        metrics.gap_closed(0.7, 0.8, 0.8)


def test_activity_groups_come_nearest_to_60_and_30_percent_and_keep_ties_together():
    # Amazon Beauty: training clicks, two less than the reviews of a user
    lengths = np.repeat([3, 4, 5, 6, 12, 13, 202], [2000, 3090, 1200, 1200, 1530, 700, 280])
    assert metrics.activity_groups(lengths) == (5, 12)  # 62.9 % and 90.2 %: 50.9 % is farther from 60 than 62.9 %
    clicks = np.array([1] * 5 + [2] * 2 + [3] + [9] * 2)  # 50, 70, 80, 100 %: as near on both sides, the smaller
    assert metrics.activity_groups(clicks) == (1, 3)
    group = np.searchsorted(metrics.activity_groups(clicks), clicks)
    assert group.tolist() == [0] * 5 + [1] * 3 + [2] * 2


@given(st.lists(st.integers(0, 9), min_size=1).filter(any))
def test_activity_groups_are_a_partition_by_clicks(clicks):
    clicks = np.array(clicks)
    low, high = metrics.activity_groups(clicks)
    assert low <= high
    group = np.searchsorted((low, high), clicks)
    assert ((group == 0) == (clicks <= low)).all() and ((group == 2) == (clicks > high)).all()
    known = clicks[clicks > 0]
    for cut, share in [(low, 0.6), (high, 0.9)]:
        miss = [abs((known <= other).mean() - share) for other in set(known.tolist())]
        assert abs((known <= cut).mean() - share) == pytest.approx(min(miss))


def test_activity_groups_without_a_click_are_refused():
    with pytest.raises(ValueError, match="activity_groups needs a user with a click, got none"):
        metrics.activity_groups([0, 0])


def test_group_auc_is_the_auc_of_each_groups_rows():
    label, score, group = [1, 0, 1, 0, 1, 1], [0.9, 0.1, 0.2, 0.4, 0.3, 0.2], [0, 0, 2, 2, 2, 1]
    found = metrics.group_auc(label, score, group, 4)
    assert found[0] == 1.0 and found[2] == 0.0
    assert np.isnan(found[1]) and np.isnan(found[3])
    assert metrics.group_auc(label, score, [0] * 6, 1) == [metrics.auc(label, score)]
    with pytest.raises(ValueError, match="one group per label, got 6 and"):
        metrics.group_auc(label, score, [0, 1], 2)


def test_relaimpr_of_the_base_is_zero_and_of_twice_its_gain_one():
    assert significance.relaimpr(0.61, 0.61) == 0
    assert significance.relaimpr(0.72, 0.61) == pytest.approx(1.0)


def test_mean_interval_by_hand():
    mean, half = significance.mean_interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))  # t(2 degrees, 0.975) = 4.302653
    mean, half = significance.mean_interval([5.0])
    assert mean == 5.0 and math.isnan(half)
    for bad in ([], [1.0, math.nan], [[1.0]]):
        with pytest.raises(ValueError, match="finite numbers"):
            significance.mean_interval(bad)


def test_paired_interval_is_that_of_the_differences():
    a, b = [0.7, 0.9, 0.5], [0.6, 0.7, 0.5]
    assert significance.paired_interval(a, b) == pytest.approx(significance.mean_interval([0.1, 0.2, 0.0]))
    with pytest.raises(ValueError, match="got 2 and 1"):
        significance.paired_interval([1, 2], [1])


def test_scipy_agrees_on_the_interval_and_on_the_p_of_a_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.71, 0.01, 6), rng.normal(0.70, 0.01, 6)
    gain = significance.Score(*significance.paired_interval(a, b), 6)
    found = stats.ttest_rel(a, b)
    low, high = found.confidence_interval(0.95)
    assert (gain.mean - gain.half, gain.mean + gain.half) == pytest.approx((low, high), rel=1e-9)
    assert significance.p_value(gain) == pytest.approx(found.pvalue, rel=1e-9)


def test_interval_of_relaimpr_by_hand():
    mean, half = significance.relaimpr_interval([0.70, 0.72, 0.71], [0.6, 0.6, 0.6])
    assert mean == pytest.approx(1.1)  # (.71 - .5) / .1 - 1, from the mean AUCs
    assert half == pytest.approx(4.302653 * 0.01 / math.sqrt(3) / 0.1, rel=1e-6)  # misses -.01, .01, 0 over .1
    assert significance.relaimpr_interval([0.7, 0.8], [0.6, 0.7])[0] == pytest.approx(
        0.25 / 0.15 - 1
    )  # not .75, their mean
    # each seed gains as much as the mean does: what the seeds do to the base is no uncertainty of the ratio
    assert significance.relaimpr_interval([0.7, 0.8], [0.6, 0.65]) == pytest.approx((1.0, 0.0))
    mean, half = significance.relaimpr_interval([0.7], [0.6])
    assert mean == pytest.approx(1.0) and math.isnan(half)
    assert all(map(math.isnan, significance.relaimpr_interval([0.7, 0.7], [0.6, 0.4])))


@pytest.mark.parametrize("metric", [metrics.auc, metrics.auc_interval, metrics.balanced_logloss])
def test_one_class_is_an_error_never_nan(metric):
    with pytest.raises(ValueError, match="needs both classes, got 2 positives and 0 negatives"):
        metric([1, 1], [1.0, 2.0])
    with pytest.raises(ValueError, match="got 0 positives and 0 negatives"):
        metric([], [])


@pytest.mark.parametrize("metric", [metrics.auc, metrics.logloss, lambda y, s: metrics.user_auc(y, s, [0] * len(y))])
def test_bad_labels_and_scores_are_refused(metric):
    with pytest.raises(ValueError, match="labels of 0 or 1, got 2"):
        metric([0, 2], [1.0, 2.0])
    with pytest.raises(ValueError, match="NaN in 1 of 2 scores"):
        metric([0, 1], [1.0, math.nan])
    with pytest.raises(ValueError, match=r"one length, got \[2\] and \[3\]"):
        metric([0, 1], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="at least one row|both classes|one user per label"):
        metrics.logloss([], []) if metric is metrics.logloss else metrics.user_auc([0, 1], [1, 2], [0])


def concordance_by_pairs(value, score):
    pairs = [(a, b) for a in range(len(value)) for b in range(len(value)) if value[a] > value[b]]
    return sum((score[a] > score[b]) + 0.5 * (score[a] == score[b]) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("levels", [1, 2, 5, None])
@pytest.mark.parametrize("seed", range(4))
def test_concordance_counts_pairs_of_different_values(seed, levels):
    _, score, value = drawn(n=90, levels=levels, users=6, seed=seed)
    assert metrics.concordance(value / 6, score) == concordance_by_pairs(value, score)
    label = value > 2
    assert metrics.concordance(label, score) == metrics.auc(label, score)


def test_concordance_without_a_pair_is_unknown_and_bad_input_is_refused():
    assert math.isnan(metrics.concordance([], [])) and math.isnan(metrics.concordance([0.3, 0.3], [1, 2]))
    with pytest.raises(ValueError, match="one length"):
        metrics.concordance([1, 2], [1])
    with pytest.raises(ValueError, match="got NaN"):
        metrics.concordance([1, math.nan], [1, 2])


def test_replay_is_the_mean_value_of_the_first_rows_of_each_group():
    group = ["a", "b", "a", "b", "a", "c"]
    score, value = [0.1, 5.0, 0.9, 7.0, 0.5, 9.0], [10.0, 1.0, 30.0, 2.0, 20.0, 100.0]
    found = metrics.replay(score, value, group, tops=(1, 2, 3, 4))
    assert found[1] == pytest.approx((30 + 2 + 100) / 3)
    assert found[2] == pytest.approx((30 + 20 + 2 + 1) / 4)  # c has one row
    assert found[3] == pytest.approx((30 + 20 + 10) / 3)
    assert math.isnan(found[4])
    assert metrics.replay([1, 1], [3, 4], [0, 0], tops=(1,)) == {1: 3.0}  # ties keep the order of the rows
    with pytest.raises(ValueError, match="one length, got 2, 1 and 2"):
        metrics.replay([1, 2], [1], [0, 0])


def test_a_tie_inside_a_user_counts_nothing_where_equation_11_is_literal():
    label, score, user = [1, 0, 0, 1, 0, 1], [2, 1, 2, 0, 0, 5], [4, 4, 4, 9, 9, 7]
    # user 4: one pair won, one tied; user 9: one tied; user 7 has no negative
    assert metrics.user_auc(label, score, user) == (pytest.approx((3 * 0.75 + 2 * 0.5) / 5), 0.625, 2, 1)
    assert metrics.user_auc(label, score, user, strict=True) == (pytest.approx(3 * 0.5 / 5), 0.25, 2, 1)


@pytest.mark.parametrize("strict", [False, True])
def test_the_plain_mean_is_equation_11_as_a_loop(strict):
    label, score, user = drawn(400, levels=3, users=30, seed=5)
    each = []
    for u in range(30):
        mine = [(y, s) for y, s, w in zip(label, score, user, strict=True) if w == u]
        clicked, not_clicked = [s for y, s in mine if y], [s for y, s in mine if not y]
        if clicked and not_clicked:
            won = sum((p > n) + (0 if strict else 0.5) * (p == n) for p in clicked for n in not_clicked)
            each.append(won / (len(clicked) * len(not_clicked)))
    assert metrics.user_auc(label, score, user, strict)[1] == pytest.approx(np.mean(each), abs=1e-12)


def test_popularity_levels_hold_equally_many_items_and_keep_ties_together():
    assert metrics.popularity_levels(np.arange(20)[::-1]).tolist() == [9 - k // 2 for k in range(20)]
    assert metrics.popularity_levels([7, 0, 0, 0, 3], levels=5).tolist() == [4, 1, 1, 1, 3]
    assert metrics.popularity_levels([5, 5, 5], levels=10).tolist() == [5, 5, 5]
    assert metrics.popularity_levels([], 10).tolist() == []


def test_popularity_auc_divides_the_items_of_the_rows_alone():
    count = np.array([100, 1, 50, 2, 0, 0, 0, 0])  # items 4 to 7 have no row
    item = [0, 0, 1, 1, 2, 2, 3, 3]
    label, score = [1, 0] * 4, [2, 1, 1, 2, 3, 3, 5, 4]
    assert metrics.popularity_auc(label, score, item, count, levels=4) == [0.0, 1.0, 0.5, 1.0]
    assert metrics.popularity_auc(label, score, item, count, levels=2) == [0.5, 0.625]
    assert np.isnan(metrics.popularity_auc([1, 1], [1, 2], [0, 1], count, levels=2)).all()


def test_unseen_recall_by_hand():
    pool = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    user = np.array([[3.0, 0.0], [0.0, 0.1]])
    # nearest to the first: 0, then 2, then 1 and 4 together, then 3; to the second: 1, 2, then 0, 3 and 4 together
    assert metrics.unseen_recall(user[:1], [2], pool, (1, 2, 5)) == [0.0, 1.0, 1.0]
    assert metrics.unseen_recall(user[:1], [4], pool, (2, 3, 4)) == [0.0, 1.0, 1.0]  # places 2 and 3: 2.5
    assert metrics.unseen_recall(user, [0, 3], pool, (1, 3, 4)) == [0.5, 0.5, 1.0]


def test_unseen_recall_of_noise_is_the_share_asked_for():
    rng = np.random.default_rng(0)
    user, pool = rng.standard_normal((4000, 8)), rng.standard_normal((200, 8))
    found = metrics.unseen_recall(user, rng.integers(200, size=4000), pool, (10, 50, 200))
    for share, n in zip(found, (10, 50, 200), strict=True):
        assert abs(share - n / 200) <= 3 * np.sqrt(n / 200 * (1 - n / 200) / 4000)


def test_unseen_recall_refuses_nothing_and_strangers():
    with pytest.raises(ValueError, match="at least one click, got none"):
        metrics.unseen_recall(np.empty((0, 2)), [], np.ones((3, 2)), (1,))
    with pytest.raises(ValueError, match=r"rows of the pool, \[0, 3\), got 0 to 3"):
        metrics.unseen_recall(np.ones((2, 2)), [0, 3], np.ones((3, 2)), (1,))


MINUTE = 60_000_000


def test_user_session_auc_by_hand():
    # ann: rows at 0, 30 and 60 minutes are one session, 91 another; ben: two at one time; cem: clicks alone
    user = ["ann"] * 4 + ["ben"] * 2 + ["cem"] * 2
    time = np.array([60, 0, 91, 30, 5, 5, 5, 6]) * MINUTE
    label, score = [1, 0, 1, 0, 0, 1, 1, 1], [0.3, 0.1, 0.9, 0.5, 0.2, 0.2, 0.4, 0.1]
    # ann's first session: a click at .3 against .1 and .5, 3 rows; ben's: a tie, 2 rows; two sessions have one label
    found = metrics.user_session_auc(label, score, user, time)
    assert found == (pytest.approx((3 * 0.5 + 2 * 0.5) / 5), 2, 2)
    score[0] = 0.6
    assert metrics.user_session_auc(label, score, user, time)[0] == pytest.approx((3 * 1.0 + 2 * 0.5) / 5)
    assert metrics.sessions(user, time).tolist() == [0, 0, 1, 0, 2, 2, 3, 3]
    assert metrics.sessions(user, time, 0).tolist() == [2, 0, 3, 1, 4, 4, 5, 6]
    time[0] += 1  # 30 minutes and a microsecond after the row before it
    assert metrics.sessions(user, time).tolist()[:4] == [1, 0, 2, 0]


@pytest.mark.parametrize("seed", range(3))
def test_user_session_auc_equals_a_loop_over_sessions(seed):
    rng = np.random.default_rng(seed)
    label, score = rng.integers(2, size=400), rng.integers(9, size=400)
    user, time = rng.integers(6, size=400), rng.integers(3000, size=400) * MINUTE
    parts = []
    for who in range(6):
        last = None
        for row in sorted(np.flatnonzero(user == who), key=lambda row: time[row]):
            if last is None or time[row] - last > 30 * MINUTE:
                parts.append([])
            parts[-1].append(row)
            last = time[row]
    both = [part for part in parts if 0 < label[part].sum() < len(part)]
    wanted = sum(len(part) * metrics.auc(label[part], score[part]) for part in both) / sum(map(len, both))
    found, counted, skipped = metrics.user_session_auc(label, score, user, time)
    assert found == pytest.approx(wanted) and (counted, skipped) == (len(both), len(parts) - len(both))
    assert counted > 20 and skipped > 20


def test_sessions_of_nothing_and_of_lists_of_two_lengths():
    assert metrics.sessions([], []).tolist() == []
    assert np.isnan(metrics.user_session_auc([], [], [], [])[0])
    with pytest.raises(ValueError, match="sessions needs one time per user, got 2 and"):
        metrics.sessions([1, 2], [3])
