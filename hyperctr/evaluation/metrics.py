"""Measure how good scores are: exact AUC with ties, overall and per group, and log loss from logits.

Plain numpy, one sort per metric (20 million rows take seconds), over all rows at once and never averaged over batches.
Long because every metric is here, each with what it means and an example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

NORMAL_95 = 1.959963984540054  # quantile 0.975 of the standard normal distribution
SESSION_GAP = 30 * 60 * 10**6  # microseconds between two rows of one session, at most


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the share of (positive, negative) pairs that the score orders correctly; a tie counts one half.

    Counted in integers, so it is exact.

    Args:
        label: 1 for a positive, 0 for a negative, [n].
        score: any monotone score, logit or probability, [n].

    Raises:
        ValueError: there is no positive or no negative (n = 0 included), a label is not 0 or 1, or a score is NaN.

    >>> auc([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.4])
    0.875
    """
    positive, score = _two_classes(label, score, "auc")
    below = _twice_below(score[positive], score[~positive])
    return int(below.sum()) / (2 * len(below) * (len(positive) - len(below)))


def auc_interval(label: ArrayLike, score: ArrayLike) -> float:
    """Return the half-width of the 95 % interval of the AUC (DeLong, DeLong & Clarke-Pearson, Biometrics 1988).

    It measures the uncertainty that comes from the scored rows, for one fixed model, not from training seeds. With a
    single positive or a single negative the variance is unknown, and the result is NaN.

    Raises:
        ValueError: as `auc`.
    """
    positive, score = _two_classes(label, score, "auc_interval")
    score, others = score[positive], score[~positive]
    if min(len(score), len(others)) < 2:
        return float("nan")
    # per positive the share of negatives below it, and per negative the share of positives below it
    shares = [_twice_below(a, b) / (2 * len(b)) for a, b in [(score, others), (others, score)]]
    return float(NORMAL_95 * np.sqrt(sum(share.var(ddof=1) / len(share) for share in shares)))


def positive_auc(label: ArrayLike, score: ArrayLike, query: ArrayLike) -> tuple[float, float]:
    """Return the mean over positives of the share of negatives of the same query below them, and its standard error.

    It compares a click with the negatives drawn for it; a tie counts one half. Positives without a negative are left
    out. Without any other positive both numbers are NaN; with one, the error is NaN.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        query: the query that a row belongs to, any sortable id, [n].

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, a score is NaN, or a query has two positives.
    """
    positive, score = _checked(label, score, "positive_auc")
    query = _groups(query, positive, "positive_auc", "query")
    if np.bincount(query[positive], minlength=1).max() > 1:
        raise ValueError(f"positive_auc needs one positive per query, got {np.bincount(query[positive]).max()} in one")
    num_neg = np.bincount(query[~positive], minlength=query.max(initial=-1) + 1)
    own = np.zeros(len(num_neg), score.dtype)
    own[query[positive]] = score[positive]
    query, own, score, counted = query[~positive], own[query[~positive]], score[~positive], query[positive]
    below = np.bincount(query, (score < own) + 0.5 * (score == own), minlength=len(num_neg))
    counted = counted[num_neg[counted] > 0]
    share = below[counted] / num_neg[counted]
    error = share.std(ddof=1) / np.sqrt(len(share)) if len(share) > 1 else np.nan
    return float(share.mean()) if len(share) else float("nan"), float(error)


