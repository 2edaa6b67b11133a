"""User Interest Prediction: learn from clicks how much a user cares about each modality of an item.

HyperCTR (arXiv 2109.02398), section 2.3.1, Eq. (9) and (10): embeddings are trained to separate a clicked item's own
attribute from the attributes of other items. A click's scores and selected modalities depend only on these embeddings,
never on later events.

Where we differ from the paper, and why: Eq. (10) multiplies the vectors of the user, the attribute and the item,
s = sum_c M_I[i]_c (W a)_c E_U[u]_c. Eq. (9) can then be solved by learning which attribute belongs to which item, for
any user, and f says almost nothing about the user: in the planted world `drift` it finds users' favourite modality with
an AUC of 0.5. Without the item's vector, s = sum_c (W a)_c E_U[u]_c, the AUC is 0.75 to 0.8 (0.86 for a statistic that
knows the planted clusters). Items without a training click then have a score too. `interest.score` chooses:
"trilinear" is Eq. (10) as written, "user" leaves the item's vector out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.special import expit
from torch import Tensor, nn

from hyperctr import config
from hyperctr.batch import Tables
from hyperctr.files import save_tensors
from hyperctr.hypergraphs.recipes import SlicedHypergraphs
from hyperctr.models.hyperctr.parts import Interest
from hyperctr.training.optim import optimisers

BATCH = 1024  # clicks per step
LR = 1e-3
PASS = 2_000_000  # most clicks per pass; the next pass continues with the next clicks
HELD_OUT = 50_000  # most clicks whose loss decides when to stop
POOL = 2048  # most items from which a step draws negatives, so that each attribute is projected once
SPARSE = 200_000  # a table with more rows has sparse gradients
CHUNK = 2**16  # clicks scored at a time
SAMPLE = 2**18  # most training clicks that the ranks and the variance are computed from
RANKS = 1001  # quantiles per modality
LEAST_VARIANCE = 1e-4


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
        names += [f"project.{m}.{part}" for m in tables.modalities for part in ("weight", "bias")]
        kept = {name: weights[name].detach() for name in names}
        seen = [torch.zeros(n + 1, dtype=torch.bool) for n in (tables.num_users, tables.num_items)]
        seen[0][torch.from_numpy(user)] = True
        seen[1][torch.from_numpy(item) if trilinear else slice(tables.num_items)] = True
        empty = np.empty(0, np.float32)
        unranked = cls(kept, tables.modalities, tables.present, *seen, empty, empty, losses)
        sample = slice(None, None, max(1, -(-len(user) // SAMPLE)))  # evenly spaced
        pair = np.unique(user[sample] * tables.num_items + item[sample])
        score = unranked.score(pair // tables.num_items, pair % tables.num_items)
        return replace(unranked, quantiles=_quantiles(score), variance=_variance(pair % tables.num_items, expit(score)))

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
        stored = load_file(path)
        dim = stored["interest.linear.weight"].shape[0] if "interest.linear.weight" in stored else 0
        asked = {"user.weight": (tables.num_users + 1, dim), "seen_item": (tables.num_items + 1,)}
        asked |= {f"project.{m}.weight": (dim, x.shape[1]) for m, x in tables.modalities.items()}
        asked |= {f"quantiles.{m}": (RANKS,) for m in tables.modalities}
        for name, shape in asked.items():
            stored_shape = tuple(stored[name].shape) if name in stored else None
            if stored_shape != shape:
                raise ValueError(f"{path}: {name} is {stored_shape}, the data needs {shape}; have the data changed?")
        quantiles, variance = (
            np.stack([stored.pop(f"{name}.{m}").numpy() for m in tables.modalities])
            for name in ("quantiles", "variance")
        )
        seen, losses = [stored.pop(f"seen_{kind}") for kind in ("user", "item")], tuple(stored.pop("losses").tolist())
        return cls(stored, tables.modalities, tables.present, *seen, quantiles, variance, losses)


class Joint:
    """Interests that are learned together with the click model: Eq. (9) is a second loss on the model's own vectors.

    The first hypergraphs use all clicks. Later ones follow the model's weights: they are built again whenever the model
    begins a round of training or evaluation (`renewed`).

    Args:
        interest: settings.
        tables: the tables of the model.
        user, item: the training clicks, [n] each.
    """

    def __init__(self, interest: config.Interest, tables: Tables, user: np.ndarray, item: np.ndarray):
        self.interest, self.tables, self.user, self.item = interest, tables, user, item
        self.rows = _negatives(tables)
        self._build: Callable[..., SlicedHypergraphs] | None = None

    def slices(self, build: Callable[..., SlicedHypergraphs], interest: config.Interest) -> SlicedHypergraphs:
        """Build the first hypergraphs, from all clicks; `build` is kept for later ones."""
        self._build = build
        return build()

    def renewed(self, model: nn.Module) -> SlicedHypergraphs:
        """Build the hypergraphs of the clicks that count under the current weights of the model."""
        trilinear = self.interest.score == "trilinear"
        now = Interests.from_weights(model.state_dict(), self.tables, self.user, self.item, trilinear)
        return now.slices(self._build, self.interest)

    def loss(self, model: nn.Module, user: Tensor, item: Tensor) -> Tensor:
        """Compute Eq. (9) on the clicks of a batch, times `interest.weight`; the seed of the draws comes from torch."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        trilinear, count = self.interest.score == "trilinear", self.interest.negatives
        loss = _loss(model, self.tables, self.rows, user.numpy(), item.numpy(), count, trilinear, rng)
        return self.interest.weight * loss


