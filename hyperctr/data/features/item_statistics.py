"""Statistics of every item at the start of each time slice, from past events only, as levels of equal frequency.

A row reads the snapshot at the start of its own slice. The snapshot counts events strictly before that moment, none of
those between it and the row. Numbers become levels 0 to 99, whose edges are fitted on the training slices; level // 10
is the same cut into ten levels (MARN, WWW 2020, section 3.1.1). Level 100 means no history: an item without an earlier
event.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from graphs import TimeGrid
from hyperctr.batch import LEVELS, Batch, Statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader

SAMPLE = 20_000  # most training rows whose histories the edges of ages are fitted on
FITTED = 2**24  # most numbers that the edges of a statistic are fitted on


def names(log: Interactions) -> tuple[str, ...]:
    """Name the statistics of a log; statistics of impressions only where impressions were logged."""
    return ("clicks", "recency", *(("shows", "click_rate") if log.logged_non_clicks else ()))


def numbers(log: Interactions, moments: np.ndarray) -> Iterator[np.ndarray]:
    """Compute the statistics of every item from the events strictly before each moment.

    Args:
        log: the events.
        moments: microseconds, ascending.

    Yields:
        float64 [num_items, K] in the order of `names`: clicks; microseconds since the last click; impressions; clicks
        per impression. NaN where the item has no event of the kind that is counted.
    """
    clicks, shows, last = np.zeros(log.num_items), np.zeros(log.num_items), np.full(log.num_items, np.nan)
    start = 0
    for moment in moments:
        end = max(start, int(np.searchsorted(log.time, moment, side="left")))
        item, clicked = log.item[start:end], log.label[start:end] == 1
        clicks += np.bincount(item[clicked], minlength=log.num_items)
        shows += np.bincount(item, minlength=log.num_items)
        np.fmax.at(last, item[clicked], log.time[start:end][clicked].astype(np.float64))
        start = end
        known = np.where((shows if log.logged_non_clicks else clicks) > 0, 1.0, np.nan)
        columns = [clicks * known, moment - last]
        if log.logged_non_clicks:
            columns += [shows * known, clicks * known / np.maximum(shows, 1)]
        yield np.stack(columns, 1)


def edges(values: np.ndarray) -> np.ndarray:
    """Compute the 99 edges that divide values into 100 levels of equal frequency; NaN is left out.

    The level of a value is the number of edges below it, so equal values share a level. Without values all edges are 0.
    """
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return np.zeros(LEVELS - 1)
    return values[-(-np.arange(1, LEVELS) * len(values) // LEVELS) - 1]


def fit(log: Interactions, grid: TimeGrid) -> np.ndarray:
    """Fit the edges of every statistic, [K, 99], on the snapshots of the grid's slices; `log` is training rows only."""
    starts = grid.starts()[_read(grid, log.time, len(grid))]
    step = max(1, len(starts) * log.num_items // FITTED)  # a large catalogue is sampled: every `step`-th item
    sampled = [x[::step] for x in numbers(log, starts)]
    return np.stack([edges(np.concatenate([x[:, k] for x in sampled])) for k in range(len(names(log)))])


def snapshots(
    log: Interactions, grid: TimeGrid, upto: int, cuts: np.ndarray, times: np.ndarray | None = None
) -> Statistics:
    """Compute the levels of every item at the start of each slice that begins no later than `upto`.

    Where most slices are empty, only those with rows and the one after each have a snapshot: later times read the
    last one before them.

    Args:
        log: the events to count.
        grid: the slices; a grid with a fixed width (`every`) continues after its last slice.
        upto: microseconds.
        cuts: edges of the statistics, from `fit`.
        times: of all rows that will read; None takes those of `log`.
    """
    count = len(grid) if grid.every is None else max(int(grid.slice_of([upto])[0]) + 1, 0)
    starts = grid.starts(count)[_read(grid, log.time if times is None else times, count)]
    level = np.full((len(starts) + 1, log.num_items + 1, len(cuts)), LEVELS, np.uint8)  # before all slices: no history
    for n, statistics in enumerate(numbers(log, starts), 1):
        for k, cut in enumerate(cuts):
            known = ~np.isnan(statistics[:, k])
            level[n, :-1, k][known] = np.searchsorted(cut, statistics[known, k], side="left")
    return Statistics(names(log), torch.from_numpy(cuts), torch.from_numpy(starts), torch.from_numpy(level))


def _read(grid: TimeGrid, times: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the slices that have a snapshot; cost follows the slices that hold something."""
    filled = np.unique(grid.slice_of(times))
    read = np.union1d(filled, filled + 1)
    read = read[(read >= 0) & (read < count)]
    return read if 2 * len(read) < count else np.arange(count)


def ages(loader: Loader, rows: np.ndarray, seed: int = 0) -> torch.Tensor:
    """Fit the edges of the ages of clicks, microseconds before the row, on histories of training rows, int64 [99]."""
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    sampled = [ages_of(loader.batch(rows[start : start + 1024])) for start in range(0, len(rows), 1024)]
    return torch.from_numpy(edges(np.concatenate([np.empty(0), *sampled])).astype(np.int64))


def ages_of(batch: Batch) -> np.ndarray:
    """Return the microseconds from each click of the histories (padding left out) to its row."""
    age = batch.time[batch.query_row][:, None] - batch.histories.time
    return age[batch.histories.mask].numpy().astype(np.float64)