def user_auc(
    label: ArrayLike, score: ArrayLike, user: ArrayLike, strict: bool = False
) -> tuple[float, float, int, int]:
    """Return the AUC within users: mean weighted by rows (gAUC), plain mean, users counted, users skipped.

    Users whose rows are all positive or all negative have no AUC and are skipped. If all users are skipped, both means
    are NaN. The plain mean is Eq. (11) of MARN (arXiv 2003.07162), except for ties.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        user: any sortable id, [n].
        strict: a tie counts 0, as Eq. (11) is printed, and not one half; a constant score then has an AUC of 0.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.

    >>> user_auc([0, 1, 0, 1, 1], [0.1, 0.9, 0.8, 0.2, 0.5], ["ann", "ann", "ben", "ben", "cem"])
    (0.5, 0.5, 2, 1)
    """
    positive, score = _checked(label, score, "user_auc")
    user = _groups(user, positive, "user_auc", "user")
    users = user.max(initial=-1) + 1
    num_pos, num_neg = (np.bincount(user[which], minlength=users) for which in (positive, ~positive))
    both = (num_pos > 0) & (num_neg > 0)
    counted, skipped = int(both.sum()), int(((num_pos + num_neg > 0) & ~both).sum())
    if not counted:
        return float("nan"), float("nan"), 0, skipped
    key = (
        user * len(score) + np.unique(score, return_inverse=True)[1]
    )  # sorting by it keeps each user's rows together, in order of score
    wins = _twice_below(key[positive], key[~positive], strict)
    user = np.sort(user[positive])
    # negatives of earlier users were counted twice; subtract them
    wins = np.bincount(user, wins - 2 * (num_neg.cumsum() - num_neg)[user], minlength=users)
    each = wins[both] / (2 * num_pos[both] * num_neg[both])
    return float(np.average(each, weights=(num_pos + num_neg)[both])), float(each.mean()), counted, skipped


def sessions(user: ArrayLike, time: ArrayLike, gap: int = SESSION_GAP) -> np.ndarray:
    """Number the sessions: rows of one user, each at most `gap` microseconds after the user's row before it, [n].

    Gaps are counted between the given rows: rows that are not among them join nothing. Rows may come in any order.

    Args:
        user: any sortable id, [n].
        time: microseconds, [n].
        gap: the longest gap inside a session; 30 minutes by default.

    Raises:
        ValueError: lengths differ.

    >>> minute = 60_000_000
    >>> sessions(["ann", "ann", "ben", "ann"], [0, 30 * minute, 0, 61 * minute]).tolist()
    [0, 0, 2, 1]
    """
    user, time = np.unique(np.asarray(user), return_inverse=True)[1], np.asarray(time)
    if time.shape != user.shape:
        raise ValueError(f"sessions needs one time per user, got {len(user)} and {list(time.shape)}")
    order = np.lexsort((time, user))
    starts = (np.diff(user[order]) != 0) | (np.diff(time[order]) > gap)
    found = np.zeros(len(user), np.int64)
    found[order[1:]] = np.cumsum(starts)
    return found


def user_session_auc(label: ArrayLike, score: ArrayLike, user: ArrayLike, time: ArrayLike) -> tuple[float, int, int]:
    """Return the AUC within one user and session: mean weighted by rows, sessions counted, sessions skipped.

    A session is the rows of one user that are at most 30 minutes apart, see `sessions`; gaps are counted between the
    scored rows. Sessions whose rows are all positive or all negative have no AUC and are skipped. If all are skipped,
    the mean is NaN.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        user: any sortable id, [n].
        time: microseconds, [n].

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.

    >>> minute = 60_000_000
    >>> user_session_auc([0, 1, 1, 0], [0.1, 0.9, 0.2, 0.8], [7, 7, 7, 7], [0, 30 * minute, 90 * minute, 91 * minute])
    (0.5, 2, 0)
    """
    weighted, _, counted, skipped = user_auc(label, score, sessions(user, time))
    return weighted, counted, skipped


def activity_groups(clicks: ArrayLike, shares: tuple[float, ...] = (0.6, 0.9)) -> tuple[int, ...]:
    """Choose the cuts that divide users by activity into groups of about 60, 30 and 10 %.

    AQCL (arXiv 2109.13921) section 3.2. Users with equally many clicks stay together. So each cut is the number of
    clicks whose share of users at or below it is nearest to the wanted share; of two equally near, the smaller. A group
    may be empty.

    Args:
        clicks: training clicks of each user, [U]; users without clicks are not counted, and belong to the first group.
        shares: wanted shares of users up to each cut, ascending.

    Returns:
        The most clicks in each group except the last; `np.searchsorted(cuts, clicks)` numbers the groups. On Amazon
        Beauty they are (5, 12): up to 5 clicks, 6 to 12, and more.

    Raises:
        ValueError: no user has a click.

    >>> activity_groups([1, 1, 1, 1, 1, 1, 2, 3, 4, 9])
    (1, 4)
    """
    clicks = np.asarray(clicks)
    count, users = np.unique(clicks[clicks > 0], return_counts=True)
    if not len(count):
        raise ValueError("activity_groups needs a user with a click, got none")
    below = users.cumsum() / users.sum()
    return tuple(int(count[np.abs(below - share).argmin()]) for share in shares)