class _Vectors(nn.Module):
    """The learned weights, named as in HyperCTR."""

    def __init__(self, tables: Tables, dim: int, trilinear: bool):
        super().__init__()
        users, items = tables.num_users + 1, tables.num_items + 1
        self.user = nn.Embedding(users, dim, sparse=users > SPARSE)  # E_U
        self.item = nn.Embedding(items, dim, sparse=items > SPARSE) if trilinear else None  # M_I
        self.project = nn.ModuleDict({m: nn.Linear(x.shape[1], dim) for m, x in tables.modalities.items()})  # P_m
        self.interest = Interest(dim)  # W_UIP
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def learn(
    user: np.ndarray,
    item: np.ndarray,
    tables: Tables,
    dim: int,
    interest: config.Interest,
    seed: int = 0,
    progress: Callable[[Iterable, str, int], Iterable] = lambda batches, what, total: batches,
) -> Interests:
    """Learn interests from the training clicks, HyperCTR section 2.3.1.

    Adam minimises Eq. (9), the mean over all (click, modality) pairs: the attribute of the clicked item against the
    attributes of `interest.negatives` other items, drawn uniformly from the items with the modality and a training row.
    A twentieth of the clicks is held out. When their loss rises, training stops, and the weights before that pass are
    the result. A pass has at most 2 million clicks, and the next pass continues with the next clicks. A step has 1024
    clicks, or fewer where a pass would have less than 100 steps. The vector of an unknown user is the mean of the known
    ones.

    Args:
        user, item: the training clicks, [n] each.
        tables: the modalities may be memory-mapped float16: only the rows in use are read.
        dim: width of the vectors; the width of HyperCTR's, if it is to start from them.
        interest: settings.
        seed: of the first weights and every draw.
        progress: wraps the batches of a pass (batches, a word, their number) to show a bar.

    Raises:
        ValueError: no click on an item with a modality that another item has too.
        FloatingPointError: the loss is no longer finite.

    Warns:
        UserWarning: delta_mode is "absolute" and f hardly differs between the users of an item.
    """
    rng = np.random.default_rng(seed)
    rows = _negatives(tables)
    trilinear = interest.score == "trilinear"
    clicks = rng.permutation(_usable_clicks(item, rows, tables))
    count = min(len(clicks) // 20, HELD_OUT)
    held_out, fitted = clicks[:count], clicks[count:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Vectors(tables, dim, trilinear)

    def loss(clicks: np.ndarray, rng: np.random.Generator) -> Tensor:
        return _loss(net, tables, rows, user[clicks], item[clicks], interest.negatives, trilinear, rng)

    weights, used, losses = _fit(net, loss, held_out, fitted, interest.epochs, rng, seed, progress)
    trained = fitted[:used]
    if used:
        _fill_unknown(weights, user[trained], item[trained])
    learned = Interests.from_weights(weights, tables, user[trained], item[trained], trilinear, losses)
    _warn(learned, interest)
    return learned


def _usable_clicks(item: np.ndarray, rows: Mapping[str, np.ndarray], tables: Tables) -> np.ndarray:
    """Return the numbers of the clicks on items with a modality that another item has too."""
    usable = np.zeros(tables.num_items, bool)
    for m in rows:
        usable |= tables.present[m].numpy()
    clicks = np.flatnonzero(usable[item])
    if not len(clicks):
        raise ValueError(
            "interests cannot be learned: no clicked item has a modality that another item has too; "
            'set interest.mode = "none"'
        )
    return clicks


def _fit(
    net: nn.Module,
    loss: Callable[[np.ndarray, np.random.Generator], Tensor],
    held_out: np.ndarray,
    fitted: np.ndarray,
    epochs: int,
    rng: np.random.Generator,
    seed: int,
    progress: Callable[[Iterable, str, int], Iterable],
) -> tuple[dict[str, Tensor], int, tuple[float, ...]]:
    """Minimise the loss until the loss of the held-out clicks rises.

    Returns:
        The weights before it rose, the number of fitted clicks that they have seen, and the held-out losses.
    """
    steps = optimisers(net, LR)

    def held_out_loss() -> float:
        """Average the loss over the held-out clicks (over fitted ones if there are none), always on the same draws."""
        clicks = held_out if len(held_out) else fitted
        draws = np.random.default_rng((seed, 1))
        with torch.no_grad():
            total = sum(loss(part, draws).item() * len(part) for part in _parts(clicks, BATCH))
        if not np.isfinite(total):
            raise FloatingPointError(f"the loss of the interests became {total / len(clicks)}")
        return total / len(clicks)

    losses, size, best, used = [held_out_loss()], min(len(fitted), PASS), net.state_dict(), 0
    batch = min(BATCH, max(32, size // 100))
    for epoch in range(epochs):
        clicks = rng.permutation(fitted[(np.arange(size) + epoch * size) % len(fitted)])
        for part in progress(_parts(clicks, batch), f"interests {epoch + 1}", -(-size // batch)):
            for step in steps:
                step.zero_grad()
            loss(part, rng).backward()
            for step in steps:
                step.step()
        losses.append(held_out_loss())
        if losses[-1] > losses[-2]:
            break
        best, used = {name: x.clone() for name, x in net.state_dict().items()}, min(len(fitted), (epoch + 1) * size)
    return best, used, tuple(losses)


def _fill_unknown(weights: dict[str, Tensor], user: np.ndarray, item: np.ndarray) -> None:
    """Set the vectors of an unknown user and item to the means of the known ones."""
    for name, known in (("user.weight", user), ("item.weight", item)):
        if name in weights:
            weights[name][-1] = weights[name][torch.from_numpy(np.unique(known))].mean(0)


def _negatives(tables: Tables) -> dict[str, np.ndarray]:
    """List the items that may be negatives, per modality; a modality of fewer than two such items is left out."""
    rows = {m: (tables.present[m] & tables.seen_item).nonzero()[:, 0].numpy() for m in tables.modalities}
    return {m: have for m, have in rows.items() if len(have) > 1}


def _loss(
    net: nn.Module,
    tables: Tables,
    rows: Mapping[str, np.ndarray],
    user: np.ndarray,
    item: np.ndarray,
    negatives: int,
    trilinear: bool,
    rng: np.random.Generator,
) -> Tensor:
    """Compute Eq. (9), the mean over all (click, modality) pairs, 0 without any; `rows` are the possible negatives."""
    of_user = net.user(torch.from_numpy(user))
    of_item = net.item(torch.from_numpy(item)) if trilinear else torch.ones_like(of_user)
    total, count = of_user.new_zeros(()), 0
    for m, have in rows.items():
        clicks = np.flatnonzero(tables.present[m].numpy()[item])
        pool = have
        if len(have) > POOL:
            pool = np.sort(have[rng.choice(len(have), POOL, replace=False, shuffle=False)])
        others = torch.from_numpy(_others(item[clicks], pool, negatives, rng))
        wanted = torch.from_numpy(np.concatenate([pool, item[clicks]]))
        attribute = net.project[m](tables.modalities[m][wanted].float())
        loss = net.interest.loss(of_user[clicks], of_item[clicks], attribute[len(pool) :], attribute[others])
        total, count = total + len(clicks) * loss, count + len(clicks)
    return total / max(count, 1)


def _others(item: np.ndarray, pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` positions in the sorted pool per item, uniform over the pool without the item, [n, count]."""
    at = np.searchsorted(pool, item)
    inside = np.append(pool, -1)[at] == item
    place = (rng.random((len(item), count)) * (len(pool) - inside)[:, None]).astype(np.int64)
    return place + (inside[:, None] & (place >= at[:, None]))


def _parts(clicks: np.ndarray, size: int) -> list[np.ndarray]:
    return [clicks[start : start + size] for start in range(0, len(clicks), size)]


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


def _warn(learned: Interests, interest: config.Interest) -> None:
    flat = [f"{m} {v:.1g}" for m, v in zip(learned.features, learned.variance, strict=True) if v < LEAST_VARIANCE]
    if not learned.seen_user.any():
        warnings.warn(
            "the loss of the interests rose in the first pass: nothing is learned, all modalities count", stacklevel=3
        )
    elif flat and interest.delta_mode == "absolute":
        warnings.warn(
            f"the interest f hardly differs between the users of an item (variance {', '.join(flat)}), so that a "
            'threshold on it says little; set interest.delta_mode to "quantile" or "relative"'
            + (', or interest.score to "user"' if interest.score == "trilinear" else ""),
            stacklevel=3,
        )
