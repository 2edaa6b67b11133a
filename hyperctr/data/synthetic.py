"""Worlds whose answer is known: every row's true click probability stands beside the row.

Three presets, each written as an ordinary folder by `hyperctr data get planted --preset NAME`:

- `drift`: users care about modalities to different degrees (Dirichlet) and about clusters of items within each
  modality; the interests of a user wander with a known half-life. Features show the clusters.
- `multihop`: users live in communities. *Anchor* items show their community in their features; *fresh* items are born
  every week, live three weeks and show nothing. In a week a user clicks anchors and first-tier items, or first-tier
  and second-tier items, never anchors and second-tier items: what a second-tier item is about can be read two
  hypergraph hops away, and nowhere nearer.
- `noise`: every impression is clicked with the same probability. No model may find anything.

All rows are impressions (`label` 1 clicked, 0 shown and not clicked), so the generator's probabilities give the
ceiling: the best AUC that any model can reach on a set of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperctr.data.folder import Dataset, write_folder
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.metrics import auc

DAY = 86_400
START = 1_672_531_200  # 2023-01-01 00:00 UTC
MODALITIES = ("visual", "acoustic", "textual")
PRESETS = ("drift", "multihop", "noise")


@dataclass(frozen=True)
class World:
    """A planted data set and what only its maker knows.

    Attributes:
        dataset: what a model may read.
        probability: true P(click) of every row, [n].
        offset: what the click logit of a row owes to its item alone (and the base rate), [n].
        clusters: cluster of every item in every modality, [num_items, num_modalities].
        prior: variance of one user's coefficient for one cluster, the oracle's prior.
        half_life: days after which half of a user's interest is forgotten (inf: never).
    """

    dataset: Dataset
    probability: np.ndarray
    offset: np.ndarray
    clusters: np.ndarray
    prior: float
    half_life: float

    def ceiling(self, rows: np.ndarray) -> float:
        """AUC of the true probabilities on these rows: in expectation, the best that any model can reach."""
        return auc(self.dataset.interactions.label[rows], self.probability[rows])

    def learnable(self, train: np.ndarray, test: np.ndarray) -> float:
        """AUC on `test` of an oracle that knows the item clusters and offsets, and learns each user from `train`.

        Where there is no prior variance there is nothing to learn, and the offsets are all it has.

        The oracle is one logistic regression a user over the clusters (one-hot, all modalities), with the
        generator's own prior variance; rows fade with the generator's half-life. A user without training rows gets the
        prior mean, zero.
        """
        log = self.dataset.interactions
        if self.prior == 0:
            return auc(log.label[test], self.offset[test])
        count = int(self.clusters.max()) + 1
        columns = self.clusters + count * np.arange(self.clusters.shape[1])  # [I, Q]
        age = (log.time[train].max() - log.time[train]) / DAY
        weight = np.ones(len(train)) if np.isinf(self.half_life) else 0.5 ** (age / self.half_life)
        beta = _ridge_logistic(
            log.user[train],
            columns[log.item[train]],
            log.label[train],
            self.offset[train],
            weight,
            log.num_users,
            count * self.clusters.shape[1],
            self.prior,
        )
        score = self.offset[test] + beta[log.user[test][:, None], columns[log.item[test]]].sum(1)
        return auc(log.label[test], score)


def planted(preset: str = "drift", seed: int = 0, scale: float = 1.0) -> World:
    """Make one of the worlds `drift`, `multihop`, `noise`.

    Args:
        preset: which world.
        seed: of everything random; the same seed gives the same world.
        scale: multiplies the number of users (and so of rows).

    Raises:
        ValueError: an unknown preset, or a scale that leaves fewer than ten users.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; the planted worlds are {', '.join(PRESETS)}")
    if round(1000 * scale) < 10:
        raise ValueError(f"scale must leave at least ten of 1000 users, got {scale}")
    rng = np.random.default_rng(seed)
    return _multihop(rng, seed, scale) if preset == "multihop" else _drift(rng, seed, scale, noise=preset == "noise")


def write(preset: str, path: str | Path, seed: int = 0, scale: float = 1.0) -> Path:
    """Write a planted world as a folder; the true probabilities stand in a column that plays no role."""
    world = planted(preset, seed, scale)
    extra = {"true_probability": world.probability.astype(np.float32)}
    return write_folder(world.dataset, path, extra_interactions=extra)