def group_auc(label: ArrayLike, score: ArrayLike, group: ArrayLike, num_groups: int) -> list[float]:
    """Return the AUC over the rows of each group; NaN where a group lacks positives or negatives.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        group: number of each row's group, in [0, num_groups), [n].
        num_groups: number of groups.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    positive, score = _checked(label, score, "group_auc")
    group = np.asarray(group)
    if group.shape != positive.shape:
        raise ValueError(f"group_auc needs one group per label, got {len(positive)} and {list(group.shape)}")
    each = []
    for number in range(num_groups):
        rows = group == number
        both = 0 < positive[rows].sum() < rows.sum()
        each.append(auc(positive[rows], score[rows]) if both else float("nan"))
    return each


def concordance(value: ArrayLike, score: ArrayLike) -> float:
    """Return the share of pairs of rows with different values that the score orders correctly; a tie counts one half.

    It is the AUC for outcomes other than 0 and 1, such as the share of a video that was watched; for 0 and 1 it equals
    the AUC. NaN where all values are equal, or there is no row.

    Args:
        value: the outcome, [n].
        score: any monotone score, [n].

    Raises:
        ValueError: lengths differ, or a value or a score is NaN.

    >>> concordance([0.0, 0.5, 1.0], [1, 3, 2])
    0.6666666666666666
    """
    value, score = np.asarray(value), np.asarray(score)
    if value.ndim != 1 or value.shape != score.shape:
        raise ValueError(f"concordance needs two lists of one length, got {list(value.shape)} and {list(score.shape)}")
    if np.isnan(value).any() or np.isnan(score).any():
        raise ValueError("concordance needs numbers, got NaN")
    value, rank = (np.unique(column, return_inverse=True)[1] for column in (value, score))

    def equal(column: np.ndarray) -> int:
        count = np.unique(column, return_counts=True)[1]
        return int((count * (count - 1) // 2).sum())

    both = value * (rank.max(initial=0) + 1) + rank
    different = len(value) * (len(value) - 1) // 2 - equal(value)
    if not different:
        return float("nan")
    # rows in order of value, equal values in order of score: among equal values every pair of scores ascends
    right = _ascending(rank[np.argsort(both)]) - (equal(value) - equal(both))
    return (2 * right + equal(rank) - equal(both)) / (2 * different)


REPLAY = "replay of logged impressions: biased by the policy that chose what to show"


def rank_score(
    click: ArrayLike, conversion: ArrayLike, length: ArrayLike, a: float = 1.0, b: float = 1.0, c: float = 1.0
) -> np.ndarray:
    """Return log(pCTR^a pCVR^b length^c), LT4REC (arXiv 2008.09872) Eq. (3).

    Args:
        click, conversion: logits, [n].
        length: how long each item takes, above 0, in any unit, [n].
        a, b, c: exponents of the equation.
    """
    click, conversion, length = (np.asarray(x, dtype=np.float64) for x in (click, conversion, length))
    return -a * np.logaddexp(0, -click) - b * np.logaddexp(0, -conversion) + c * np.log(length)


def replay(score: ArrayLike, value: ArrayLike, group: ArrayLike, tops: tuple[int, ...] = (1, 3, 5)) -> dict[int, float]:
    """Return the mean logged value of the rows that the score ranks in the top K of their group, per K.

    This is a replay of logged impressions: biased by the policy that chose what to show. Groups with fewer than K rows
    are left out, since all their rows are in the top K. NaN where no group is left.

    Args:
        score: any monotone score, [n]; ties keep the order of the rows.
        value: the logged value of each row, such as seconds watched, [n].
        group: rows that compete with each other, such as the impressions of a user and day; any sortable id, [n].
        tops: the depths K.

    Raises:
        ValueError: lengths differ.
    """
    score, value, group = (np.asarray(x) for x in (score, value, group))
    if not len(score) == len(value) == len(group):
        raise ValueError(f"replay needs lists of one length, got {len(score)}, {len(value)} and {len(group)}")
    order = np.lexsort((np.arange(len(score)), -score, group))
    _, first, count = np.unique(group[order], return_index=True, return_counts=True)
    place = np.arange(len(score)) - np.repeat(first, count)
    size, means = np.repeat(count, count), {}
    for top in tops:
        chosen = value[order][(place < top) & (size >= top)]
        means[top] = float(chosen.mean()) if len(chosen) else float("nan")
    return means


def popularity_levels(count: ArrayLike, levels: int = 10) -> np.ndarray:
    """Divide items into levels of equal size by popularity, 0 the least popular.

    MARN (arXiv 2003.07162), section 4.6.1. Items with equal counts stay together, on the level of the middle one of
    them.

    Args:
        count: how often each item occurs, [n].
        levels: number of levels.

    >>> popularity_levels([5, 1, 9, 1], levels=2).tolist()
    [1, 0, 1, 0]
    """
    count = np.asarray(count)
    ordered = np.sort(count)
    middle = (np.searchsorted(ordered, count, "left") + np.searchsorted(ordered, count, "right")) / 2
    return np.floor(levels * middle / max(len(count), 1)).astype(np.int64)


def popularity_auc(
    label: ArrayLike, score: ArrayLike, item: ArrayLike, count: ArrayLike, levels: int = 10
) -> list[float]:
    """Return the AUC over the rows of each popularity level of items, the least popular first; Table 4 of MARN.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        item: number of the item of each row, [n].
        count: how often each item occurred before, [num_items]; only items with a row are divided into levels.
        levels: number of levels.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    items, place = np.unique(np.asarray(item), return_inverse=True)
    return group_auc(label, score, popularity_levels(np.asarray(count)[items], levels)[place], levels)


