"""Planted worlds: made data in which every row has a known true click probability.

Long because all worlds share one sampler, and each is a page of it.

`hyperctr data get planted --preset NAME` writes such a world as a data folder:

- `drift`: users care about modalities to different degrees (Dirichlet) and about clusters of items within each
  modality. A user's interests change with a known half-life. Features show the clusters.
- `multihop`: each user belongs to a community. *Anchor* items show their community in their features. *Fresh* items
  appear every week, exist for three weeks and show nothing. A user clicks in each week either anchors and first-tier
  items, or first-tier and second-tier items, never anchors and second-tier items. So the community of a second-tier
  item can be seen two hypergraph hops away, and not nearer.
- `group`: communities, anchors and fresh items again. Most users click few items, all of one community. A few
  *collectors* click all anchors of a community that is drawn again each week, and half of the fresh items. A small
  hyperedge shows the community of a fresh item, and a large one misleads. The mean over the members of a hyperedge
  weighs both equally; a sum over pairs of members counts the large one many times.
- `fashion`: the community of an item is redrawn with a known half-life, except for anchors. The users who clicked the
  item lately show it. A time slice that is too wide mixes communities; one that is too narrow has too few clicks.
- `coldstart`: a few users click much and most click seldom. A user's taste mixes the taste of an interest group with a
  taste of the user's own. The more active the user, the larger the own part. So similar users show what a new user
  likes, and mislead about an active user.
- `categories`: in each of six categories, one modality alone shows what users like. Every modality also shows the
  category of the item, and a factor that all modalities share. Half of the items exist for 14 days, so that many tested
  items have no training row.
- `fields`: a third of the item categories depend on one field of the user each (such as the age), a third on one
  context column, and a third on the topic of the user's latest click. Half of the values raise the click probability
  and half lower it. Nothing else about the user, the context or older clicks matters.
- `columns`: clicks depend on a number through a wave, on a sum of the effects of tags, and on a cross of an item field
  with the context; see `hyperctr.data.planted_columns`.
- `conflict`: a clicked video is watched in part, and the part is the conversion. A catchy cover and a liked topic raise
  the click probability and lower the part watched. The worth of a video affects only the part watched. `agree`: the
  part watched rises with the click probability.
- `noise`: every impression is clicked with the same probability. No model may find anything.

All rows are impressions (`label` 1: clicked, 0: shown and not clicked). The true probabilities therefore give the
ceiling: the best AUC that any model can reach on a set of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hyperctr.data import planted_columns
from hyperctr.data.clock import SECOND
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.write import write_folder
from hyperctr.evaluation.metrics import auc

START = 1_672_531_200  # 2023-01-01 00:00 UTC, seconds
DAY = 86_400  # seconds, in which the worlds are drawn
MODALITIES = ("visual", "acoustic", "textual")
PRESETS = (
    "drift", "multihop", "group", "fashion", "coldstart", "categories", "fields", "columns", "conflict",
    "agree", "noise",
)  # fmt: skip
COMMUNITIES = 6
USER = {"gender": 2, "age": 6, "occupation": 12, "region": 8, "income": 5, "education": 4}
MOMENT = {"hour": 24, "weekday": 7, "device": 4, "weather": 6, "place": 5, "network": 3}
"""Context columns of the world `fields`, as `USER` are its user fields: name -> number of values."""


@dataclass(frozen=True)
class World:
    """A planted data set and the truth behind it.

    Attributes:
        dataset: the part that a model may read.
        probability: true P(click) of every row, [n].
        offset: the part of a row's click logit that depends on the item alone, with the base rate, [n].
        cluster: cluster of each row's item in every modality, at the time of the row, [n, num_modalities].
        prior: variance of one user's coefficient for one cluster, the oracle's prior.
        half_life: days after which half of a user's interest is forgotten (inf: never).
        turnover: days after which half of the items have another community (inf: never).
        shared: the part of a row's click logit that comes from the user's interest group, [n]; None without groups.
        useful: number of the modality that shows what users like, per category, [C]; None where all modalities do.
        asked: what the clicks of each category depend on, [C]: 0 a user field, 1 a context column, 2 the latest click;
            None in other worlds.
        conversion: mean conversion of a row if it is clicked, [n]; None in worlds without conversions.
    """

    dataset: Dataset
    probability: np.ndarray
    offset: np.ndarray
    cluster: np.ndarray
    prior: float
    half_life: float = np.inf
    turnover: float = np.inf
    shared: np.ndarray | None = None
    useful: np.ndarray | None = None
    asked: np.ndarray | None = None
    conversion: np.ndarray | None = None

    def floor(self, rows: np.ndarray) -> float:
        """Return the mean squared error of the true mean conversions on the clicked rows: no model can be lower.

        Args:
            rows: row numbers; those without a click are left out.
        """
        log = self.dataset.interactions
        rows = rows[log.label[rows] == 1]
        return float(np.square(log.conversion[rows] - self.conversion[rows]).mean())

    def ceiling(self, rows: np.ndarray) -> float:
        """Return the AUC of the true probabilities on these rows: in expectation, the best that any model can reach."""
        return auc(self.dataset.interactions.label[rows], self.probability[rows])

    def learnable(self, train: np.ndarray, test: np.ndarray) -> float:
        """Return the AUC on `test` of an oracle that knows clusters and offsets, and learns each user from `train`.

        The oracle is one logistic regression per user over the clusters (one-hot, all modalities), with the prior
        variance of the generator. Row weights decay with the half-life of the generator. A user without training rows
        gets the prior mean, 0. With a prior variance of 0 the oracle uses only the offsets.

        Args:
            train, test: row numbers.
        """
        log = self.dataset.interactions
        if self.prior == 0:
            return auc(log.label[test], self.offset[test])
        count, num_modalities = int(self.cluster.max()) + 1, self.cluster.shape[1]
        columns = self.cluster + count * np.arange(num_modalities)  # [n, Q]
        age = (log.time[train].max() - log.time[train]) / (DAY * SECOND)
        weight = np.ones(len(train)) if np.isinf(self.half_life) else 0.5 ** (age / self.half_life)
        beta = _ridge_logistic(
            log.user[train],
            columns[train],
            log.label[train],
            self.offset[train],
            weight,
            log.num_users,
            count * num_modalities,
            self.prior,
        )
        score = self.offset[test] + beta[log.user[test][:, None], columns[test]].sum(1)
        return auc(log.label[test], score)


def planted(preset: str = "drift", seed: int = 0, scale: float = 1.0) -> World:
    """Make one of the worlds of `PRESETS`.

    Args:
        preset: which world.
        seed: of everything random; the same seed gives the same world.
        scale: multiplies the number of users (and so of rows).

    Raises:
        ValueError: an unknown preset, or a scale that leaves fewer than 10 users.

    >>> world = planted("drift", scale=0.02)
    >>> world.dataset.users, world.dataset.items
    (Users(20 users, fields: none), Items(600 items, fields: none, modalities: visual 16, acoustic 16, textual 16))
    >>> rows = np.arange(len(world.dataset.interactions))
    >>> round(world.ceiling(rows), 2)
    0.91
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; the planted worlds are {', '.join(PRESETS)}")
    if round(1000 * scale) < 10:
        raise ValueError(f"scale must leave at least 10 of 1000 users, got {scale}")
    rng = np.random.default_rng(seed)
    make = {
        "multihop": _multihop,
        "group": _group,
        "fashion": _fashion,
        "coldstart": _coldstart,
        "categories": _categories,
        "fields": _fields,
        "columns": _columns,
        "conflict": partial(_two_tasks, preset="conflict"),
        "agree": partial(_two_tasks, preset="agree"),
    }.get(preset, partial(_drift, noise=preset == "noise"))
    return make(rng, seed, scale)