def _drift(rng: np.random.Generator, seed: int, scale: float, noise: bool) -> World:
    """Modality tastes, interests in clusters that wander; `noise` switches every influence off."""
    users, items, clusters, days, step = round(1000 * scale), 600, 5, 180, 10
    half_life, strength, rows = 60.0, 0.0 if noise else 3.5, 75 * users
    keep = 0.5 ** (step / half_life)
    taste = rng.dirichlet(np.full(len(MODALITIES), 0.5), users)  # [U, Q] how much each modality matters to a user
    mine = rng.integers(8, size=users)  # interests come in groups of like-minded users
    shape = (len(MODALITIES), clusters)
    group, lasting = rng.standard_normal((8, *shape)), rng.standard_normal((users, *shape))
    drifting = rng.standard_normal((users, *shape))
    interest = np.empty((days // step, users, *shape), np.float32)
    for n in range(days // step):
        interest[n] = 0.8 * group[mine] + 0.4 * lasting + 0.5 * drifting
        drifting = keep * drifting + np.sqrt(1 - keep**2) * rng.standard_normal(drifting.shape)
    cluster = rng.integers(clusters, size=(items, len(MODALITIES)))
    popularity = (0.0 if noise else 0.6) * rng.standard_normal(items)

    user = rng.integers(users, size=rows)
    item = rng.choice(items, size=rows, p=np.exp(popularity) / np.exp(popularity).sum())
    time = np.sort(rng.integers(days * DAY, size=rows))
    at = time // (step * DAY)
    wanted = sum(
        taste[user, m] * interest[at, user, m, cluster[item, m]] for m in range(len(MODALITIES))
    )  # [n] what this user feels about this item now
    offset = popularity[item] - (0.0 if noise else 0.6)
    return _world(
        "noise" if noise else "drift", rng, seed, user, item, time, offset, offset + strength * wanted, cluster,
        prior=strength**2 * (taste**2).mean(), half_life=half_life, users=users, shown=np.full(items, not noise),
    )  # fmt: skip


def _multihop(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Communities, anchors that show theirs, and two tiers of short-lived items that do not."""
    communities, weeks, life, anchors, born = 6, 26, 3, 20, 4
    users = round(1000 * scale)
    home = rng.integers(communities, size=users)
    group, tier, birth = [], [], []  # of every item
    for c in range(communities):
        for t, count, start in [(0, anchors, [-1]), (1, born, range(weeks)), (2, born, range(weeks))]:
            for b in start:
                group += [c] * count
                tier += [t] * count
                birth += [b] * count
    group, tier, birth = np.array(group), np.array(tier), np.array(birth)

    user, item, time = [], [], []
    for week in range(weeks):
        alive = (birth < 0) | ((birth <= week) & (week < birth + life))
        active = np.flatnonzero(rng.random(users) < 0.4)
        late = rng.random(len(active)) < 0.5  # sees tiers 1 and 2 this week, else anchors and tier 1
        for u, second in zip(active, late, strict=True):
            pool = np.flatnonzero(alive & ((tier >= 1) if second else (tier <= 1)))
            own = group[pool] == home[u]
            seen = np.concatenate([rng.choice(pool[own], 5, False), rng.choice(pool[~own], 5, False)])
            user.append(np.full(len(seen), u))
            item.append(seen)
            time.append(week * 7 * DAY + rng.integers(7 * DAY, size=len(seen)))
    user, item, time = np.concatenate(user), np.concatenate(item), np.concatenate(time)
    order = np.argsort(time, kind="stable")
    user, item, time = user[order], item[order], time[order]
    match = group[item] == home[user]
    logit = np.where(match, 2.2, -2.6)
    cluster = np.repeat(group[:, None], len(MODALITIES), 1)
    return _world(
        "multihop", rng, seed, user, item, time, np.full(len(user), -1.5), logit, cluster,
        prior=4.0, half_life=np.inf, users=users, shown=tier == 0,
    )  # fmt: skip


def _world(name, rng, seed, user, item, time, offset, logit, cluster, *, prior, half_life, users, shown) -> World:
    """Draw the clicks and the features, and put the pieces together; `shown` items reveal their clusters."""
    probability = 1 / (1 + np.exp(-logit))
    label = (rng.random(len(user)) < probability).astype(np.float32)
    modalities = {}
    for m, modality in enumerate(MODALITIES):
        centre = rng.standard_normal((cluster[:, m].max() + 1, 16))
        x = centre[cluster[:, m]] + 0.5 * rng.standard_normal((len(cluster), 16))
        x[~shown] = rng.standard_normal(16) + 0.5 * rng.standard_normal((int((~shown).sum()), 16))  # one centre for all
        modalities[modality] = x.astype(np.float32)
    log = Interactions(
        user=user.astype(np.int64), item=item.astype(np.int64), time=START + time.astype(np.int64), label=label,
        num_users=users, num_items=len(cluster), logged_non_clicks=True,
    )  # fmt: skip
    dataset = Dataset(
        name=f"planted-{name}",
        interactions=log,
        items=Items(len(cluster), modalities=modalities),
        users=Users(users),
        notes=(f"planted world {name!r}, seed {seed}: nothing in it is real",),
    )
    return World(dataset, probability, offset, cluster, prior, half_life)


def _ridge_logistic(user, columns, label, offset, weight, users, dim, prior, steps: int = 12) -> np.ndarray:
    """MAP coefficients [users, dim] of one ridge logistic regression a user, by Newton's method on all at once."""
    beta = np.zeros((users, dim))
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(offset + beta[user[:, None], columns].sum(1))))
        gradient = -beta / prior
        hessian = np.broadcast_to(np.eye(dim) / prior, (users, dim, dim)).copy()
        for a in range(columns.shape[1]):
            np.add.at(gradient, (user, columns[:, a]), weight * (label - p))
            for b in range(columns.shape[1]):
                np.add.at(hessian, (user, columns[:, a], columns[:, b]), weight * p * (1 - p))
        beta += np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return beta
