"""Turn rows of a log into a `Batch`: the history strictly before each row, and drawn negatives.

Everything that a batch contains about a row at time t is computed from events with time < t, by position in a sorted
table. Events at exactly t are not history. This rule is kept here, so that no model can break it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from threading import Lock
from typing import Literal

import numpy as np
import torch

from hyperctr.batch import Batch, History, Step
from hyperctr.data.columns import Column
from hyperctr.data.features.encoders import Encoders
from hyperctr.data.features.past.source import Past
from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import PastIndex, SeenPairs
from hyperctr.data.row_columns import BatchRows, Derived, Logged, RowColumns, read_all

Draw = Literal["uniform", "popularity"]
ONE_AT_A_TIME = Lock()  # sources keep what they have read last; a thread makes batches ahead while another validates


class Loader:
    """Makes the batches of one log.

    Args:
        log: all events; the batch of a row uses only the events before the row.
        history: T, the most clicks in a history: the user's latest ones before the row.
        known: for a leaky split, the events that may serve as history and counts: the training rows, or all of `log`.
            Negatives are then items that the user never met in `log`, later events included, as in the papers.
        derive: columns of `hyperctr.data.context`, read behind the log's own context.
        encoders: how the log's own context is read; None: fitted on all rows of the log.
        past: numbers of the past, read behind all other context; None for none.
        met: whether negatives may be items that the user has met.

    Raises:
        ValueError: a history shorter than one click.

    >>> log = Interactions(user=[0, 0, 0], item=[2, 1, 0], time=[5, 7, 9], label=[1, 1, 0], num_users=1, num_items=3)
    >>> batch = Loader(log).batch(np.array([2]))
    >>> batch.item.tolist(), batch.histories.item.tolist(), batch.label.tolist()
    ([0], [[2, 1]], [0.0])
    """

    def __init__(
        self,
        log: Interactions,
        history: int = 100,
        known: Interactions | None = None,
        derive: tuple[str, ...] = (),
        encoders: Encoders | None = None,
        past: Past | None = None,
        met: bool = False,
    ):
        if history < 1:
            raise ValueError(f"history must be at least one click long, got {history}")
        self._leaky = leaky = known is not None
        known = known if leaky else log
        self.log, self.history, self.met = log, history, met
        clicks = known.take(known.clicks())
        self._clicks_of_user = PastIndex(clicks.user, clicks.time, log.num_users)
        columns = {"item": clicks.item, "time": clicks.time, "type": clicks.type}
        self._clicks = {  # sorted like `_clicks_of_user`, plus one padding entry that stands for 'no click'
            name: None if x is None else np.append(x[self._clicks_of_user.order], 0) for name, x in columns.items()
        }
        encoders = Encoders.fit(log.read_context, np.ones(len(log))) if encoders is None else encoders
        self.sources: list[RowColumns] = [Logged(encoders, log.context)] if len(encoders) else []
        if derive:
            self.sources.append(Derived(derive, self._clicks_of_user, self._clicks["time"]))
        if past is not None:
            self.sources.append(past)
        self._rows_of_item = PastIndex(known.item, known.time, log.num_items)
        self._clicks_up_to = np.append(0, np.cumsum(known.label[self._rows_of_item.order] == 1))

        def when(time: np.ndarray) -> np.ndarray:  # in a leaky split everything counts as long past
            return np.full_like(time, -(2**62)) if leaky else time

        self._meetings = SeenPairs(log.user, log.item, when(log.time), log.num_items)
        items, row = np.unique(log.item, return_index=True)  # rows are in time order: the first is the earliest
        self._appears = np.full(log.num_items, np.iinfo(np.int64).max)
        self._appears[items] = log.time[row]
        born = np.argsort(when(log.time)[row], kind="stable")
        self._pools = {  # the entries that negatives are drawn from, and the time since which each exists
            "uniform": (items[born], when(log.time)[row][born]),
            "popularity": (clicks.item, when(clicks.time)),
        }

    def reading(self, table: Mapping[str, Column]) -> Loader:
        """Return this loader with another table of context columns, for rows that are not in the log.

        The `row` of `make_batch` is then a row of that table; a column that it lacks is unknown.
        """
        other = copy(self)
        other.sources = [source.reading(table) for source in self.sources]
        return other

    def negatives(
        self,
        user: np.ndarray,
        time: np.ndarray,
        count: int,
        rng: np.random.Generator,
        draw: Draw = "uniform",
        item: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw items that the user had not met before `time`; with `met`, items met or not.

        Args:
            user, time: the queries, [n] each.
            count: negatives per query.
            rng: source of the draws.
            draw: "uniform": from the items that existed before `time`. "popularity": in proportion to an item's clicks
                before `time`. In a leaky split every event counts as before.
            item: with `met`, the item of each query, which is no negative of it, [n]; None: every item may be one.

        Returns:
            item numbers [n, count]; -1 where 50 draws all gave an item that may not be drawn (a user who met nearly
            everything): that negative does not exist.
        """
        pool, since = self._pools[draw]
        alive = np.searchsorted(since, time)  # strictly before
        found = np.full(len(user) * count, -1, np.int64)
        left = np.flatnonzero(np.repeat(alive > 0, count))
        row = left // count
        for _ in range(50):
            if not len(left):
                break
            drawn = pool[(rng.random(len(left)) * alive[row]).astype(np.int64)]
            if not self.met:
                refused = self._meetings.find(user[row], drawn, time[row])
            else:
                refused = np.flatnonzero(drawn == item[row]) if item is not None else np.empty(0, np.int64)
            found[left] = drawn
            found[left[refused]] = -1
            left, row = left[refused], row[refused]
        return found.reshape(len(user), count)

    def is_first(self, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Say whether no event before `time` has the item, bool [n]; by the clock, in a leaky split too.

        Args:
            item, time: one per question, [n] each; the items are of the log.
        """
        return self._appears[item] >= time

    def has_met(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Say whether the user had an event with the item before `time`, bool [n]; by the clock, in a leaky split too.

        Args:
            user, item, time: one per question, [n] each; users and items are of the log.
        """
        log = self.log
        met = SeenPairs(log.user, log.item, log.time, log.num_items) if self._leaky else self._meetings
        found = np.zeros(len(user), bool)
        found[met.find(user.astype(np.int64), item.astype(np.int64), time)] = True
        return found

    def as_new(self, item: np.ndarray, time: np.ndarray, count: int) -> np.ndarray:
        """Return items that are as new as the item of a first appearance: no event before `time` has them either.

        They are the items that appear first in the log from `time` on, the earliest of them: like the query's own item
        they exist from then on, and no past tells them apart. Nothing is drawn at random. They are known from later
        events, so they can be candidates of an evaluation only.

        Args:
            item: the item of each query, which is left out, [n].
            time: of each query, [n].
            count: most candidates per query.

        Returns:
            item numbers [n, count], the earliest first; -1 where no more items appear.
        """
        pool, since = self._pools["uniform"]
        place = np.searchsorted(since, time)[:, None] + np.arange(count + 1)
        found = np.where(place < len(pool), pool[np.minimum(place, len(pool) - 1)], -1)
        found[found == item[:, None]] = -1
        return np.take_along_axis(found, np.argsort(found < 0, axis=1, kind="stable"), axis=1)[:, :count]

    def batches(
        self,
        rows: np.ndarray,
        size: int,
        negatives: int = 0,
        seed: int | tuple[int, ...] = 0,
        shuffle: bool = False,
        group: np.ndarray | None = None,
        draw: Draw = "uniform",
        per_group: int | None = None,
        apart: bool = False,
    ) -> Iterator[Batch]:
        """Yield batches over the given rows of the log.

        Args:
            rows: row numbers of `log`.
            size: rows per batch, drawn negatives not counted.
            negatives: items drawn per row of label 1 and given label 0, in the row's context if non-clicks were logged.
            seed: of the order and the draws; the same seed repeats the same batches.
            shuffle: put the rows, and then the batches, in random order.
            group: one number per row, such as its time slice, [len(rows)]; a batch never mixes groups.
            draw: how negatives are drawn, see `negatives`.
            per_group: for training, the number of batches of one group that follow each other and share a propagation,
                fewer at the end of the group. The last of them closes the group. None: the batches are for evaluation.
            apart: for evaluation, whether the negatives of a first appearance are items that are `as_new`.
        """
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(rows)) if shuffle else np.arange(len(rows))
        borders = np.empty(0, np.int64)
        if group is not None:
            order = order[np.argsort(group[order], kind="stable")]
            borders = np.flatnonzero(np.diff(group[order])) + 1
        runs = []
        for part in np.split(rows[order], borders):
            parts = [part[k : k + size] for k in range(0, len(part), size)]
            together = per_group or 1
            runs += [parts[k : k + together] for k in range(0, len(parts), together)]
        for k in rng.permutation(len(runs)) if shuffle else range(len(runs)):
            for left, part in zip(reversed(range(len(runs[k]))), runs[k], strict=True):
                step = None if per_group is None else Step(closes_group=not left)
                yield replace(self.batch(part, negatives, rng, draw, apart), step=step)

    def batch(
        self,
        rows: np.ndarray,
        negatives: int = 0,
        rng: np.random.Generator | None = None,
        draw: Draw = "uniform",
        apart: bool = False,
    ) -> Batch:
        """Make one batch of log rows, each followed by its drawn negatives; see `batches`."""
        log = self.log
        user, time = log.user[rows], log.time[rows]
        item, label, query = log.item[rows], log.label[rows], np.arange(len(rows))
        conversion = None if log.conversion is None else log.conversion[rows]
        if negatives:
            rng = rng if rng is not None else np.random.default_rng(0)
            drawn = self.negatives(user, time, negatives, rng, draw, item)
            drawn[drawn == item[:, None]] = -1  # the row's own item, met for the first time
            if apart and (first := self.is_first(item, time)).any():
                drawn[first] = self.as_new(item[first], time[first], negatives)
            item = np.concatenate([item[:, None], drawn], 1).ravel()
            label = np.concatenate([label[:, None], np.zeros_like(drawn, np.float32)], 1).ravel()
            real = item >= 0
            query = np.repeat(query, negatives + 1)[real]
            if conversion is not None:
                unknown = np.full_like(drawn, np.nan, np.float32)
                conversion = np.concatenate([conversion[:, None], unknown], 1).ravel()[real]
            item, label = item[real], label[real]
        batch = self.make_batch(user, item, time, label, query, rows[query], drawn=negatives > 0)
        return batch if conversion is None else replace(batch, conversion=torch.from_numpy(conversion))

    def make_batch(
        self,
        user: np.ndarray,
        item: np.ndarray,
        time: np.ndarray,
        label: np.ndarray,
        query: np.ndarray,
        row: np.ndarray | None = None,
        drawn: bool = False,
    ) -> Batch:
        """Make a batch of any (user, item, time) triples, whether they are in the log or not.

        Args:
            user, time: one per query, [Q].
            item, label, query: one per row, [B]; `query` is the number of the row's query.
            row: the number of each row in the log, for its context, [B]; -1, or None for all: its context is unknown.
            drawn: whether some of the items were drawn as negatives for the rows of the log.
        """
        first, end = self._clicks_of_user.first(user), self._clicks_of_user.end(user, time)
        start = np.maximum(first, end - self.history)
        place = start[:, None] + np.arange(max(1, (end - start).max(initial=0)))
        mask = place < end[:, None]
        place = np.where(mask, place, len(self._clicks["time"]) - 1)
        history = {name: None if x is None else torch.from_numpy(x[place]) for name, x in self._clicks.items()}
        row = np.full(len(item), -1) if row is None else row
        with ONE_AT_A_TIME:
            context = read_all(self.sources, BatchRows(user, time, item, query, row, drawn))
        item_first, item_end = self._rows_of_item.first(item), self._rows_of_item.end(item, time[query])
        shows = item_end - item_first
        clicks = self._clicks_up_to[item_end] - self._clicks_up_to[item_first]

        return Batch(
            user=torch.from_numpy(user[query]),
            item=torch.from_numpy(item),
            time=torch.from_numpy(time[query]),
            query=torch.from_numpy(query),
            query_row=torch.from_numpy(np.unique(query, return_index=True)[1]),
            histories=History(
                **history,
                mask=torch.from_numpy(mask),
                length=torch.from_numpy(end - first),
            ),
            clicks_before=torch.from_numpy(clicks.astype(np.float32)),
            shows_before=torch.from_numpy(shows.astype(np.float32)) if self.log.logged_non_clicks else None,
            context=context,
            label=torch.from_numpy(label.astype(np.float32)),
        )
