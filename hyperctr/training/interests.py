"""User Interest Prediction: learn from clicks how much a user cares about each modality of an item.

HyperCTR (arXiv 2109.02398), section 2.3.1, Eq. (9) and (10): embeddings are trained to separate a clicked item's own
attribute from the attributes of other items. `hyperctr.hypergraphs.interests` computes scores from them.

Where we differ from the paper, and why: Eq. (10) multiplies the vectors of the user, the attribute and the item,
s = sum_c M_I[i]_c (W a)_c E_U[u]_c. Eq. (9) can then be solved by learning which attribute belongs to which item, for
any user, and f says almost nothing about the user: in the planted world `drift` it finds users' favourite modality with
an AUC of 0.5. Without the item's vector, s = sum_c (W a)_c E_U[u]_c, the AUC is 0.75 to 0.8 (0.86 for a statistic that
knows the planted clusters). Items without a training click then have a score too. `interest.score` chooses:
"trilinear" is Eq. (10) as written, "user" leaves the item's vector out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from hyperctr import config
from hyperctr.batch import Tables
from hyperctr.data.progress import Bar, no_progress
from hyperctr.hypergraphs.interests import Interests
from hyperctr.hypergraphs.recipes import SlicedHypergraphs
from hyperctr.models.hyperctr.parts import Interest
from hyperctr.training.optim import optimisers

BATCH = 1024  # clicks per step
LR = 1e-3
PASS = 2_000_000  # most clicks per pass; the next pass continues with the next clicks
HELD_OUT = 50_000  # most clicks whose loss decides when to stop
POOL = 2048  # most items from which a step draws negatives, so that each attribute is projected once
SPARSE = 200_000  # a table with more rows has sparse gradients
LEAST_VARIANCE = 1e-4


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
        loss = _loss(model, self.tables, self.rows, user.cpu().numpy(), item.cpu().numpy(), count, trilinear, rng)
        return self.interest.weight * loss


class _Vectors(nn.Module):
    """The learned weights, named as in HyperCTR."""

    def __init__(self, tables: Tables, dim: int, trilinear: bool):
        super().__init__()
        users, items = tables.ids.num_users + 1, tables.ids.num_items + 1
        self.user = nn.Embedding(users, dim, sparse=users > SPARSE)  # E_U
        self.item = nn.Embedding(items, dim, sparse=items > SPARSE) if trilinear else None  # M_I
        self.project = nn.ModuleDict(
            {m: nn.Linear(x.shape[1], dim) for m, x in tables.modalities.features.items()}
        )  # P_m
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
    progress: Bar = no_progress,
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
    if text := flaw(learned, interest):
        warnings.warn(text, stacklevel=2)
    return learned


def _usable_clicks(item: np.ndarray, rows: Mapping[str, np.ndarray], tables: Tables) -> np.ndarray:
    """Return the numbers of the clicks on items with a modality that another item has too."""
    usable = np.zeros(tables.ids.num_items, bool)
    for m in rows:
        usable |= tables.modalities.present[m].numpy()
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
    progress: Bar,
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
    rows = {
        m: (tables.modalities.present[m] & tables.ids.seen_item).nonzero()[:, 0].numpy()
        for m in tables.modalities.features
    }
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
    device = net.user.weight.device
    of_user = net.user(torch.from_numpy(user).to(device))
    of_item = net.item(torch.from_numpy(item).to(device)) if trilinear else torch.ones_like(of_user)
    total, count = of_user.new_zeros(()), 0
    for m, have in rows.items():
        clicks = np.flatnonzero(tables.modalities.present[m].numpy()[item])
        pool = have
        if len(have) > POOL:
            pool = np.sort(have[rng.choice(len(have), POOL, replace=False, shuffle=False)])
        others = torch.from_numpy(_others(item[clicks], pool, negatives, rng))
        wanted = torch.from_numpy(np.concatenate([pool, item[clicks]]))
        attribute = net.project[m](tables.modalities.features[m][wanted].to(device).float())
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


def flaw(learned: Interests, interest: config.Interest) -> str:
    """Say why learned interests tell little, and what would help; "" where they do."""
    flat = [f"{m} {v:.1g}" for m, v in zip(learned.features, learned.variance, strict=True) if v < LEAST_VARIANCE]
    if not learned.seen_user.any():
        return "the loss of the interests rose in the first pass: nothing is learned, all modalities count"
    if flat and interest.delta_mode == "absolute":
        return (
            f"the interest f hardly differs between the users of an item (variance {', '.join(flat)}), so that a "
            'threshold on it says little; set interest.delta_mode to "quantile" or "relative"'
            + (', or interest.score to "user"' if interest.score == "trilinear" else "")
        )
    return ""
