"""Decide whether a gain is real: 95 % intervals over seeds, paired differences, RelaImpr, and verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


def relaimpr(auc: float, base: float) -> float:
    """Return RelaImpr, the gain over a base model in AUC above chance, as a fraction (0.1 is 10 %).

    Yan et al., ICML 2014: (auc - 0.5) / (base - 0.5) - 1.

    Raises:
        ValueError: the base is not better than chance, so that the ratio has no meaning.

    >>> round(relaimpr(0.76, base=0.75), 4)
    0.04
    """
    if not base > 0.5:
        raise ValueError(f"relaimpr needs a base above 0.5, got {base}")
    return (auc - 0.5) / (base - 0.5) - 1


def relaimpr_interval(auc: ArrayLike, base: ArrayLike) -> tuple[float, float]:
    """Return RelaImpr of the mean AUCs and the half-width of its 95 % t interval, for runs that share a seed.

    The interval is the delta-method interval of a ratio of paired means. With one run the half-width is NaN. If the
    mean base is not better than chance, both numbers are NaN.

    Raises:
        ValueError: the lists differ in length, are empty, or have a number that is not finite.
    """
    gain, above = np.asarray(auc, dtype=np.float64) - 0.5, np.asarray(base, dtype=np.float64) - 0.5
    paired_interval(gain, above)
    if not above.mean() > 0:
        return float("nan"), float("nan")
    ratio = gain.mean() / above.mean()
    return float(ratio - 1), paired_interval(gain, ratio * above)[1] / float(above.mean())


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the mean and the half-width of its 95 % t interval; one value has a half-width of NaN.

    Raises:
        ValueError: there is no value, or a value is not finite.

    >>> mean, half = mean_interval([0.70, 0.72, 0.74])
    >>> f"{mean:.3f} ± {half:.3f}"
    '0.720 ± 0.050'
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"mean_interval needs a list of finite numbers, got {values.tolist()}")
    if len(values) == 1:
        return float(values[0]), float("nan")
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def paired_interval(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """Return the mean of a - b over pairs, and the half-width of its 95 % t interval, for runs that share a seed.

    Raises:
        ValueError: the lists differ in length, or as `mean_interval`.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired_interval needs two lists of one length, got {a.size} and {b.size}")
    return mean_interval(a - b)


@dataclass(frozen=True)
class Score:
    """A mean over seeds with the half-width of its 95 % interval."""

    mean: float
    half: float
    """NaN where it is unknown."""
    num: int
    """Number of seeds; with one seed the interval comes from the scored rows (DeLong)."""


def score(rows: list[dict], column: str = "auc") -> Score:
    """Average a column over the runs of a cell, with its interval over seeds.

    One run has the DeLong interval of its AUC; in other columns its half-width is NaN. A run without a score gives NaN
    (user AUC where no user has both a click and a non-click).

    Args:
        rows: runs that differ only in their seed, each with its column, and with `auc_low` and `auc_high`.
        column: the score.
    """
    if any(math.isnan(row[column]) for row in rows):
        return Score(math.nan, math.nan, len(rows))
    if len(rows) >= 2:
        return Score(*mean_interval([row[column] for row in rows]), len(rows))
    (row,) = rows
    return Score(row[column], (row["auc_high"] - row["auc_low"]) / 2 if column == "auc" else math.nan, 1)


def difference(rows: list[dict], base: list[dict], column: str = "auc") -> Score | None:
    """Subtract the score of a base cell from the score of a cell, paired by seed; None without a shared seed.

    With one shared seed the interval is that of two independent AUCs (DeLong). Both score the same rows, so the
    interval is too wide rather than too narrow. It does not include the spread over seeds.

    Args:
        rows, base: runs of the two cells, as in `score`; a seed whose score is NaN is left out.
        column: the score.
    """
    ours, theirs = ({row["seed"]: row for row in side if not math.isnan(row[column])} for side in (rows, base))
    seeds = sorted(set(ours) & set(theirs))
    if len(seeds) >= 2:
        pairs = ([side[s][column] for s in seeds] for side in (ours, theirs))
        return Score(*paired_interval(*pairs), len(seeds))
    if not seeds:
        return None
    one, other = score([ours[seeds[0]]], column), score([theirs[seeds[0]]], column)
    return Score(one.mean - other.mean, math.hypot(one.half, other.half), 1)


def disagreement(auc: float, user_auc: float) -> str:
    """Say in words that AUC rises and user AUC falls, or the reverse; "" where both gains point one way or one is 0.

    Args:
        auc, user_auc: the gains; NaN for unknown.

    >>> disagreement(0.02, -0.004), disagreement(0.02, 0.01)
    ('raises AUC by 0.0200 and lowers user AUC by 0.0040', '')
    """
    if not auc * user_auc < 0:
        return ""
    words = "raises" if auc > 0 else "lowers", "raises" if user_auc > 0 else "lowers"
    return f"{words[0]} AUC by {abs(auc):.4f} and {words[1]} user AUC by {abs(user_auc):.4f}"


def torn(rows: list[dict], base: list[dict]) -> str:
    """Return `disagreement` of the mean gains of a cell over a base cell, paired by seed; "" without a shared seed."""
    gains = [difference(rows, base, column) for column in ("auc", "user_auc")]
    return "" if None in gains else disagreement(*(gain.mean for gain in gains))


def verdict(gain: Score | None) -> str:
    """Return "better", "worse" or "inconclusive": the interval is above 0, below 0, or contains 0.

    The verdict of a single seed says so. Without a gain it is "not compared".

    >>> verdict(Score(0.010, 0.004, 5)), verdict(Score(0.010, 0.020, 5)), verdict(Score(-0.010, 0.004, 1))
    ('better', 'inconclusive', 'worse (one seed)')
    """
    if gain is None:
        return "not compared"
    word = "better" if gain.mean > gain.half else "worse" if gain.mean < -gain.half else "inconclusive"
    return f"{word} (one seed)" if gain.num == 1 else word


def p_value(gain: Score) -> float:
    """Return the two-sided p of a paired t test over seeds, from the mean of the differences and its 95 % interval."""
    from scipy import stats

    if gain.half == 0:
        return float(gain.mean == 0)
    t = abs(gain.mean) / gain.half * stats.t.ppf(0.975, gain.num - 1)
    return float(2 * stats.t.sf(t, gain.num - 1))


def judge_gains(gains: Sequence[Score | None]) -> str:
    """Return "contradicted" if any gain is worse, "reproduced" if all are better, else "inconclusive".

    A gain is judged by `verdict`; with fewer than 3 seeds it is inconclusive. From 3 seeds to 60 the t interval is
    never narrower than two standard errors.

    >>> judge_gains([Score(0.010, 0.004, 5), Score(0.006, 0.005, 5)])
    'reproduced'
    >>> judge_gains([Score(0.010, 0.004, 5), Score(0.010, 0.004, 2)])
    'inconclusive'
    """
    words = ["inconclusive" if gain is None or gain.num < 3 else verdict(gain) for gain in gains]
    if "worse" in words:
        return "contradicted"
    return "reproduced" if set(words) == {"better"} else "inconclusive"


def too_few_seeds(seeds: int) -> str:
    """Return why a number of seeds is too small for a verdict; "" from 3 seeds on."""
    if seeds >= 3:
        return ""
    return "one seed: an interval needs more" if seeds == 1 else f"{seeds} seeds: a verdict needs three"
