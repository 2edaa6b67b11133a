"""The numbers of the past of one run: what is counted, and how models read it, by the training rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from graphs import TimeGrid
from hyperctr import config
from hyperctr.batch import Fields
from hyperctr.data.dataset import Dataset
from hyperctr.data.features.past.content import PastContent
from hyperctr.data.features.past.history import Latest
from hyperctr.data.features.past.links import KINDS, PastLinks, PastNearest
from hyperctr.data.features.past.moments import Moments, Period
from hyperctr.data.features.past.numbers import PastCounts
from hyperctr.data.features.past.scores import FITTED, NormalScores
from hyperctr.data.features.past.sessions import PastSessions
from hyperctr.data.features.past.source import Past
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.data.row_columns import BatchRows
from hyperctr.data.split import Split
from hyperctr.hypergraphs.recipes import time_grid

BLOCK = 2**16  # rows whose numbers are made at once


PERIODS = "q32"  # of the past, where none are stated; on ML-1M slices of 30 days give .0015 less AUC

COUNTS = ("counts", "content")
PARTS = {"none": (), "counts": COUNTS, "links": ("links",), "all": (*COUNTS, "links")}
"""What each value of `data.past` that is no list reads."""


def past_parts(asked: config.Data, reads: frozenset[str]) -> tuple[str, ...]:
    """Return what is read of the past: what the model itself says, or else what the run file asks for."""
    own = tuple(part for part in PARTS["all"] if part in reads)
    return own or (PARTS[asked.past] if isinstance(asked.past, str) else asked.past)


def by_period(asked: config.Data, wanted: tuple[str, ...], has_time: bool = True) -> list[str]:
    """Return what is read as of the start of a period, in words.

    Args:
        asked: the run's table [data].
        wanted: as from `past_parts`.
        has_time: whether the data have times.
    """
    rates = "counts" in wanted and _rates_at(asked, has_time) == "slice"
    return ["links"] * bool(KINDS.keys() & {*wanted}) + ["the user's own rates"] * rates


def past_grid(run: config.Run, log: Interactions, parts: Split, wanted: tuple[str, ...], name: str) -> TimeGrid | None:
    """Cut time into the periods of the past; None where nothing is read by period.

    They are those of `data.past_every`; without it `PERIODS`, which have equally many training clicks and go on after
    the training rows.

    Args:
        run: what is asked for.
        log: all events.
        parts: its split.
        wanted: as from `past_parts`.
        name: of the data, in an error.

    Raises:
        ValueError: periods by the clock of data without times.
    """
    if not by_period(run.data, wanted, log.has_time):
        return None
    every = run.data.past_every or PERIODS
    if not log.has_time and not every.startswith("q"):
        raise ValueError(f'data.past_every = "{every}" needs times, {name} has only an order; use {PERIODS}')
    return time_grid(log, parts, run.slices.cut_by(every), name)


def past_notes(ready: Any) -> list[str]:
    """Say at the start of which periods a run reads what it reads by period; `ready` is `prepare.Prepared`."""
    data, grid, log = ready.run.data, ready.past_grid, ready.dataset.interactions
    if grid is None:
        return []
    what = " and ".join(by_period(data, past_parts(data, ready.reads), log.has_time))
    begun = _begun(grid, log, ready.split)
    width = f"of {grid.every}" if grid.every else "with equally many training clicks"
    said = f"{what} are read as of the start of periods {width}, {begun} of which begin before the last training row"
    return [f"{said}{': too few' if begun < 2 else ''} (data.past_every)"]


def _begun(grid: TimeGrid, log: Interactions, parts: Split) -> int:
    return int(grid.slice_of(log.time[parts.train]).max(initial=-1)) + 1


def _rates_at(asked: config.Data, has_time: bool) -> Period:
    return asked.user_rates or ("session" if has_time else "slice")


def past_of(
    asked: config.Data,
    wanted: tuple[str, ...],
    dataset: Dataset,
    known: Interactions,
    grid: TimeGrid | None,
    scores: NormalScores | None,
) -> Past | None:
    """Count the past that a run asks for; None where it asks for none.

    Args:
        asked: the run's table [data].
        wanted: as from `past_parts`.
        dataset: the data.
        known: the events that may be counted.
        grid: as from `past_grid`.
        scores: how the numbers are read, if that is fitted.

    Raises:
        ValueError: sessions or days of data without times, a cross that cannot be, or vectors that there are not.
    """
    if not wanted:
        return None
    log, period = dataset.interactions, asked.user_rates
    if not log.has_time and period in ("session", "day"):
        raise ValueError(
            f'data.user_rates = "{period}" needs times, the data has only an order; choose "slice" or "row"'
        )
    items, clicks, parts = dataset.items, known.take(known.clicks()), []
    latest = Latest.of(clicks)
    if "counts" in wanted:
        moments = Moments(_rates_at(asked, log.has_time), log.user, log.time, log.num_users, grid)
        columns = dataset.users.fields, dataset.items.fields
        parts.append(PastCounts.of(log, known, *columns, moments, asked.crosses))
        if log.has_time and log.logged_non_clicks:
            whole = moments.period == "session"
            parts.append(
                PastSessions(moments if whole else Moments("session", log.user, log.time, log.num_users, None))
            )
    if "content" in wanted and items.modalities:
        parts.append(PastContent.of(items.modalities, items.present, latest))
    parts += [PastLinks.of(log, clicks, grid, latest, kind) for kind in KINDS if kind in wanted]
    if "nearest" in wanted:
        if not items.modalities:
            raise ValueError(f"data.past: nearest items are those of a modality, and {dataset.name} has none")
        parts.append(PastNearest.of(items.modalities, items.present, latest))
    return Past(tuple(parts), scores)


def read_by_scores(loader: Loader, fields: Fields, rows: np.ndarray, drawn: bool) -> tuple[NormalScores, Fields]:
    """Fit how the numbers of a loader are read, tell the loader, and add the numbers to the context of the fields.

    Args:
        loader: whose last source is the past; changed in place.
        fields: of the other columns.
        rows: the training rows.
        drawn: whether training draws negatives.
    """
    past = loader.sources.pop()
    scores = fit_scores(loader, past, rows, drawn)
    past = replace(past, scores=scores)
    loader.sources.append(past)
    made, context = past.columns, fields.context
    context = replace(context, numbers=context.numbers | made.numbers, past=made.past)
    return scores, replace(fields, context=context)


def fit_scores(loader: Loader, past: Past, rows: np.ndarray, drawn: bool, seed: int = 0) -> NormalScores:
    """Fit how the numbers are read on training rows, at most `FITTED` of them.

    Args:
        loader: of the log.
        past: the numbers.
        rows: the training rows.
        drawn: whether training draws negatives; then one per row is among them.
        seed: of the rows and negatives.
    """
    rng, log = np.random.default_rng(seed), loader.log
    if len(rows) > FITTED:
        rows = np.sort(rng.choice(rows, FITTED, replace=False))
    found = []
    for part in np.array_split(rows, -(-len(rows) // BLOCK) or 1):
        user, time, item, query = log.user[part], log.time[part], log.item[part], np.arange(len(part))
        if drawn:
            other = loader.negatives(user, time, 1, rng).ravel()
            item, query = np.append(item, other[other >= 0]), np.append(query, query[other >= 0])
        found.append(past.raw(BatchRows(user, time, item, query, part[query], drawn)))
    return NormalScores.fit(np.concatenate(found))
