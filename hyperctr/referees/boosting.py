"""Gradient-boosted trees of two libraries under the same settings: scikit-learn's HistGradientBoosting, or LightGBM.

Both grow after Ke et al., LightGBM (NeurIPS 2017). The settings came within .0015 AUC of a tuned LightGBM where
scikit-learn's defaults are .003 below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from graphs.optional import package

RATE, LEAVES, LEAST, L2, SHARE = 0.04, 31, 200, 1.0, 0.4
"""Learning rate, leaves of a tree, rows of a leaf at least, L2 of the leaves, and share of the columns."""
EVERY = 10  # rounds between two looks at the validation rows


class Forest(Protocol):
    """Grown trees."""

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of rows, [n]."""

    def staged(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of trees, in steps of `EVERY` and at last all, and the logits of rows by these trees."""


class SklearnForest:
    """Trees of scikit-learn; a share of the columns is drawn for each split."""

    def __init__(self, x: np.ndarray, label: np.ndarray, rounds: int, sets: Sequence[int], seed: int):
        from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to import

        self.rounds = rounds
        self.trees = HistGradientBoostingClassifier(
            learning_rate=RATE, max_leaf_nodes=LEAVES, min_samples_leaf=LEAST, l2_regularization=L2, max_features=SHARE,
            early_stopping=False, random_state=seed, max_iter=rounds, categorical_features=list(sets) or None,
        )  # fmt: skip
        with _as_many_threads_as_torch():
            self.trees.fit(x, label)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of rows, [n]."""
        with _as_many_threads_as_torch():
            return self.trees.decision_function(x)

    def staged(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the logits of rows by the first trees; see `Forest`."""
        with _as_many_threads_as_torch():
            for n, logits in enumerate(self.trees.staged_decision_function(x), 1):
                if n % EVERY == 0 or n == self.rounds:
                    yield n, logits


class LightGBMForest:
    """Trees of LightGBM; a share of the columns is drawn for each tree. Any number of threads gives the same trees."""

    def __init__(self, x: np.ndarray, label: np.ndarray, rounds: int, sets: Sequence[int], seed: int):
        lightgbm, self.rounds = lightgbm_package(), rounds
        settings = {
            "objective": "binary", "learning_rate": RATE, "num_leaves": LEAVES, "min_data_in_leaf": LEAST,
            "lambda_l2": L2, "feature_fraction": SHARE, "seed": seed, "deterministic": True, "force_row_wise": True,
            "num_threads": torch.get_num_threads(), "verbosity": -1,
        }  # fmt: skip
        rows = lightgbm.Dataset(x, label, categorical_feature=list(sets), params=settings)
        self.trees = lightgbm.train(settings, rows, num_boost_round=rounds)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of rows, [n]."""
        return self._of_trees(x, 0, self.rounds)

    def staged(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the logits of rows by the first trees; see `Forest`."""
        logits = np.zeros(len(x))
        for first in range(0, self.rounds, EVERY):
            last = min(first + EVERY, self.rounds)
            logits = logits + self._of_trees(x, first, last)
            yield last, logits

    def _of_trees(self, x: np.ndarray, first: int, last: int) -> np.ndarray:
        return self.trees.predict(x, start_iteration=first, num_iteration=last - first, raw_score=True)


class Average:
    """Several forests, whose logits are averaged."""

    def __init__(self, forests: Sequence[Forest]):
        self.forests = forests

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of rows, [n]."""
        return np.mean([forest.logits(x) for forest in self.forests], 0)

    def staged(self, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the logits of rows by the first trees of each forest; see `Forest`."""
        for each in zip(*(forest.staged(x) for forest in self.forests), strict=True):
            yield each[0][0], np.mean([logits for _, logits in each], 0)


def _as_many_threads_as_torch() -> AbstractContextManager:
    """Return a context in which scikit-learn takes as many threads as the run, not one per core."""
    return threadpool_limits(torch.get_num_threads(), user_api="openmp")


def lightgbm_package() -> Any:
    """Import LightGBM.

    Raises:
        ImportError: it is missing; the message says how to get it.
    """
    return package("lightgbm", "pip install 'hyperctr[trees]', or model.engine = \"sklearn\"")


ENGINES: dict[str, type[Forest]] = {"sklearn": SklearnForest, "lightgbm": LightGBMForest}