def unseen_recall(user: ArrayLike, clicked: ArrayLike, pool: ArrayLike, at: Sequence[int]) -> list[float]:
    """Return the share of clicks whose item is among the N items of the pool nearest to the user by cosine, per N.

    Table 5 of MARN (arXiv 2003.07162), where the pool is the items without a training row. A tie counts half a place.

    Args:
        user: one vector per click, [n, d].
        clicked: row of the pool that was clicked, [n].
        pool: vectors of the items, [P, d]; a zero vector has a cosine of 0 with every user.
        at: the numbers N.

    Raises:
        ValueError: there is no click, or one is not in the pool.
    """
    user, clicked, pool = (np.asarray(x) for x in (user, clicked, pool))
    if not len(clicked):
        raise ValueError("unseen_recall needs at least one click, got none")
    if clicked.min() < 0 or clicked.max() >= len(pool):
        raise ValueError(
            f"clicked items must be rows of the pool, [0, {len(pool)}), got {clicked.min()} to {clicked.max()}"
        )
    user, pool = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (user, pool))
    places = []
    for start in range(0, len(user), 1024):
        near = user[start : start + 1024] @ pool.T
        own = np.take_along_axis(near, clicked[start : start + 1024, None], 1)
        places.append((near > own).sum(1) + ((near == own).sum(1) - 1) / 2)
    place = np.concatenate(places)
    return [float((place < n).mean()) for n in at]


def logloss(label: ArrayLike, logit: ArrayLike) -> float:
    """Return the mean negative log likelihood in nats, computed from logits, so that no probability is clipped.

    Args:
        label: 0 or 1, [n].
        logit: log odds of a positive, [n].

    Raises:
        ValueError: n = 0, lengths differ, a label is not 0 or 1, or a logit is NaN.

    >>> round(logloss([1, 0], [0.0, -1000.0]), 4)
    0.3466
    """
    positive, logit = _checked(label, logit, "logloss")
    if not len(positive):
        raise ValueError("logloss needs at least one row, got none")
    return float(_loss_each(positive, logit).mean())


def balanced_logloss(label: ArrayLike, logit: ArrayLike) -> float:
    """Return the log loss at one negative per positive: the mean of the losses over positives and over negatives.

    It is the expectation of `logloss` when one uniform negative is drawn per positive, so it does not depend on the
    number of negatives. A constant logit of 0 gives ln 2.

    Raises:
        ValueError: as `auc`.
    """
    positive, logit = _two_classes(label, logit, "balanced_logloss")
    each = _loss_each(positive, logit)
    return float(0.5 * each[positive].mean() + 0.5 * each[~positive].mean())


