"""How good scores are: AUC with ties, overall and in groups, log loss from logits, and what is uncertain about them.

Plain numpy, one pass of sorting each (20 million rows take seconds), no batch averaging. Every function takes arrays of
length n and returns floats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

NORMAL_95 = 1.959963984540054  # quantile 0.975 of the standard normal distribution


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Return the share of (positive, negative) pairs that the score orders rightly, a tie counting one half.

    Counted in integers, so it equals the count over all pairs exactly.

    Args:
        label: 1 for a positive, 0 for a negative, [n].
        score: any monotone score, logit or probability, [n].

    Raises:
        ValueError: there is no positive or no negative (n = 0 included), a label is not 0 or 1, or a score is NaN.
    """
    positive, score = _two_classes(label, score, "auc")
    below = _twice_below(score[positive], score[~positive])
    return int(below.sum()) / (2 * len(below) * (len(positive) - len(below)))


def auc_interval(label: ArrayLike, score: ArrayLike) -> float:
    """Return the half-width of the 95 % interval of the AUC (DeLong, DeLong & Clarke-Pearson, Biometrics 1988).

    It is the uncertainty from the rows that were scored, for one fixed model; it knows nothing of training seeds.
    With a single positive or a single negative the variance is unknown and the result is NaN.

    Raises:
        ValueError: as `auc`.
    """
    positive, score = _two_classes(label, score, "auc_interval")
    score, others = score[positive], score[~positive]
    if min(len(score), len(others)) < 2:
        return float("nan")
    # For each positive the share of negatives below it, for each negative the share of positives below it.
    shares = [_twice_below(a, b) / (2 * len(b)) for a, b in [(score, others), (others, score)]]
    return float(NORMAL_95 * np.sqrt(sum(share.var(ddof=1) / len(share) for share in shares)))


def positive_auc(label: ArrayLike, score: ArrayLike, query: ArrayLike) -> tuple[float, float]:
    """Return the mean over positives of the share of their own query's negatives below them, and its standard error.

    This is how a click is told from the negatives drawn for it; a tie counts one half. Positives without a negative are
    left out; if all are, both numbers are NaN, as is the error of a single one.

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
        raise ValueError(f"positive_auc needs one positive a query, got {np.bincount(query[positive]).max()} in one")
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
    """Return the AUC inside each user: weighted by the user's rows (gAUC), plain mean, users counted, users skipped.

    Users whose rows are all positive or all negative have no AUC and are skipped. If all are, both means are NaN. The
    plain mean is Eq. (11) of MARN (arXiv 2003.07162), but for ties.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        user: any sortable id, [n].
        strict: a tie counts nothing, as Eq. (11) is printed, instead of one half; a constant score then has 0.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    positive, score = _checked(label, score, "user_auc")
    user = _groups(user, positive, "user_auc", "user")
    users = user.max(initial=-1) + 1
    num_pos, num_neg = (np.bincount(user[which], minlength=users) for which in (positive, ~positive))
    both = (num_pos > 0) & (num_neg > 0)
    counted, skipped = int(both.sum()), int(((num_pos + num_neg > 0) & ~both).sum())
    if not counted:
        return float("nan"), float("nan"), 0, skipped
    key = user * len(score) + np.unique(score, return_inverse=True)[1]  # sorted, a user's rows lie together by score
    wins = _twice_below(key[positive], key[~positive], strict)
    user = np.sort(user[positive])
    # negatives of users before count twice, and are taken off
    wins = np.bincount(user, wins - 2 * (num_neg.cumsum() - num_neg)[user], minlength=users)
    each = wins[both] / (2 * num_pos[both] * num_neg[both])
    return float(np.average(each, weights=(num_pos + num_neg)[both])), float(each.mean()), counted, skipped


def activity_groups(clicks: ArrayLike, shares: tuple[float, ...] = (0.6, 0.9)) -> tuple[int, ...]:
    """Return the most clicks of a user of each group but the last: users by activity, at about 60, 30 and 10 %.

    AQCL (arXiv 2109.13921) section 3.2. Users of equally many clicks stay together, so each cut is the one whose share
    of users below or at it comes nearest to the wanted one, of two as near the smaller; groups may be empty.

    Args:
        clicks: training clicks of each user, [U]; users without any say nothing about the cuts, they are below all.
        shares: of the users up to each cut, ascending.

    Returns:
        on Amazon Beauty (5, 12): up to 5 clicks, 6 to 12, and more; `np.searchsorted(cuts, clicks)` numbers the groups.

    Raises:
        ValueError: no user has a click.
    """
    clicks = np.asarray(clicks)
    count, users = np.unique(clicks[clicks > 0], return_counts=True)
    if not len(count):
        raise ValueError("activity_groups needs a user with a click, got none")
    below = users.cumsum() / users.sum()
    return tuple(int(count[np.abs(below - share).argmin()]) for share in shares)


