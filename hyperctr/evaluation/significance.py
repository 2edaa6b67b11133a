"""Say whether a gain is real: 95 % intervals over seeds, paired differences, relative improvement, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    pass


def relaimpr(auc: float, base: float) -> float:
    """Return RelaImpr, the gain over a base model in AUC above chance, as a fraction (0.1 is 10 %).

    Yan et al., ICML 2014: (auc - 0.5) / (base - 0.5) - 1.

    Raises:
        ValueError: the base is not better than chance, so that the ratio says nothing.
    """
    if not base > 0.5:
        raise ValueError(f"relaimpr needs a base above 0.5, got {base}")
    return (auc - 0.5) / (base - 0.5) - 1


def relaimpr_interval(auc: ArrayLike, base: ArrayLike) -> tuple[float, float]:
    """Return RelaImpr of the mean AUCs and the half-width of its 95 % t interval, for runs that share a seed.

    The interval is that of a ratio of paired means (delta method). One run has a half-width of NaN; where the mean base
    is not better than chance both numbers are NaN.

    Raises:
        ValueError: the lists differ in length, are empty, or hold what is not finite.
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
        ValueError: there is no value, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"mean_interval needs a list of finite numbers, got {values.tolist()}")
    if len(values) == 1:
        return float(values[0]), float("nan")
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def paired_interval(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """Return the mean of a - b and the half-width of its 95 % t interval, pair by pair, for runs that share a seed.

    Raises:
        ValueError: the lists differ in length, or as `mean_interval`.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired_interval needs as many values of each, got {a.size} and {b.size}")
    return mean_interval(a - b)


@dataclass(frozen=True)
class Score:
    """A mean with the half-width of its 95 % interval."""

    mean: float
    half: float
    """NaN where it is unknown."""
    num: int
    """Seeds it is a mean of; with one seed the interval comes from the scored rows (DeLong)."""


def score(rows: list[dict], column: str = "auc") -> Score:
    """Mean of a column over the runs of a cell; one run has the interval of its AUC, and no other column has one.

    A run without the score, such as user AUC where no user has both a click and a non-click, gives NaN.
    """
    if any(math.isnan(row[column]) for row in rows):
        return Score(math.nan, math.nan, len(rows))
    if len(rows) >= 2:
        return Score(*mean_interval([row[column] for row in rows]), len(rows))
    (row,) = rows
    return Score(row[column], (row["auc_high"] - row["auc_low"]) / 2 if column == "auc" else math.nan, 1)


def difference(rows: list[dict], base: list[dict], column: str = "auc") -> Score | None:
    """A score of a cell over that of another, paired by seed; None where they share no seed that has it.

    With one shared seed the interval is that of two independent AUCs (DeLong). Both score the same rows, so it is too
    wide rather than too narrow; it knows nothing of what another seed would give.
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


def verdict(gain: Score | None) -> str:
    """better, worse or inconclusive: the interval of a difference lies above, below or across 0; one seed is said."""
    if gain is None:
        return "not compared"
    word = "better" if gain.mean > gain.half else "worse" if gain.mean < -gain.half else "inconclusive"
    return f"{word} (one seed)" if gain.num == 1 else word


def judge_gains(gains: Sequence[Score | None]) -> str:
    """reproduced if every gain lies above 0, contradicted if one lies below, else inconclusive, as with 1 or 2 seeds.

    From 3 seeds to 60 the t interval is never narrower than two standard errors.
    """
    words = ["inconclusive" if gain is None or gain.num < 3 else verdict(gain) for gain in gains]
    if "worse" in words:
        return "contradicted"
    return "reproduced" if set(words) == {"better"} else "inconclusive"


def too_few_seeds(seeds: int) -> str:
    """Why so few seeds decide nothing; "" from three on."""
    return (
        ""
        if seeds >= 3
        else "one seed: an interval needs more"
        if seeds == 1
        else f"{seeds} seeds: a verdict needs three"
    )