def calibrate_shift(logit: ArrayLike, r_train: float, r_test: float) -> np.ndarray:
    """Shift logits from one class ratio to another by log(r_train / r_test), the prior correction.

    Args:
        logit: log odds at the class ratio of training, any shape.
        r_train: negatives per positive in training.
        r_test: negatives per positive in test; from 1 in training to 1000 in test, each logit falls by ln 1000.

    Raises:
        ValueError: a ratio is not above 0.
    """
    if not (0 < r_train < np.inf and 0 < r_test < np.inf):
        raise ValueError(f"negatives per positive must be above 0, got r_train={r_train} and r_test={r_test}")
    return np.asarray(logit) + np.log(r_train / r_test)


def gap_closed(auc: float, floor: float, ceiling: float) -> float:
    """Return the share of the way from floor to ceiling: 0 at the floor, 1 at the ceiling, negative below the floor.

    Raises:
        ValueError: the ceiling is not above the floor.

    >>> gap_closed(0.75, floor=0.5, ceiling=1.0)
    0.5
    """
    if not ceiling > floor:
        raise ValueError(f"gap_closed needs a ceiling above the floor, got floor {floor} and ceiling {ceiling}")
    return (auc - floor) / (ceiling - floor)


def _checked(label: ArrayLike, score: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and scores; return labels as bool and scores as an array."""
    label, score = np.asarray(label), np.asarray(score)
    if label.ndim != 1 or label.shape != score.shape:
        raise ValueError(f"{name} needs two lists of one length, got {list(label.shape)} and {list(score.shape)}")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"{name} needs labels of 0 or 1, got {label[~np.isin(label, (0, 1))][0]}")
    if np.isnan(score).any():
        raise ValueError(f"{name} needs numbers, got NaN in {int(np.isnan(score).sum())} of {len(score)} scores")
    return label.astype(bool), score


def _two_classes(label: ArrayLike, score: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check as `_checked` does, and also that there is a positive and a negative."""
    positive, score = _checked(label, score, name)
    num_pos = int(positive.sum())
    if num_pos in (0, len(positive)):
        raise ValueError(f"{name} needs both classes, got {num_pos} positives and {len(positive) - num_pos} negatives")
    return positive, score


def _twice_below(score: np.ndarray, others: np.ndarray, strict: bool = False) -> np.ndarray:
    """Return twice the number of `others` below each score, in ascending order of score; int64.

    A tie counts 1, or 0 if `strict`.
    """
    score, others = np.sort(score), np.sort(others)
    return np.searchsorted(others, score, "left") + np.searchsorted(others, score, "left" if strict else "right")


def _ascending(rank: np.ndarray) -> int:
    """Count the pairs of places i < j with rank_i < rank_j, each at the highest bit in which the two ranks differ."""
    total = 0
    for bit in range(int(rank.max(initial=0)).bit_length()):
        group = rank >> (bit + 1)
        order = np.argsort(group, kind="stable")
        group, one = group[order], (rank[order] >> bit & 1).astype(bool)
        zeros = np.cumsum(~one)
        first = np.searchsorted(group, group[one])  # first row of the same group
        total += int((zeros[one] - (zeros - ~one)[first]).sum())
    return total


def _groups(group: ArrayLike, positive: np.ndarray, name: str, what: str) -> np.ndarray:
    """Check that each row has a group, and number the groups from 0; a number may have no rows."""
    group = np.asarray(group)
    if group.shape != positive.shape:
        raise ValueError(f"{name} needs one {what} per label, got {len(positive)} and {list(group.shape)}")
    dense = group.dtype.kind in "iu" and len(group) and group.min() >= 0 and group.max() <= 4 * len(group)
    return group.astype(np.int64) if dense else np.unique(group, return_inverse=True)[1]


def _loss_each(positive: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Return log(1 + e^-z) for positives and log(1 + e^z) for negatives without overflow, [n] float64."""
    wrong = np.where(positive, -logit, logit).astype(np.float64)
    return np.maximum(wrong, 0) + np.log1p(np.exp(-np.abs(wrong)))