def group_auc(label: ArrayLike, score: ArrayLike, group: ArrayLike, num_groups: int) -> list[float]:
    """Return the AUC over the rows of each group, NaN where they lack a label.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        group: number of the group in [0, num_groups) that a row belongs to, [n].
        num_groups: how many there are.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    positive, score = _checked(label, score, "group_auc")
    group = np.asarray(group)
    if group.shape != positive.shape:
        raise ValueError(f"group_auc needs one group per label, got {len(positive)} and {list(group.shape)}")
    found = []
    for number in range(num_groups):
        rows = group == number
        both = 0 < positive[rows].sum() < rows.sum()
        found.append(auc(positive[rows], score[rows]) if both else float("nan"))
    return found


def concordance(value: ArrayLike, score: ArrayLike) -> float:
    """Return the share of pairs of rows of different values that the score orders rightly, a tie counting one half.

    The AUC of outcomes that are not only 0 and 1, such as the share of a video that was watched; of 0 and 1 it is the
    AUC. NaN where all values are equal, or there are none.

    Args:
        value: what happened, [n].
        score: any monotone score, [n].

    Raises:
        ValueError: lengths differ, or a value or a score is NaN.
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
    # rows in order of value, those of one value in order of score: there every pair of different scores ascends
    right = _ascending(rank[np.argsort(both)]) - (equal(value) - equal(both))
    return (2 * right + equal(rank) - equal(both)) / (2 * different)


REPLAY = "replay of logged impressions: biased by the policy that chose what to show"


def rank_score(
    click: ArrayLike, conversion: ArrayLike, length: ArrayLike, a: float = 1.0, b: float = 1.0, c: float = 1.0
) -> np.ndarray:
    """Return log(pCTR^a pCVR^b length^c), LT4REC (arXiv 2008.09872) Eq. (3).

    Args:
        click, conversion: logits, [n].
        length: how long each item takes, above 0, [n].
    """
    click, conversion, length = (np.asarray(x, dtype=np.float64) for x in (click, conversion, length))
    return -a * np.logaddexp(0, -click) - b * np.logaddexp(0, -conversion) + c * np.log(length)


def replay(score: ArrayLike, value: ArrayLike, group: ArrayLike, tops: tuple[int, ...] = (1, 3, 5)) -> dict[int, float]:
    """Return the mean logged value of the rows that the score ranks first in their group, for each depth; see `REPLAY`.

    Groups of fewer rows than the depth are left out: there everything is first. NaN where none is left.

    Args:
        score: any monotone score, [n]; ties keep the order of the rows.
        value: what the log says of the row, such as seconds watched, [n].
        group: what competed with what, such as the impressions of a user and day; any sortable id, [n].
        tops: depths.

    Raises:
        ValueError: lengths differ.
    """
    score, value, group = (np.asarray(x) for x in (score, value, group))
    if not len(score) == len(value) == len(group):
        raise ValueError(f"replay needs lists of one length, got {len(score)}, {len(value)} and {len(group)}")
    order = np.lexsort((np.arange(len(score)), -score, group))
    _, first, count = np.unique(group[order], return_index=True, return_counts=True)
    place = np.arange(len(score)) - np.repeat(first, count)
    large, found = np.repeat(count, count), {}
    for top in tops:
        chosen = value[order][(place < top) & (large >= top)]
        found[top] = float(chosen.mean()) if len(chosen) else float("nan")
    return found


def popularity_levels(count: ArrayLike, levels: int = 10) -> np.ndarray:
    """Return the level of each item by how often it was met, 0 the least: as many items a level as ties allow.

    MARN (arXiv 2003.07162), section 4.6.1. Items that were met equally often stay together, where their middle lies.

    Args:
        count: how often each item was met, [n].
        levels: how many there are.
    """
    count = np.asarray(count)
    ordered = np.sort(count)
    middle = (np.searchsorted(ordered, count, "left") + np.searchsorted(ordered, count, "right")) / 2
    return np.floor(levels * middle / max(len(count), 1)).astype(np.int64)


def popularity_auc(
    label: ArrayLike, score: ArrayLike, item: ArrayLike, count: ArrayLike, levels: int = 10
) -> list[float]:
    """Return the AUC over the rows of each popularity level of their items, the least popular first; Table 4 of MARN.

    Args:
        label: 0 or 1, [n].
        score: any monotone score, [n].
        item: number of the item of each row, [n].
        count: how often each item was met before, [num_items]; only items with a row are divided into levels.
        levels: how many there are.

    Raises:
        ValueError: lengths differ, a label is not 0 or 1, or a score is NaN.
    """
    found, place = np.unique(np.asarray(item), return_inverse=True)
    return group_auc(label, score, popularity_levels(np.asarray(count)[found], levels)[place], levels)


