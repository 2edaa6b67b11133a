"""Interests: score how much a user cares about each modality of an item, and select the modalities of a click.

HyperCTR (arXiv 2109.02398), section 2.3.1, Eq. (10). `hyperctr.training.interests` learns the weights. A click's
scores and selected modalities depend only on these weights, never on later events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import Tensor

from hyperctr import config
from hyperctr.batch import Tables
from hyperctr.files import load_tensors, save_tensors
from hyperctr.hypergraphs.recipes import SlicedHypergraphs

CHUNK = 2**16  # clicks scored at a time
SAMPLE = 2**18  # most training clicks that the ranks and the variance are computed from
RANKS = 1001  # quantiles per modality


@dataclass(frozen=True, eq=False, repr=False)
class Interests:
    """Learned interests: the scores of Eq. (10) for any click, and the modalities that the click counts for.

    Attributes:
        weights: E_U `user.weight` [U + 1, d], P_m `project.<m>.weight` and `.bias`, W_UIP `interest.linear.weight`, and
            M_I `item.weight` [I + 1, d] if trilinear; the names are HyperCTR's. The last row is for an unknown id.
        features, present: the modalities and their masks, as in `Tables`.
        seen_user, seen_item: which users and items have a score, [U + 1] and [I + 1]: users with a training click; all
            items, or if trilinear those with a training click.
        quantiles: quantiles of the scores of training clicks, for delta_mode "quantile", [Q, 1001], ascending.
        variance: variance of f over the users of an item, averaged over items, [Q]; NaN where no item has two users.
        losses: loss of held-out clicks, before the first pass and after each pass.
    """

    weights: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    seen_user: Tensor
    seen_item: Tensor
    quantiles: np.ndarray
    variance: np.ndarray
    losses: tuple[float, ...] = ()

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, Tensor],
        tables: Tables,
        user: np.ndarray,
        item: np.ndarray,
        trilinear: bool = False,
        losses: tuple[float, ...] = (),
    ) -> Interests:
        """Make interests from given weights, such as the weights of a HyperCTR in training (joint mode).

        Args:
            weights: at least the tensors named above; used as they are, not copied.
            tables: the modalities and their masks.
            user, item: the training clicks, [n] each. Users without one are unknown, and the ranks come from them.
            trilinear: whether the item's vector is a factor.
            losses: of held-out clicks.
        """
        user, item = (np.asarray(x, np.int64) for x in (user, item))
        names = ["user.weight", "interest.linear.weight"] + ["item.weight"] * trilinear
        names += [f"project.{m}.{part}" for m in tables.modalities.features for part in ("weight", "bias")]
        kept = {name: weights[name].detach().cpu() for name in names}
        seen = [torch.zeros(n + 1, dtype=torch.bool) for n in (tables.ids.num_users, tables.ids.num_items)]
        seen[0][torch.from_numpy(user)] = True
        seen[1][torch.from_numpy(item) if trilinear else slice(tables.ids.num_items)] = True
        empty = np.empty(0, np.float32)
        unranked = cls(kept, tables.modalities.features, tables.modalities.present, *seen, empty, empty, losses)
        sample = slice(None, None, max(1, -(-len(user) // SAMPLE)))  # evenly spaced
        pair = np.unique(user[sample] * tables.ids.num_items + item[sample])
        score = unranked.score(pair // tables.ids.num_items, pair % tables.ids.num_items)
        return replace(
            unranked, quantiles=_quantiles(score), variance=_variance(pair % tables.ids.num_items, expit(score))
        )

    @torch.no_grad()
    def score(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Score how much each user cares about each modality of the item: Eq. (10) before its sigmoid.

        Computed in float64 and then rounded, so that the last bits do not depend on the other clicks of the call.

        Args:
            user, item: numbers, [n] each.

        Returns:
            float32 [n, Q]; NaN where the item lacks the modality, and in all columns for an unknown user or item.
        """
        user, item = (torch.from_numpy(np.asarray(x, np.int64)) for x in (user, item))
        score = np.full((len(user), len(self.features)), np.nan, np.float32)
        W = self.weights["interest.linear.weight"].double()
        maps = [[W @ self.weights[f"project.{m}.{x}"].double() for x in ("weight", "bias")] for m in self.features]
        for start in range(0, len(user), CHUNK):
            u, i = user[start : start + CHUNK], item[start : start + CHUNK]
            known = (self.seen_user[u] & self.seen_item[i]).nonzero()[:, 0]
            u, (i, at) = u[known], i[known].unique(return_inverse=True)
            both = self.weights["user.weight"][u].double()
            if "item.weight" in self.weights:
                both = both * self.weights["item.weight"][i].double()[at]
            for q, (m, x) in enumerate(self.features.items()):
                attribute = both.new_full((len(i), both.shape[1]), torch.nan)
                has = self.present[m][i]
                attribute[has] = F.linear(x[i[has]].double(), *maps[q])  # W P_m(x)
                score[start + known.numpy(), q] = (both * attribute[at]).sum(1).numpy()
        return score

    def select_modalities(self, score: np.ndarray, interest: config.Interest) -> np.ndarray:
        """Select the modalities that each click counts for, from its scores.

        A modality is selected where its degree is above delta. By `delta_mode` the degree is:

        - "absolute": f = sigmoid(score).
        - "relative": the softmax of the scores over the modalities that the item has; 1 / Q is a natural delta.
        - "quantile": the share of training clicks with a lower score on the modality. About 1 - delta of the training
          clicks are then selected.

        In all modes `keep_argmax` adds the highest modality of the click (by degree in "quantile", else by score). An
        unknown click (all NaN) counts for every modality.

        Args:
            score: from `score`, [n, Q].
            interest: settings.

        Returns:
            bool [n, Q]; a larger delta never adds a modality.
        """
        has = ~np.isnan(score)
        order = score
        if interest.delta_mode == "absolute":
            degree = expit(score)
        elif interest.delta_mode == "relative":
            degree = _shares(score)
        else:
            degree = order = _ranks(score, self.quantiles)
        kept = has & (degree > interest.delta)
        if interest.keep_argmax:
            kept |= has & (np.arange(score.shape[1]) == np.where(has, order, -np.inf).argmax(1)[:, None])
        return kept | ~has.any(1, keepdims=True)

    def keep_mask(self, interest: config.Interest) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return the function (user, item) -> bool [n, Q] that `slice_hypergraphs` takes as `keep`.

        The mask is False where the item lacks the modality.
        """
        present = np.stack([x.numpy() for x in self.present.values()], 1)
        return lambda user, item: self.select_modalities(self.score(user, item), interest) & present[item]

    def slices(self, build: Callable[..., SlicedHypergraphs], interest: config.Interest) -> SlicedHypergraphs:
        """Build the hypergraphs of the clicks that count; `build` is `slice_hypergraphs` without `keep`."""
        return build(keep=self.keep_mask(interest))

    def mean_interest(self, user: np.ndarray, item: np.ndarray, num_users: int) -> np.ndarray:
        """Average the interest f of each user over the given clicks, the paper's F; NaN for users without clicks.

        Args:
            user, item: the clicks, [n] each.
            num_users: number of users.

        Returns:
            float64 [num_users, Q].
        """
        f = expit(self.score(user, item).astype(np.float64))
        sums, counts = (
            np.stack([np.bincount(user, column, num_users) for column in x.T], 1)
            for x in (np.nan_to_num(f), ~np.isnan(f))
        )
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def save(self, path: str | Path) -> None:
        """Write the interests, without the features, as one safetensors file."""
        own = {"seen_user": self.seen_user, "seen_item": self.seen_item, "losses": torch.tensor(self.losses).double()}
        for q, m in enumerate(self.features):
            own |= {
                f"quantiles.{m}": torch.from_numpy(self.quantiles[q]),
                f"variance.{m}": torch.tensor(self.variance[q]),
            }
        save_tensors(Path(path), dict(self.weights) | own)

    @classmethod
    def load(cls, path: str | Path, tables: Tables) -> Interests:
        """Read what `save` wrote, for the tables that the interests were learned on.

        Raises:
            ValueError: there is no such file, or it does not fit the tables.
        """
        if not Path(path).exists():
            raise ValueError(f"there are no learned interests at {path}")
        stored, _ = load_tensors(path, "remove it, and the interests are learned again")
        dim = stored["interest.linear.weight"].shape[0] if "interest.linear.weight" in stored else 0
        asked = {"user.weight": (tables.ids.num_users + 1, dim), "seen_item": (tables.ids.num_items + 1,)}
        asked |= {f"project.{m}.weight": (dim, x.shape[1]) for m, x in tables.modalities.features.items()}
        asked |= {f"quantiles.{m}": (RANKS,) for m in tables.modalities.features}
        for name, shape in asked.items():
            stored_shape = tuple(stored[name].shape) if name in stored else None
            if stored_shape != shape:
                raise ValueError(f"{path}: {name} is {stored_shape}, the data needs {shape}; have the data changed?")
        quantiles, variance = (
            np.stack([stored.pop(f"{name}.{m}").numpy() for m in tables.modalities.features])
            for name in ("quantiles", "variance")
        )
        seen, losses = [stored.pop(f"seen_{kind}") for kind in ("user", "item")], tuple(stored.pop("losses").tolist())
        return cls(stored, tables.modalities.features, tables.modalities.present, *seen, quantiles, variance, losses)


def _quantiles(score: np.ndarray) -> np.ndarray:
    """Compute evenly spaced quantiles of each column, [Q, RANKS]; NaN is left out, and a column of NaN gives zeros."""
    grid, quantiles = np.linspace(0, 1, RANKS), np.zeros((score.shape[1], RANKS), np.float32)
    for q, column in enumerate(score.T):
        if not np.isnan(column).all():
            quantiles[q] = np.nanquantile(column, grid)
    return quantiles


def _ranks(score: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the share of its column's quantiles below each score, in [0, 1]; an equal quantile counts one half."""
    ranks = np.empty(score.shape)
    for q, column in enumerate(score.T):
        ranks[:, q] = sum(np.searchsorted(quantiles[q], column, side=side) for side in ("left", "right")) / (2 * RANKS)
    return ranks


def _shares(score: np.ndarray) -> np.ndarray:
    """Compute the softmax over the numbers of each row; NaN stays NaN."""
    top = np.where(np.isnan(score), -np.inf, score).max(1, keepdims=True)
    power = np.exp(score - np.where(np.isfinite(top), top, 0.0))
    return power / np.nansum(power, 1, keepdims=True).clip(min=1.0)


def _variance(item: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Average the variance of f over the users of an item, over items with two or more users; no pair occurs twice."""
    items, at, users = np.unique(item, return_inverse=True, return_counts=True)
    if not (users > 1).any():
        return np.full(f.shape[1], np.nan)
    spread = np.empty(f.shape[1])
    for q, column in enumerate(f.T.astype(np.float64)):
        mean = np.bincount(at, column, len(items)) / users
        square = np.bincount(at, (column - mean[at]) ** 2, len(items)) / users
        square = square[(users > 1) & ~np.isnan(square)]
        spread[q] = square.mean() if len(square) else np.nan
    return spread
