"""Rows of a log -> histories strictly before the row, drawn negatives -> `Batch`. Every look goes backwards in time.

The rule of the house lives here: whatever a batch says about a row at time t is computed from events with time < t, by
position in a sorted table, so that no model can forget it. Events at exactly t are not history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from hyperctr.batch import Batch, History
from hyperctr.data.context import moments
from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import PastIndex, SeenPairs

Draw = Literal["uniform", "popularity"]


class Loader:
    """Makes batches of one log.

    Args:
        log: every event there is; a row's batch looks only at those before it.
        history: how many of a user's last clicks a row carries, T.
        known: of a leaky split, the events that may serve as history and counts: the training rows, or all of `log`.
            Negatives then are items that the user never met in all of `log`, later events included, as in the papers.
        derive: columns of `hyperctr.data.moments` that stand behind those of the context.

    Raises:
        ValueError: a history shorter than one.
    """

    def __init__(
        self,
        log: Interactions,
        history: int = 100,
        known: Interactions | None = None,
        derive: tuple[str, ...] = (),
    ):
        if history < 1:
            raise ValueError(f"history must be at least one click long, got {history}")
        leaky = known is not None
        known = known if leaky else log
        self.log, self.history, self.derive = log, history, derive
        clicks = known.take(known.clicks())
        self._clicks_of_user = PastIndex(clicks.user, clicks.time, log.num_users)
        columns = {"item": clicks.item, "time": clicks.time, "type": clicks.type}
        self._clicks = {  # in the order of `_clicks_of_user`, and behind them what stands where there is no click
            name: None if x is None else np.append(x[self._clicks_of_user.order], 0) for name, x in columns.items()
        }
        self._rows_of_item = PastIndex(known.item, known.time, log.num_items)
        self._clicks_up_to = np.append(0, np.cumsum(known.label[self._rows_of_item.order] == 1))

        def when(time: np.ndarray) -> np.ndarray:  # in a leaky split all was there long ago
            return np.full_like(time, -(2**62)) if leaky else time

        self._meetings = SeenPairs(log.user, log.item, when(log.time), log.num_items)
        items, row = np.unique(log.item, return_index=True)  # rows are in time order: the first is the earliest
        born = np.argsort(when(log.time)[row], kind="stable")
        self._pools = {  # what is drawn from, and since when it is there
            "uniform": (items[born], when(log.time)[row][born]),
            "popularity": (clicks.item, when(clicks.time)),
        }

    def negatives(
        self, user: np.ndarray, time: np.ndarray, count: int, rng: np.random.Generator, draw: Draw = "uniform"
    ) -> np.ndarray:
        """Draw items that the user had not met before `time`.

        Args:
            user, time: the queries, [n] each.
            count: negatives a query.
            rng: source of the draws.
            draw: "uniform", from the items that existed before `time`; or "popularity", in proportion to the clicks on
                them before `time`. In a leaky split all is before.

        Returns:
            item numbers [n, count]; where a draw still hits a met item after 50 tries (a user who met nearly
            everything), -1: that negative does not exist.
        """
        pool, since = self._pools[draw]
        alive = np.searchsorted(since, time)  # strictly before
        item = np.full(len(user) * count, -1, np.int64)
        left = np.flatnonzero(np.repeat(alive > 0, count))
        row = left // count
        for _ in range(50):
            if not len(left):
                break
            drawn = pool[(rng.random(len(left)) * alive[row]).astype(np.int64)]
            met = self._meetings.find(user[row], drawn, time[row])
            item[left] = drawn
            item[left[met]] = -1
            left, row = left[met], row[met]
        return item.reshape(len(user), count)

    def batches(
        self,
        rows: np.ndarray,
        size: int,
        negatives: int = 0,
        seed: int | tuple[int, ...] = 0,
        shuffle: bool = False,
        group: np.ndarray | None = None,
        draw: Draw = "uniform",
        run: int = 1,
    ) -> Iterator[Batch]:
        """Yield batches over the given rows of the log.

        Args:
            rows: row numbers of `log`.
            size: rows a batch, drawn negatives not counted.
            negatives: items drawn beside every row of label 1 (and given label 0); 0 where non-clicks were logged.
            seed: of the order and the draws; the same seed repeats the same batches.
            shuffle: random order, batches included.
            group: a number a row ([len(rows)], such as its time slice); batches never mix groups.
            draw: how negatives are drawn, see `negatives`.
            run: so many batches of one group follow each other, fewer at its end; the last of each is marked `last`.
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
            runs += [parts[k : k + run] for k in range(0, len(parts), run)]
        for k in rng.permutation(len(runs)) if shuffle else range(len(runs)):
            for left, part in zip(reversed(range(len(runs[k]))), runs[k], strict=True):
                yield replace(self.batch(part, negatives, rng, draw), last=not left)

    def batch(
        self,
        rows: np.ndarray,
        negatives: int = 0,
        rng: np.random.Generator | None = None,
        draw: Draw = "uniform",
    ) -> Batch:
        """Make one batch of log rows, drawn negatives behind each row."""
        log = self.log
        user, time = log.user[rows], log.time[rows]
        item, label, query = log.item[rows], log.label[rows], np.arange(len(rows))
        context = None if log.context is None else log.context[rows]
        conversion = None if log.conversion is None else log.conversion[rows]
        if negatives:
            rng = rng if rng is not None else np.random.default_rng(0)
            drawn = self.negatives(user, time, negatives, rng, draw)
            drawn[drawn == item[:, None]] = -1  # the row's own item, met for the first time
            item = np.concatenate([item[:, None], drawn], 1).ravel()
            label = np.concatenate([label[:, None], np.zeros_like(drawn, np.float32)], 1).ravel()
            real = item >= 0
            query = np.repeat(query, negatives + 1)[real]
            if conversion is not None:
                unknown = np.full_like(drawn, np.nan, np.float32)
                conversion = np.concatenate([conversion[:, None], unknown], 1).ravel()[real]
            item, label, context = item[real], label[real], None
        made = self.pairs(user, item, time, label, query, context)
        return made if conversion is None else replace(made, conversion=torch.from_numpy(conversion))

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
        first, end = self._clicks_of_user.first(user), self._clicks_of_user.end(user, time)
        start = np.maximum(first, end - self.history)
        place = start[:, None] + np.arange(max(1, (end - start).max(initial=0)))
        mask = place < end[:, None]
        place = np.where(mask, place, len(self._clicks["time"]) - 1)
        history = {name: None if x is None else torch.from_numpy(x[place]) for name, x in self._clicks.items()}
        if self.derive:
            logged = self.log.logged_non_clicks and self.log.context is not None  # unknown here where none is given
            known = np.full((len(item), len(self.log.context_names)), -1) if context is None else context
            last, earliest = (self._clicks["time"][place] for place in (end - 1, first))  # anything without a click
            found = moments(self.derive, time, end - first, last, earliest)
            context = np.concatenate([known, found[query]], 1) if logged else found[query]
        item_first, item_end = self._rows_of_item.first(item), self._rows_of_item.end(item, time[query])
        shows = item_end - item_first
        clicks = self._clicks_up_to[item_end] - self._clicks_up_to[item_first]

        return Batch(
            user=torch.from_numpy(user[query]),
            item=torch.from_numpy(item),
            time=torch.from_numpy(time[query]),
            query=torch.from_numpy(query),
            first=torch.from_numpy(np.unique(query, return_index=True)[1]),
            past=History(
                **history,
                mask=torch.from_numpy(mask),
                length=torch.from_numpy(end - first),
            ),
            clicks_before=torch.from_numpy(clicks.astype(np.float32)),
            shows_before=torch.from_numpy(shows.astype(np.float32)) if self.log.logged_non_clicks else None,
            context=None if context is None else torch.from_numpy(context),
            label=torch.from_numpy(label.astype(np.float32)),
        )
