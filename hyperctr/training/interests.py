"""User Interest Prediction: how much a user cares about each modality of a clicked item, learned from the clicks alone.

HyperCTR (arXiv 2109.02398), section 2.3.1, Eq. (9) and (10): vectors are trained to tell a clicked item's own attribute
from those of other items. What follows for one click, its scores and the modalities that it counts for, depends on
these vectors and on nothing that happened later.

Where we differ from the paper, and why: Eq. (10) multiplies the user's vector, the attribute's and the item's own,
s = sum_c M_I[i]_c (W a)_c E_U[u]_c. Then Eq. (9) is solved by knowing which attribute is the item's, whoever clicked
it, and f says next to nothing about the user: in the planted world `drift` it tells users' favourite modality with an
AUC of 0.5. Without the item's vector, s = sum_c (W a)_c E_U[u]_c, the AUC is 0.75 to 0.8 (0.86 for a statistic that
knows the planted clusters), and items that nobody clicked in training have a score too. `interest.score` says which:
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

BATCH = 1024  # clicks a step
LR = 1e-3
PASS = 2_000_000  # clicks a pass at most; the next pass goes on with the next ones
HELD_OUT = 50_000  # clicks at most whose loss decides when to stop
POOL = 2048  # items at most among which a step draws its negatives, so that each attribute is projected once
SPARSE = 200_000  # rows from which on a table has sparse gradients
CHUNK = 2**16  # clicks scored at a time
SAMPLE = 2**18  # training clicks at most that the ranks and the variance are taken from
RANKS = 1001  # quantiles kept a modality
LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class Interests:
    """Learned interests: Eq. (10) of any click, and which modalities the click counts for.

    Attributes:
        weights: E_U `user.weight` [U + 1, d], P_m `project.<m>.weight` and `.bias`, W_UIP `interest.linear.weight`, and
            M_I `item.weight` [I + 1, d] if trilinear: HyperCTR's own names. The last row stands for an unknown one.
        features, present: the modalities and their masks, as in `Tables`.
        seen_user, seen_item: whose score is known, [U + 1] and [I + 1]: users in a training click, and all items, or if
            trilinear those in a training click.
        quantiles: scores of training clicks that rank others in delta_mode "quantile", [Q, 1001], ascending.
        variance: of f over the users of an item, mean over the items, [Q]; NaN where no item has two users.
        losses: of held-out clicks, before the first pass and after each.
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
    def of(
        cls,
        weights: Mapping[str, Tensor],
        tables: Tables,
        user: np.ndarray,
        item: np.ndarray,
        trilinear: bool = False,
        losses: tuple[float, ...] = (),
    ) -> Interests:
        """Interests under given weights, such as those of a HyperCTR while it is trained (joint mode).

        Args:
            weights: at least the tensors named above; used as they are, not copied.
            user, item: the training clicks, [n] each: whoever is in none of them is unknown, and they give the ranks.
            trilinear: whether the item's vector is a factor.
        """
        user, item = (np.asarray(x, np.int64) for x in (user, item))
        names = ["user.weight", "interest.linear.weight"] + ["item.weight"] * trilinear
        names += [f"project.{m}.{part}" for m in tables.modalities for part in ("weight", "bias")]
        kept = {name: weights[name].detach() for name in names}
        seen = [torch.zeros(n + 1, dtype=torch.bool) for n in (tables.num_users, tables.num_items)]
        seen[0][torch.from_numpy(user)] = True
        seen[1][torch.from_numpy(item) if trilinear else slice(tables.num_items)] = True
        nothing = np.empty(0, np.float32)
        bare = cls(kept, tables.modalities, tables.present, *seen, nothing, nothing, losses)
        some = slice(None, None, max(1, -(-len(user) // SAMPLE)))  # evenly spaced
        pair = np.unique(user[some] * tables.num_items + item[some])
        score = bare.score(pair // tables.num_items, pair % tables.num_items)
        return replace(bare, quantiles=_quantiles(score), variance=_variance(pair % tables.num_items, expit(score)))

    @torch.no_grad()
    def score(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Eq. (10) before its sigmoid: how much each user cares about each modality of the item.

        Computed in float64 and rounded, so that the clicks it is computed beside do not show in the last bits.

        Args:
            user, item: numbers, [n] each.

        Returns:
            float32 [n, Q]; NaN where the item lacks the modality, and in the whole row of an unknown user or item.
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

    def keep(self, score: np.ndarray, interest: config.Interest) -> np.ndarray:
        """Which modalities a click counts for, from its scores.

        - "absolute": f = sigmoid(score) above delta.
        - "relative": the softmax of the scores over the modalities that the item has above delta; 1 / Q is natural.
        - "quantile": the share of training clicks with a lower score on the modality above delta, so that of these
          about 1 - delta count.

        Whichever it is, `keep_argmax` adds the click's highest one (by rank in "quantile", else by score), and an
        unknown click, NaN alone, counts for every modality.

        Args:
            score: as from `score`, [n, Q].

        Returns:
            bool [n, Q]; larger delta never adds anything.
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

    def edges(self, interest: config.Interest) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """What `slice_hypergraphs` asks of every slice: (user, item) -> bool [n, Q], False where a modality lacks."""
        present = np.stack([x.numpy() for x in self.present.values()], 1)
        return lambda user, item: self.keep(self.score(user, item), interest) & present[item]

    def slices(self, build: Callable[..., SlicedHypergraphs], interest: config.Interest) -> SlicedHypergraphs:
        """The hypergraphs of the clicks that count: `build` is `slice_hypergraphs` but for its `keep`."""
        return build(keep=self.edges(interest))

    def by_user(self, user: np.ndarray, item: np.ndarray, num_users: int) -> np.ndarray:
        """The paper's F: mean interest f of every user over the given clicks, float64 [num_users, Q]; NaN without."""
        f = expit(self.score(user, item).astype(np.float64))
        sums, counts = (
            np.stack([np.bincount(user, column, num_users) for column in x.T], 1)
            for x in (np.nan_to_num(f), ~np.isnan(f))
        )
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, without the features."""
        own = {"seen_user": self.seen_user, "seen_item": self.seen_item, "losses": torch.tensor(self.losses).double()}
        for q, m in enumerate(self.features):
            own |= {
                f"quantiles.{m}": torch.from_numpy(self.quantiles[q]),
                f"variance.{m}": torch.tensor(self.variance[q]),
            }
        save_tensors(Path(path), dict(self.weights) | own)

    @classmethod
    def load(cls, path: str | Path, tables: Tables) -> Interests:
        """Read what `save` wrote, for the tables it was learned on.

        Raises:
            ValueError: no such file, or one that does not fit the tables.
        """
        if not Path(path).exists():
            raise ValueError(f"there are no learned interests at {path}")
        held = load_file(path)
        dim = held["interest.linear.weight"].shape[0] if "interest.linear.weight" in held else 0
        asked = {"user.weight": (tables.num_users + 1, dim), "seen_item": (tables.num_items + 1,)}
        asked |= {f"project.{m}.weight": (dim, x.shape[1]) for m, x in tables.modalities.items()}
        asked |= {f"quantiles.{m}": (RANKS,) for m in tables.modalities}
        for name, shape in asked.items():
            found = tuple(held[name].shape) if name in held else None
            if found != shape:
                raise ValueError(f"{path}: {name} is {found}, the data asks for {shape}; has it changed?")
        quantiles, variance = (
            np.stack([held.pop(f"{name}.{m}").numpy() for m in tables.modalities]) for name in ("quantiles", "variance")
        )
        seen, losses = [held.pop(f"seen_{kind}") for kind in ("user", "item")], tuple(held.pop("losses").tolist())
        return cls(held, tables.modalities, tables.present, *seen, quantiles, variance, losses)


class Joint:
    """Interests that are learned beside the click model, by Eq. (9) as a second loss on the model's own vectors.

    The hypergraphs start from all clicks and follow the model's weights: they are built anew whenever it begins a round
    of training or evaluation (`renewed`).

    Args:
        interest: settings.
        tables: as the model's.
        user, item: the training clicks, [n] each.
    """

    def __init__(self, interest: config.Interest, tables: Tables, user: np.ndarray, item: np.ndarray):
        self.interest, self.tables, self.user, self.item = interest, tables, user, item
        self.rows = _negatives(tables)
        self._build: Callable[..., SlicedHypergraphs] | None = None

    def slices(self, build: Callable[..., SlicedHypergraphs], interest: config.Interest) -> SlicedHypergraphs:
        """The first hypergraphs, of all clicks; `build` is kept for later ones."""
        self._build = build
        return build()

    def renewed(self, model: nn.Module) -> SlicedHypergraphs:
        """The hypergraphs of the clicks that count under the model's weights now."""
        now = Interests.of(model.state_dict(), self.tables, self.user, self.item, self.interest.score == "trilinear")
        return now.slices(self._build, self.interest)

    def loss(self, model: nn.Module, user: Tensor, item: Tensor) -> Tensor:
        """Eq. (9) of a batch's clicks, times `interest.weight`; the draws come from torch's generator."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        trilinear, count = self.interest.score == "trilinear", self.interest.negatives
        loss = _loss(model, self.tables, self.rows, user.numpy(), item.numpy(), count, trilinear, rng)
        return self.interest.weight * loss


class _Vectors(nn.Module):
    """What is learned; the names are those of HyperCTR."""

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

    Adam minimises Eq. (9), a mean over all (click, modality): the attribute of the clicked item against those of
    `interest.negatives` others, uniform over the items that have the modality and a training row. A twentieth of the
    clicks is held out; when their loss rises, the weights before are the result. A pass is at most two million clicks,
    and the next one goes on from there; a step is 1024 clicks, fewer where a pass would have less than a hundred steps.
    The vector of unknown users ends as the mean of the known.

    Args:
        user, item: the training clicks, [n] each; other rows of the log have no place here.
        tables: the modalities may be memory-mapped float16: only the rows in use are read.
        dim: width of the vectors; HyperCTR's own, if it is to start from them.
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
    usable = np.zeros(tables.num_items, bool)
    for m in rows:
        usable |= tables.present[m].numpy()
    order = rng.permutation(np.flatnonzero(usable[item]))
    if not len(order):
        raise ValueError(
            "interests cannot be learned: no clicked item has a modality that another one has too; "
            'set interest.mode = "none"'
        )
    count = min(len(order) // 20, HELD_OUT)
    held, fitted = order[:count], order[count:]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Vectors(tables, dim, trilinear)
    steps = optimisers(net, LR)

    def loss(clicks: np.ndarray, rng: np.random.Generator) -> Tensor:
        return _loss(net, tables, rows, user[clicks], item[clicks], interest.negatives, trilinear, rng)

    def held_out() -> float:
        """Mean loss of the held-out clicks (a few fitted ones if they are too few), always on the same draws."""
        some = held if len(held) else fitted
        draws = np.random.default_rng((seed, 1))
        with torch.no_grad():
            sums = sum(loss(part, draws).item() * len(part) for part in _parts(some, BATCH))
        if not np.isfinite(sums):
            raise FloatingPointError(f"the loss of the interests became {sums / len(some)}")
        return sums / len(some)

    losses, size, best, used = [held_out()], min(len(fitted), PASS), net.state_dict(), 0
    batch = min(BATCH, max(32, size // 100))
    for epoch in range(interest.epochs):
        clicks = rng.permutation(fitted[(np.arange(size) + epoch * size) % len(fitted)])
        for part in progress(_parts(clicks, batch), f"interests {epoch + 1}", -(-size // batch)):
            for step in steps:
                step.zero_grad()
            loss(part, rng).backward()
            for step in steps:
                step.step()
        losses.append(held_out())
        if losses[-1] > losses[-2]:
            break
        best, used = {name: x.clone() for name, x in net.state_dict().items()}, min(len(fitted), (epoch + 1) * size)
    trained = fitted[:used]
    for name, known in (("user.weight", user[trained]), ("item.weight", item[trained])):
        if used and name in best:
            best[name][-1] = best[name][torch.from_numpy(np.unique(known))].mean(0)
    learned = Interests.of(best, tables, user[trained], item[trained], trilinear, tuple(losses))
    _warn(learned, interest)
    return learned


def _negatives(tables: Tables) -> dict[str, np.ndarray]:
    """The items of each modality that may be negatives; without modalities that fewer than two items have."""
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
    """Eq. (9), the mean over all (click, modality), 0 without any; `rows`: the items that may be negatives."""
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
    """Places in the sorted pool of `count` items for each item, uniform over the pool without itself, [n, count]."""
    at = np.searchsorted(pool, item)
    inside = np.append(pool, -1)[at] == item
    place = (rng.random((len(item), count)) * (len(pool) - inside)[:, None]).astype(np.int64)
    return place + (inside[:, None] & (place >= at[:, None]))


def _parts(clicks: np.ndarray, size: int) -> list[np.ndarray]:
    return [clicks[start : start + size] for start in range(0, len(clicks), size)]


def _quantiles(score: np.ndarray) -> np.ndarray:
    """Evenly spaced quantiles of each column's numbers, [Q, RANKS]; zeros for a column without any."""
    grid, found = np.linspace(0, 1, RANKS), np.zeros((score.shape[1], RANKS), np.float32)
    for q, column in enumerate(score.T):
        if not np.isnan(column).all():
            found[q] = np.nanquantile(column, grid)
    return found


def _ranks(score: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The share of a column's quantiles below each score, those equal to it by half; in [0, 1]."""
    ranks = np.empty(score.shape)
    for q, column in enumerate(score.T):
        ranks[:, q] = sum(np.searchsorted(quantiles[q], column, side=side) for side in ("left", "right")) / (2 * RANKS)
    return ranks


def _shares(score: np.ndarray) -> np.ndarray:
    """Softmax over the numbers of each row; NaN stays NaN."""
    top = np.where(np.isnan(score), -np.inf, score).max(1, keepdims=True)
    power = np.exp(score - np.where(np.isfinite(top), top, 0.0))
    return power / np.nansum(power, 1, keepdims=True).clip(min=1.0)


def _variance(item: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Variance of f over the users of an item, mean over the items with two or more; (user, item) occur once."""
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
        warnings.warn("the loss of the interests rose at once: none are learned, all modalities count", stacklevel=3)
    elif flat and interest.delta_mode == "absolute":
        warnings.warn(
            f"the interest f hardly differs between the users of an item (variance {', '.join(flat)}): a threshold on "
            'it says little; set interest.delta_mode to "quantile" or "relative"'
            + (', or interest.score to "user"' if interest.score == "trilinear" else ""),
            stacklevel=3,
        )