def write(preset: str, path: str | Path, seed: int = 0, scale: float = 1.0) -> Path:
    """Write a planted world as a folder; its column `true_probability` has no role, so no model reads it."""
    world = planted(preset, seed, scale)
    extra = {"true_probability": world.probability.astype(np.float32)}
    return write_folder(world.dataset, path, extra_interactions=extra)


def _drift(rng: np.random.Generator, seed: int, scale: float, noise: bool) -> World:
    """Make `drift`: tastes for modalities, and interests in clusters that change; or `noise`, without any influence."""
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
    )  # [n] how much the user likes the item at that time
    offset = popularity[item] - (0.0 if noise else 0.6)
    return _world(
        "noise" if noise else "drift", rng, seed, user, item, time, offset, offset + strength * wanted, cluster[item],
        np.full_like(cluster, -1) if noise else cluster, users,
        prior=strength**2 * (taste**2).mean(), half_life=half_life,
    )  # fmt: skip


def _multihop(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `multihop`: anchors show their community, and two tiers of short-lived items do not."""
    weeks, life, users = 26, 3, round(1000 * scale)
    home = rng.integers(COMMUNITIES, size=users)
    group, tier, birth = _items(anchors=20, born=4, weeks=weeks, tiers=2)
    rows = []
    for week in range(weeks):
        alive = (birth < 0) | ((birth <= week) & (week < birth + life))
        active = np.flatnonzero(rng.random(users) < 0.4)
        late = rng.random(len(active)) < 0.5  # sees tiers 1 and 2 this week, else anchors and tier 1
        for u, second in zip(active, late, strict=True):
            pool = np.flatnonzero(alive & ((tier >= 1) if second else (tier <= 1)))
            rows.append(_session(rng, u, pool, group[pool] == home[u], 7 * week, 7))
    user, item, time = _in_order(rows)
    return _communities(
        "multihop", rng, seed, user, item, time, group[item], group[item] == home[user], users,
        shows=np.where(tier == 0, group, -1),
    )  # fmt: skip


def _group(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `group`: small hyperedges within a community, and large ones of collectors that mix fresh items in."""
    weeks, life, users = 26, 4, round(1000 * scale)
    home = rng.integers(COMMUNITIES, size=users)
    collects = np.arange(users) >= round(0.98 * users)
    group, tier, birth = _items(anchors=50, born=6, weeks=weeks, tiers=1)
    rows = []
    for week in range(weeks):
        fresh = (birth >= 0) & (birth <= week) & (week < birth + life)
        pool = np.flatnonzero(fresh | ((tier == 0) & (rng.random(len(tier)) < 0.3)))
        for u in np.flatnonzero((rng.random(users) < 0.4) & ~collects):
            rows.append(_session(rng, u, pool, group[pool] == home[u], 7 * week, 7))
        for u in np.flatnonzero(collects):
            shelf = (tier == 0) & (group == rng.integers(COMMUNITIES))
            seen = np.flatnonzero(shelf | (fresh & (rng.random(len(tier)) < 0.5)))
            rows.append((np.full(len(seen), u), seen, 7 * week * DAY + rng.integers(7 * DAY, size=len(seen))))
    user, item, time = _in_order(rows)
    return _communities(
        "group", rng, seed, user, item, time, group[item], (group[item] == home[user]) | collects[user], users,
        shows=np.where(tier == 0, group, -1),
    )  # fmt: skip


def _fashion(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `fashion`: anchors keep their community, and other items change theirs with a half-life."""
    days, turnover, users = 180, 8, round(1000 * scale)
    home = rng.integers(COMMUNITIES, size=users)
    group, tier, _ = _items(anchors=20, born=20, weeks=1, tiers=1)
    about, everything, rows = group.copy(), np.arange(len(group)), []
    for day in range(days):
        if day % turnover == 0:
            active = np.flatnonzero(rng.random(users) < 0.25)
        redrawn = np.flatnonzero((tier > 0) & (rng.random(len(tier)) < 1 - 0.5 ** (1 / turnover)))
        about[redrawn] = rng.integers(COMMUNITIES, size=len(redrawn))
        for u in active:
            session = _session(rng, u, everything, about == home[u], day, 1, each=1)
            rows.append((*session, about[session[1]]))
    user, item, time, cluster = _in_order(rows)
    return _communities(
        "fashion", rng, seed, user, item, time, cluster, cluster == home[user], users,
        shows=np.where(tier == 0, group, -1), turnover=turnover,
    )  # fmt: skip


def _coldstart(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `coldstart`: activity has a long tail, and the taste of an active user is less like the user's group."""
    users, items, genres, groups, days, strength = round(1000 * scale), 600, 12, 8, 60, 2.0
    rank = rng.permutation(users)
    rows = np.minimum(8 * ((rank + 0.5) / users) ** -0.8, 400)  # expected: 17 at 60 % of the users, 50 at 90 %
    own = rows / (rows + 40)
    mine = rng.integers(groups, size=users)
    group, personal = rng.standard_normal((groups, genres)), rng.standard_normal((users, genres))
    genre, popularity = rng.integers(genres, size=items), 0.6 * rng.standard_normal(items)

    user = rng.permutation(np.repeat(np.arange(users), rng.poisson(rows)))
    item = rng.choice(items, size=len(user), p=np.exp(popularity) / np.exp(popularity).sum())
    time, g = np.sort(rng.integers(days * DAY, size=len(user))), genre[item]
    shared = strength * np.sqrt(1 - own[user]) * group[mine[user], g]
    offset = popularity[item] - 0.8
    logit = offset + shared + strength * np.sqrt(own[user]) * personal[user, g]
    three = np.repeat(genre[:, None], len(MODALITIES), 1)
    return _world("coldstart", rng, seed, user, item, time, offset, logit, three[item], three, users,
                  prior=strength**2 / len(MODALITIES), shared=shared)  # fmt: skip


def _categories(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `categories`: one useful modality per category, a factor that all modalities show, short-lived items."""
    users, items, clusters, days, life, strength = round(1000 * scale), 720, 4, 60, 14, 2.5
    useful = np.repeat(np.arange(len(MODALITIES)), 2)  # of each category
    category, factor = rng.integers(len(useful), size=items), rng.integers(clusters, size=items)
    cluster = rng.integers(clusters, size=(items, len(MODALITIES)))
    decisive = useful[category] * clusters + cluster[np.arange(items), useful[category]]  # what users like or not
    mine = rng.integers(8, size=users)  # tastes come in groups of like-minded users
    taste, liking = (
        0.9 * rng.standard_normal((8, size))[mine] + 0.4 * rng.standard_normal((users, size))
        for size in (len(MODALITIES) * clusters, clusters)
    )
    lasting, birth = np.arange(items) < items // 2, rng.integers(-life, days, size=items)
    popularity = 0.5 * rng.standard_normal(items)
    rows = []
    for day in range(days):
        alive = np.flatnonzero(lasting | ((birth <= day) & (day < birth + life)))
        share = np.exp(popularity[alive]) / np.exp(popularity[alive]).sum()
        item, time = rng.choice(alive, size=users, p=share), day * DAY + rng.integers(DAY, size=users)
        rows.append((rng.integers(users, size=users), item, time))
    user, item, time = _in_order(rows)
    offset = popularity[item] - 0.5
    logit = offset + strength * taste[user, decisive[item]] + 0.5 * strength * liking[user, factor[item]]

    features = {}
    for m, modality in enumerate(MODALITIES):
        shown, own, shared = (rng.standard_normal((size, 16)) for size in (len(useful), clusters, clusters))
        x = shown[category] + own[cluster[:, m]] + 0.5 * shared[factor]
        features[modality] = (x + 0.3 * rng.standard_normal((items, 16))).astype(np.float32)
    made = Items(items, fields={"category": Category.plain(category + 1, len(useful) + 1)}, modalities=features)
    seen = np.stack([decisive, factor], 1)[item]
    return _world("categories", rng, seed, user, item, time, offset, logit, seen, None, users, made,
                  prior=0.6 * strength**2, useful=useful)  # fmt: skip


def _fields(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `fields`: the clicks of a category depend on a user field, a context column or the latest click."""
    users, items, topics, days, strength = round(1000 * scale), 360, 8, 75, 2.5
    asked, which = np.repeat(np.arange(3), 6), np.tile(np.arange(6), 3)  # of each category
    category, topic = rng.integers(len(asked), size=items), rng.integers(topics, size=items)
    who = {name: rng.integers(size, size=users) for name, size in USER.items()}

    def effects(size: int) -> np.ndarray:
        """Draw the effect of each value: +1 for half of the values, -1 for the other half."""
        return rng.permutation(np.arange(size) % 2) * 2.0 - 1.0

    of_user = np.stack([effects(size)[who[name]] for name, size in USER.items()], 1)
    of_context, of_topic = [effects(size) for size in MOMENT.values()], effects(topics)
    popularity = 0.3 * rng.standard_normal(items)
    share = np.exp(popularity) / np.exp(popularity).sum()
    user, latest, rows = np.arange(users), rng.integers(topics, size=users), []
    for day in range(days):
        item, time = rng.choice(items, size=users, p=share), day * DAY + rng.integers(DAY, size=users)
        now = np.stack([rng.integers(size, size=users) for size in MOMENT.values()], 1)
        of_now = np.stack([effect[now[:, k]] for k, effect in enumerate(of_context)], 1)
        every = np.stack([of_user, of_now, np.repeat(of_topic[latest][:, None], 6, 1)])  # [3, U, 6]
        wanted = every[asked[category[item]], user, which[category[item]]]
        logit = popularity[item] - 0.3 + strength * wanted
        clicked = rng.random(users) < 1 / (1 + np.exp(-logit))
        latest = np.where(clicked, topic[item], latest)
        rows.append((user, item, time, logit, clicked, *now.T))
    user, item, time, logit, clicked, *now = _in_order(rows)
    made = Items(
        items,
        fields={
            "category": Category.plain(category + 1, len(asked) + 1),
            "topic": Category.plain(topic + 1, topics + 1),
        },
    )
    seen = np.stack([category, topic], 1)[item]
    world = _world("fields", rng, seed, user, item, time, popularity[item] - 0.3, logit, seen, None, users, made,
                   prior=strength**2, asked=asked)  # fmt: skip
    context = {name: Category.plain(x, size) for (name, size), x in zip(MOMENT.items(), now, strict=True)}
    log = replace(world.dataset.interactions, label=clicked.astype(np.float32), context=context)
    known = Users(users, fields={name: Category.plain(x + 1, USER[name] + 1) for name, x in who.items()})
    dataset = replace(world.dataset, interactions=log, users=known)
    return replace(world, dataset=dataset)


def _columns(rng: np.random.Generator, seed: int, scale: float) -> World:
    """Make `columns`; users differ in nothing but what they are shown."""
    made, probability, offset, topic = planted_columns.columns(
        rng, SECOND * START, round(1000 * scale), _note("columns", seed)
    )
    return World(made, probability, offset, topic[:, None], prior=0.0)


def _two_tasks(rng: np.random.Generator, seed: int, scale: float, preset: str) -> World:
    """Make `conflict` or `agree`: groups of users like topics, and a clicked video is watched in part."""
    users, items, groups, topics, covers, worths, days = round(1000 * scale), 400, 8, 8, 6, 6, 60
    mine, topic = rng.integers(groups, size=users), rng.integers(topics, size=items)
    cover, worth = rng.integers(covers, size=items), rng.integers(worths, size=items)
    taste = 1.2 * rng.standard_normal((groups, topics))
    catchy, good = np.linspace(-1.2, 1.2, covers), np.linspace(-0.8, 0.8, worths)

    user = rng.integers(users, size=40 * users)
    item = rng.integers(items, size=len(user))
    time = np.sort(rng.integers(days * DAY, size=len(user)))
    offset = catchy[cover[item]] - 1.2
    logit = offset + taste[mine[user], topic[item]]
    watched = good[worth[item]] + 1.0 - logit if preset == "conflict" else logit + 1.2
    mean = 1 / (1 + np.exp(-watched))
    three = np.repeat(topic[:, None], len(MODALITIES), 1)
    world = _world(preset, rng, seed, user, item, time, offset, logit, three[item], three, users,
                   prior=1.2**2 / len(MODALITIES), conversion=mean)  # fmt: skip
    data = world.dataset
    conversion = np.where(data.interactions.label == 1, rng.beta(4 * mean, 4 * (1 - mean)), 0)
    length = np.exp(rng.normal(4, 0.7, items))  # seconds
    return replace(
        world,
        dataset=replace(
            data,
            interactions=replace(data.interactions, conversion=conversion, length=length[item]),
            items=replace(
                data.items,
                fields={  # 0 is for missing ones
                    "cover": Category.plain(1 + cover, 1 + covers),
                    "worth": Category.plain(1 + worth, 1 + worths),
                },
            ),
            users=Users(users, fields={"group": Category.plain(1 + mine, 1 + groups)}),
        ),
    )


def _items(anchors: int, born: int, weeks: int, tiers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay out items: community, tier and week of birth; per community first anchors (0, -1), then each tier by week."""
    tier = np.repeat(np.arange(1 + tiers), [anchors, *[born * weeks] * tiers])
    birth = np.concatenate([np.full(anchors, -1), np.tile(np.repeat(np.arange(weeks), born), tiers)])
    return np.repeat(np.arange(COMMUNITIES), len(tier)), np.tile(tier, COMMUNITIES), np.tile(birth, COMMUNITIES)


def _session(rng, user, pool, own, day, days, each=5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw impressions within some days: `each` items of the user's own community, and `each` other items."""
    item = np.concatenate([rng.choice(pool[own], each, False), rng.choice(pool[~own], each, False)])
    return np.full(2 * each, user), item, day * DAY + rng.integers(days * DAY, size=2 * each)


def _in_order(rows: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Join rows into columns and sort them by time, the third column."""
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    order = np.argsort(columns[2], kind="stable")
    return [column[order] for column in columns]


def _communities(name, rng, seed, user, item, time, cluster, match, users, shows, **known) -> World:
    """Make a world whose matching rows are mostly clicked and other rows seldom; all modalities show the same."""
    logit, offset = np.where(match, 2.2, -2.6), np.full(len(user), -1.5)
    cluster, shows = (np.repeat(x[:, None], len(MODALITIES), 1) for x in (cluster, shows))
    return _world(name, rng, seed, user, item, time, offset, logit, cluster, shows, users, prior=4.0, **known)


def _world(name, rng, seed, user, item, time, offset, logit, cluster, shows, users, items=None, **known) -> World:
    """Draw the clicks, and the features where `items` is None, and put the pieces together.

    `shows` is the cluster that an item shows in each modality, [num_items, num_modalities]. Features are drawn around
    the centre of that cluster; all items that show none (-1) share one centre.
    """
    probability = 1 / (1 + np.exp(-logit))
    label = (rng.random(len(user)) < probability).astype(np.float32)
    modalities = {}
    for m, modality in enumerate(MODALITIES if items is None else ()):
        hidden = shows[:, m] < 0
        centre = rng.standard_normal((cluster[:, m].max() + 1, 16))
        x = centre[shows[:, m]] + 0.5 * rng.standard_normal((len(shows), 16))
        x[hidden] = rng.standard_normal(16) + 0.5 * rng.standard_normal((int(hidden.sum()), 16))
        modalities[modality] = x.astype(np.float32)
    log = Interactions(
        user=user.astype(np.int64), item=item.astype(np.int64), time=SECOND * (START + time.astype(np.int64)),
        label=label, num_users=users, num_items=len(shows if items is None else items), logged_non_clicks=True,
    )  # fmt: skip
    dataset = Dataset(
        name=f"planted-{name}",
        interactions=log,
        items=Items(len(shows), modalities=modalities) if items is None else items,
        users=Users(users),
        notes=(_note(name, seed),),
    )
    return World(dataset, probability, offset, cluster, **known)


def _note(name: str, seed: int) -> str:
    return f"planted world {name!r}, seed {seed}: nothing in it is real"


def _ridge_logistic(user, columns, label, offset, weight, users, dim, prior, steps: int = 12) -> np.ndarray:
    """Fit one ridge logistic regression per user by Newton's method: MAP coefficients [users, dim], all at once."""
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
