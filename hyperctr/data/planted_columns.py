"""The planted world `columns`: clicks depend on a number, on tags, and on a cross of an item and the moment.

A row's click logit is the sum of

- a wave of `PERIODS` periods in the number `distance`;
- an effect of each of the row's `EACH` tags in `words`, out of `TAGS`: 35,960 combinations;
- +`CROSS` or -`CROSS` for each pair of the item's `topic` and the row's `place`, balanced, so that neither says
  anything without the other;
- the popularity of the item.

Hardly any distance or combination of words occurs twice. A model that reads them as categories learns nothing from
them; one that reads them as a number and as tags can come near the best possible score.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from hyperctr.data.clock import DAY, SECOND
from hyperctr.data.columns import Category, Number, TagLists
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.kinds import Kind

PERIODS, FAR = 20, 50.0  # waves between distance 0 and FAR
TAGS, EACH = 32, 4
TOPICS = PLACES = 6
WAVE, TAG, CROSS, POPULARITY = 1.5, 1.2, 0.6, 0.3
"""Height of the wave; deviation of the sum of the tags; height of the cross; deviation of the popularity."""


def columns(
    rng: np.random.Generator, start: int, users: int, note: str
) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """Make the data set, with 150 rows per user.

    Args:
        rng: of everything random.
        start: first time, in microseconds since 1970.
        users: number of users.
        note: of the data set.

    Returns:
        the data set; the true click probability of every row, [n]; the part of its logit that depends on the item
        alone, [n]; and the topic of its item, [n].
    """
    items, count, days = 300, 150 * users, 60
    topic, popularity = rng.integers(TOPICS, size=items), POPULARITY * rng.standard_normal(items)
    effect = rng.permutation(np.linspace(-1, 1, TAGS))
    effect *= TAG / np.sqrt(EACH * np.square(effect).mean())
    sign = np.array([np.roll(np.repeat([1, -1], PLACES // 2), turn) for turn in rng.permutation(TOPICS)])

    user, item = rng.integers(users, size=count), rng.integers(items, size=count)
    time, place = np.sort(rng.integers(days * DAY // SECOND, size=count)), rng.integers(PLACES, size=count)
    distance, words = FAR * rng.random(count), rng.random((count, TAGS)).argsort(1)[:, :EACH]
    wave = WAVE * np.sin(2 * np.pi * PERIODS * distance / FAR)
    offset = popularity[item] - 0.5
    logit = offset + wave + effect[words].sum(1) + CROSS * sign[topic[item], place]
    probability = 1 / (1 + np.exp(-logit))

    names = pl.Series([f"word{k:02d}" for k in range(TAGS)])
    tags = TagLists(EACH * np.arange(count + 1), words.ravel(), names, Kind("tags", of="item"))
    log = Interactions(
        user=user, item=item, time=start + SECOND * time, label=(rng.random(count) < probability).astype(np.float32),
        num_users=users, num_items=items, logged_non_clicks=True,
        context={
            "place": Category(place + 1, pl.Series(range(1, PLACES + 1)), Kind(of="moment")),
            "distance": Number(distance, Kind("number", of="item")),
            "words": tags,
        },
    )  # fmt: skip
    made = Items(items, fields={"topic": Category.plain(topic + 1, TOPICS + 1)})
    return Dataset("planted-columns", log, made, Users(users), (note,)), probability, offset, topic[item]
