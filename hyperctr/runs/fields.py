"""From the columns of a data set to the fields of a model, by the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hyperctr.batch import Columns, Fields
from hyperctr.data.columns import Column
from hyperctr.data.context import OF_USER, SIZES
from hyperctr.data.dataset import Dataset
from hyperctr.data.features.encoders import Encoders
from hyperctr.data.features.titles import words_of
from hyperctr.data.interactions import Interactions

TITLE = "title.words"  # the column of the words of titles


def fields_of(
    dataset: Dataset, train: np.ndarray, derive: Sequence[str] = (), titles: bool = False
) -> tuple[Fields, Encoders, list[str]]:
    """Fit the columns of users, items and the context on the training rows.

    Args:
        dataset: the data.
        train: numbers of the training rows.
        derive: columns of `hyperctr.data.context` that are read behind the log's own context.
        titles: whether the words of the items' titles are one more column of the items.

    Returns:
        The fields, how the context of a row is read, and notes on what was put together or cut.

    Raises:
        ValueError: context is to be derived from times that the data lacks, or has a name that is taken.
    """
    log = dataset.interactions
    user, said_of_users = _columns(dataset.users.fields, log.user[train], log.num_users)
    item, said_of_items = _columns(item_columns(dataset, train, titles), log.item[train], log.num_items)
    if titles and dataset.items.titles is None:
        said_of_items.append(f"There are no titles of items in {dataset.name} (data.titles).")
    weight = np.zeros(len(log), np.int64)
    weight[train] = 1
    encoders = Encoders.fit(log.read_context, weight)
    of_user = tuple(name for name in derive if name in OF_USER)
    fields = Fields(user, item, _context(log, encoders, derive), of_user)
    return fields, encoders, [*said_of_users, *said_of_items, *encoders.notes(log.context)]


def item_columns(dataset: Dataset, train: np.ndarray, titles: bool) -> dict[str, Column]:
    """Return the columns of the items that a run reads: those of the data, and by choice the words of the titles.

    Args:
        dataset, train, titles: as of `fields_of`; the vocabulary is that of the training rows.
    """
    if not titles or dataset.items.titles is None:
        return dict(dataset.items.fields)
    words = words_of(dataset.items.titles, np.unique(dataset.interactions.item[train]))
    return dict(dataset.items.fields) | {TITLE: words}


def _columns(columns: Mapping[str, Column], trained: np.ndarray, count: int) -> tuple[Columns, list[str]]:
    """Return the columns with a value for every user or item and an unknown one; `trained` is that of training rows."""
    encoders = Encoders.fit(columns, np.bincount(trained, minlength=count))
    return encoders.table(columns, count), encoders.notes(columns)


def _context(log: Interactions, encoders: Encoders, derive: Sequence[str]) -> Columns:
    """Return the columns of the context: logged columns, then derived ones."""
    for name in derive:
        if not log.has_time and name != "clicks":
            raise ValueError(f"data.derive={name} needs times, the data has only an order; clicks needs none")
        if name in encoders.by_name:
            raise ValueError(f"data.derive={name}: the data has a context column of this name; leave one of them out")
    found = encoders.columns
    return replace(found, sizes=found.sizes | {name: SIZES[name] for name in derive})