def unseen_recall(user: ArrayLike, clicked: ArrayLike, pool: ArrayLike, at: Sequence[int]) -> list[float]:
    """Return the share of clicks whose item is among the N of the pool that are nearest to the user, by cosine.

    Table 5 of MARN (arXiv 2003.07162), where the pool are the items without a training row. A tie counts half a place.

    Args:
        user: a vector for each click, [n, d].
        clicked: row of the pool that was clicked, [n].
        pool: vectors of the items, [P, d]; a zero vector is as near to everybody as one at a right angle.
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
    """Return the mean negative log likelihood in nats, from logits: no probability is formed, so nothing is clipped.

    Args:
        label: 0 or 1, [n].
        logit: log odds of a positive, [n].

    Raises:
        ValueError: n = 0, lengths differ, a label is not 0 or 1, or a logit is NaN.
    """
    positive, logit = _checked(label, logit, "logloss")
    if not len(positive):
        raise ValueError("logloss needs at least one row, got none")
    return float(_loss_each(positive, logit).mean())


def balanced_logloss(label: ArrayLike, logit: ArrayLike) -> float:
    """Return the log loss at one negative per positive: half the mean over positives, half the mean over negatives.

    It is the expectation of `logloss` when one uniform negative is drawn for each positive, so it does not depend on
    how many negatives were scored. A constant logit of 0 gives ln 2.

    Raises:
        ValueError: as `auc`.
    """
    positive, logit = _two_classes(label, logit, "balanced_logloss")
    each = _loss_each(positive, logit)
    return float(0.5 * each[positive].mean() + 0.5 * each[~positive].mean())


def calibrate_shift(logit: ArrayLike, r_train: float, r_test: float) -> np.ndarray:
    """Return logits moved from one class ratio to another by log(r_train / r_test), the prior correction.

    Args:
        logit: log odds under the ratio of training, any shape.
        r_train: negatives per positive that the model was trained on.
        r_test: negatives per positive that it is tested on; 1000 after training at 1 lowers each logit by ln 1000.

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
    """
    if not ceiling > floor:
        raise ValueError(f"closed needs a ceiling above the floor, got floor {floor} and ceiling {ceiling}")
    return (auc - floor) / (ceiling - floor)


def _checked(label: ArrayLike, score: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as bool and scores as they are, after checking both."""
    label, score = np.asarray(label), np.asarray(score)
    if label.ndim != 1 or label.shape != score.shape:
        raise ValueError(f"{name} needs two lists of one length, got {list(label.shape)} and {list(score.shape)}")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"{name} needs labels of 0 or 1, got {label[~np.isin(label, (0, 1))][0]}")
    if np.isnan(score).any():
        raise ValueError(f"{name} needs numbers, got NaN in {int(np.isnan(score).sum())} of {len(score)} scores")
    return label.astype(bool), score


def _two_classes(label: ArrayLike, score: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check as `_checked` does, and that there is a positive and a negative."""
    positive, score = _checked(label, score, name)
    num_pos = int(positive.sum())
    if num_pos in (0, len(positive)):
        raise ValueError(f"{name} needs both classes, got {num_pos} positives and {len(positive) - num_pos} negatives")
    return positive, score


def _twice_below(score: np.ndarray, others: np.ndarray, strict: bool = False) -> np.ndarray:
    """Return twice the number of others below each score, in ascending order of score; int64.

    A tie counts one, or nothing if `strict`.
    """
    score, others = np.sort(score), np.sort(others)
    return np.searchsorted(others, score, "left") + np.searchsorted(others, score, "left" if strict else "right")


def _ascending(rank: np.ndarray) -> int:
    """Return the number of pairs of places i < j with rank_i < rank_j; each is counted at its highest differing bit."""
    total = 0
    for bit in range(int(rank.max(initial=0)).bit_length()):
        group = rank >> (bit + 1)
        order = np.argsort(group, kind="stable")
        group, one = group[order], (rank[order] >> bit & 1).astype(bool)
        zeros = np.cumsum(~one)
        first = np.searchsorted(group, group[one])  # of the group that a row belongs to
        total += int((zeros[one] - (zeros - ~one)[first]).sum())
    return total


def _groups(group: ArrayLike, positive: np.ndarray, name: str, what: str) -> np.ndarray:
    """Return groups as whole numbers from 0, not all of which need have rows, after checking that each row has one."""
    group = np.asarray(group)
    if group.shape != positive.shape:
        raise ValueError(f"{name} needs one {what} per label, got {len(positive)} and {list(group.shape)}")
    few = group.dtype.kind in "iu" and len(group) and group.min() >= 0 and group.max() <= 4 * len(group)
    return group.astype(np.int64) if few else np.unique(group, return_inverse=True)[1]


def _loss_each(positive: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Return log(1 + e^-z) for positives and log(1 + e^z) for negatives without overflow, [n] float64."""
    wrong = np.where(positive, -logit, logit).astype(np.float64)
    return np.maximum(wrong, 0) + np.log1p(np.exp(-np.abs(wrong)))
