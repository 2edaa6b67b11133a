"""Normal scores: a number by its rank among training rows, as the quantile of a normal distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from hyperctr.data.lookup import address, library
from hyperctr.layers.bodies import choose

QUANTILES = 129  # of each number, between which the rank is interpolated
KNOTS = 17  # of the piecewise linear embedding
FITTED = 100_000  # most rows that the quantiles are taken of


@dataclass(frozen=True)
class NormalScores:
    """How N numbers are read: z(x) = quantile of N(0, 1) at the share of training rows below x.

    Attributes:
        values: distinct quantiles of each number, ascending, padded with infinity, float64 [N, E].
        scores: their normal scores, padded with the last one, float64 [N, E].
        knots: normal scores between which an embedding is linear, float32 [N][at most KNOTS].

    >>> scores = NormalScores.fit(np.array([[1.0], [2.0], [3.0], [np.nan]]))
    >>> scores(np.array([[2.0], [9.0], [np.nan]])).ravel().round(2)
    array([0.  , 2.66,  nan], dtype=float32)
    """

    values: np.ndarray
    scores: np.ndarray
    knots: tuple[Tensor, ...]

    @classmethod
    def fit(cls, numbers: np.ndarray) -> NormalScores:
        """Take the quantiles of each column of the numbers, [n, N]; a column without a number has one, at 0."""
        share = np.linspace(0, 1, QUANTILES)
        level = ndtri(np.clip(share, 0.5 / QUANTILES, 1 - 0.5 / QUANTILES))
        values, scores, knots = [], [], []
        for column in numbers.T:
            there = column[~np.isnan(column)]
            found = np.quantile(there, share) if len(there) else np.zeros(QUANTILES)
            value, first, count = np.unique(found, return_index=True, return_counts=True)
            total = np.append(0.0, np.cumsum(level))
            score = (total[first + count] - total[first]) / count  # equal values share the mean of their ranks' scores
            values.append(np.pad(value, (0, QUANTILES - len(value)), constant_values=np.inf))
            scores.append(np.pad(score, (0, QUANTILES - len(score)), mode="edge"))
            at = np.unique(np.linspace(0, len(score) - 1, KNOTS).round().astype(int))
            knots.append(torch.from_numpy(score[at].astype(np.float32)))
        return cls(np.array(values), np.array(scores), tuple(knots))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the normal scores, float32 [n, N]; NaN stays NaN."""
        return choose(_plain_scores, _fast_scores, library() is not None)(self, np.ascontiguousarray(numbers.T))


def _plain_scores(read: NormalScores, x: np.ndarray) -> np.ndarray:
    """Return the normal scores, float32 [n, N], of numbers [N, n]."""
    above = torch.searchsorted(torch.from_numpy(read.values), torch.from_numpy(x), right=True).numpy()
    low = np.clip(above - 1, 0, QUANTILES - 1)
    high = np.minimum(above, QUANTILES - 1)
    row = np.arange(len(x))[:, None]
    start, end = read.values[row, low], read.values[row, high]
    inside = np.isfinite(end) & (end > start) & (x > start)
    with np.errstate(invalid="ignore"):
        weight = np.where(inside, (x - start) / np.where(inside, end - start, 1.0), 0.0)
    z = read.scores[row, low] + weight * (read.scores[row, high] - read.scores[row, low])
    return np.where(np.isnan(x), np.nan, z).T.astype(np.float32, order="C")


def _fast_scores(read: NormalScores, x: np.ndarray) -> np.ndarray:
    found = np.empty(x.shape[::-1], np.float32)
    library().scores(x.shape[1], len(x), *map(address, (x, read.values, read.scores, found)))
    return found
