"""Rows of a log -> histories strictly before the row, drawn negatives -> `Batch`. Every look goes backwards in time.

The rule of the house lives here: whatever a batch says about a row at time t is computed from events with time < t, by
position in a sorted table, so that no model can forget it. Events at exactly t are not history.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hyperctr.batch import Batch
from hyperctr.data.interactions import Interactions


class Before:
    """Answers questions about a key (a user, an item, a pair) strictly before a time, in O(log n) and vectorised.

    Args:
        key: whole numbers >= 0, [n].
        time: seconds, [n].
    """

    def __init__(self, key: np.ndarray, time: np.ndarray):
        self._start = int(time.min()) if len(time) else 0
        self._span = int(time.max()) - self._start + 2 if len(time) else 1
        self._keys, rank = np.unique(key, return_inverse=True)
        packed = rank * self._span + (time - self._start)
        self.order = np.argsort(packed, kind="stable")
        self._sorted = packed[self.order]

    def first(self, key: np.ndarray) -> np.ndarray:
        """Position in `order` of the key's first event."""
        return np.searchsorted(self._sorted, np.searchsorted(self._keys, key) * self._span)

    def end(self, key: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Position in `order` behind the key's last event strictly before `time`; equal to `first` without one."""
        rank = np.searchsorted(self._keys, key)
        known = np.append(self._keys, -1)[rank] == key
        past = np.where(known, np.clip(time - self._start, 0, self._span - 1), 0)
        return np.searchsorted(self._sorted, rank * self._span + past)

    def count(self, key: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Number of the key's events strictly before `time`."""
        return self.end(key, time) - self.first(key)


class Loader:
    """Makes batches of one log.

    Args:
        log: every event there is; a row's batch looks only at those before it.
        history: how many of a user's last clicks a row carries, T.
        known: the events that may serve as history and counts where not all of `log` may: the training rows of a leaky
            split. Negatives then are items that the user never met in all of `log`, as in the papers.

    Raises:
        ValueError: a history shorter than one.
    """

    def __init__(self, log: Interactions, history: int = 100, known: Interactions | None = None):
        if history < 1:
            raise ValueError(f"history must be at least one click long, got {history}")
        leaky = known is not None
        known = known if leaky else log
        self.log, self.history = log, history
        clicks = known.take(known.clicks())
        self._clicks_of_user, self._clicks = Before(clicks.user, clicks.time), clicks
        self._clicks_of_item = Before(clicks.item, clicks.time)
        self._shows_of_item = Before(known.item, known.time) if known.logged_non_clicks else None
        when = np.full_like(log.time, -(2**62)) if leaky else log.time  # in a leaky split all was met long ago
        self._meetings = Before(log.user * log.num_items + log.item, when)
        items, row = np.unique(log.item, return_index=True)  # rows are in time order: the first is the earliest
        born = np.argsort(when[row], kind="stable")
        self._pool, self._pool_time = items[born], when[row][born]

    def negatives(self, user: np.ndarray, time: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw items uniformly from those that existed before `time` and that the user had not met by then.

        Args:
            user, time: the queries, [n] each.
            count: negatives a query.
            rng: source of the draws.

        Returns:
            item numbers [n, count]; where a draw still hits a met item after 50 tries (a user who met nearly
            everything), -1: that negative does not exist.
        """
        alive = np.searchsorted(self._pool_time, time)[:, None]  # items first seen strictly before
        item = np.full((len(user), count), -1, np.int64)
        row, column = np.nonzero(np.broadcast_to(alive > 0, item.shape))
        for _ in range(50):
            if not len(row):
                break
            drawn = self._pool[(rng.random(len(row)) * alive[row, 0]).astype(np.int64)]
            met = self._meetings.count(user[row] * self.log.num_items + drawn, time[row]) > 0
            item[row[~met], column[~met]] = drawn[~met]
            row, column = row[met], column[met]
        return item

    def batches(
        self,
        rows: np.ndarray,
        size: int,
        negatives: int = 0,
        seed: int | tuple[int, ...] = 0,
        shuffle: bool = False,
        group: np.ndarray | None = None,
    ) -> Iterator[Batch]:
        """Yield batches over the given rows of the log.

        Args:
            rows: row numbers of `log`.
            size: rows a batch, drawn negatives not counted.
            negatives: items drawn beside every row of label 1 (and given label 0); 0 where non-clicks were logged.
            seed: of the order and the draws; the same seed repeats the same batches.
            shuffle: random order, batches included.
            group: a number a row ([len(rows)], such as its time slice); batches never mix groups.
        """
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(rows)) if shuffle else np.arange(len(rows))
        if group is not None:
            order = order[np.argsort(group[order], kind="stable")]
            borders = np.flatnonzero(np.diff(group[order])) + 1
        else:
            borders = np.empty(0, np.int64)
        starts = np.concatenate([
            np.arange(a, b, size) for a, b in zip([0, *borders], [*borders, len(rows)], strict=True)
        ])  # fmt: skip
        ends = np.minimum(starts + size, np.append(starts[1:], len(rows)))
        for k in rng.permutation(len(starts)) if shuffle else range(len(starts)):
            yield self.batch(rows[order[starts[k] : ends[k]]], negatives, rng)

    def batch(self, rows: np.ndarray, negatives: int = 0, rng: np.random.Generator | None = None) -> Batch:
        """Make one batch of log rows, drawn negatives behind each row."""
        log = self.log
        user, time = log.user[rows], log.time[rows]
        item, label, query = log.item[rows], log.label[rows], np.arange(len(rows))
        context = None if log.context is None else log.context[rows]
        if negatives:
            drawn = self.negatives(user, time, negatives, rng if rng is not None else np.random.default_rng(0))
            drawn[drawn == item[:, None]] = -1  # the row's own item, met for the first time
            item = np.concatenate([item[:, None], drawn], 1).ravel()
            label = np.concatenate([label[:, None], np.zeros_like(drawn, np.float32)], 1).ravel()
            real = item >= 0
            query = np.repeat(query, negatives + 1)[real]
            item, label, context = item[real], label[real], None
        return self.pairs(user, item, time, label, query, context)

    def pairs(
        self,
        user: np.ndarray,
        item: np.ndarray,
        time: np.ndarray,
        label: np.ndarray,
        query: np.ndarray,
        context: np.ndarray | None = None,
    ) -> Batch:
        """Make a batch of any (user, item, time), in the log or not: `user` and `time` a query, the rest a row."""
        end = self._clicks_of_user.end(user, time)
        start = np.maximum(self._clicks_of_user.first(user), end - self.history)
        length = end - start
        at = np.arange(max(1, length.max(initial=0)))
        mask = at < length[:, None]
        clicked = self._clicks_of_user.order[np.where(mask, start[:, None] + at, 0)] if len(self._clicks) else 0 * mask
        past = self._clicks if len(self._clicks) else None

        def column(values: np.ndarray | None) -> torch.Tensor:
            found = np.zeros(mask.shape, np.int64) if values is None else np.where(mask, values[clicked], 0)
            return torch.from_numpy(found[query])

        def count(events: Before) -> torch.Tensor:
            return torch.from_numpy(events.count(item, time[query]).astype(np.float32))

        types = past is not None and past.type is not None
        return Batch(
            user=torch.from_numpy(user[query]),
            item=torch.from_numpy(item),
            time=torch.from_numpy(time[query]),
            query=torch.from_numpy(query),
            first=torch.from_numpy(np.unique(query, return_index=True)[1]),
            history=column(past.item if past is not None else None),
            history_mask=torch.from_numpy(mask[query]),
            history_time=column(past.time if past is not None else None),
            history_type=column(past.type) if types else None,
            clicks_before=count(self._clicks_of_item),
            shows_before=None if self._shows_of_item is None else count(self._shows_of_item),
            context=None if context is None else torch.from_numpy(context),
            label=torch.from_numpy(label.astype(np.float32)),
        )
