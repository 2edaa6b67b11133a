"""The three referees by loops over clicks and items, and a small log to compare them on."""

from collections import defaultdict
from functools import partial
from math import sqrt

import numpy as np
from table_builder import make_tables

from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader

USERS, ITEMS = 9, 12
TRAIN, VALID = np.arange(160), np.arange(160, 240)


def random_log(seed=0, rows=240, **more):
    """Items of one taste per user, some clicked often; the last two items are never clicked, and times repeat."""
    rng = np.random.default_rng(seed)
    user, time = rng.integers(USERS - 1, size=rows), np.sort(rng.integers(rows // 2, size=rows))
    item = (rng.integers(5, size=rows) * 2 + user % 2 * (rng.random(rows) < 0.8)) % (ITEMS - 2)
    return Interactions(user, item, time, rng.random(rows) < 0.7, USERS, ITEMS, **more)


def fitted(kind, log, train=TRAIN, value=None, **settings):
    """A referee fitted on some rows of a log, and the loader of the log; `value`: its setting, else it is chosen."""
    loader, referee = Loader(log, 50), kind(kind.Config(**settings), make_tables(log.num_users, log.num_items))
    rows = partial(loader.batches, train, 32, shuffle=True)
    if value is None:
        referee.fit(rows, partial(loader.batches, VALID, 32))
    else:
        referee.setting.value.fill_(value)
        referee.fit(rows)
    return referee, loader


def clicks_of(log, rows):
    """The clicks among rows, by user: (time, item), in order."""
    found = defaultdict(list)
    for k in rows:
        if log.label[k] == 1:
            found[int(log.user[k])].append((int(log.time[k]), int(log.item[k])))
    return {user: sorted(some) for user, some in found.items()}


def past_of(log, user, time, most=50):
    """The items that a user clicked before a time, in order, at most so and so many."""
    return [
        int(i)
        for u, i, t, y in zip(log.user, log.item, log.time, log.label, strict=True)
        if u == user and t < time and y == 1
    ][-most:]


def users_of(log, rows):
    """The users who clicked each item among rows."""
    found = defaultdict(set)
    for user, some in clicks_of(log, rows).items():
        for _, item in some:
            found[item].add(user)
    return found


def slow_ease(log, rows, ridge):
    """B of all items; those without a click have no column and no row."""
    of = users_of(log, rows)
    names = sorted(of)
    x = np.array([[float(user in of[item]) for item in names] for user in range(USERS)])
    p = np.linalg.inv(x.T @ x + ridge * np.eye(len(names)))
    b = defaultdict(float)
    for j, one in enumerate(names):
        for i, other in enumerate(names):
            if i != j:
                b[one, other] = -p[j, i] / p[i, i]
    return lambda past, item: sum(b[j, item] for j in set(past))


def slow_itemknn(log, rows, k):
    of = users_of(log, rows)
    near = {}
    for i in of:
        cosine = {j: len(of[i] & of[j]) / (sqrt(len(of[i]) * len(of[j])) + 10) for j in of if j != i}
        near[i] = dict(sorted(cosine.items(), key=lambda pair: (-pair[1], pair[0]))[:k])
    return lambda past, item: sum(near.get(item, {}).get(j, 0.0) for j in set(past))


def slow_transitions(log, rows, within, decay):
    of, s = users_of(log, rows), defaultdict(float)
    for some in clicks_of(log, rows).values():
        for b, (later, i) in enumerate(some):
            for a, (earlier, j) in enumerate(some[:b]):
                if b - a <= within and earlier < later:
                    s[i, j] += (b - a) ** -0.5 / sqrt((len(of[i]) + 5) * (len(of[j]) + 5))
    return lambda past, item: sum(s[item, j] * decay**age for age, j in enumerate(reversed(past)))
