"""Cut interactions into train, valid and test rows: by time, by each user's last clicks or days, or at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.clock import DAY
from hyperctr.data.interactions import Interactions

KINDS = ("temporal", "leave-last-out", "leave-last-day-out", "random", "given")


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Row numbers of the three parts, each ascending, and whether training may use events after a tested row.

    Args:
        train: rows to learn from, int64.
        valid: rows to choose a model by, int64.
        test: rows to report scores on, int64.
        leaky: True when a training row may be later than a test row.
        kind: one of `KINDS`.
        note: what was decided that was not asked for, in one sentence; empty: nothing.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    leaky: bool
    kind: str
    note: str = ""

    def __repr__(self) -> str:
        sizes = f"train {len(self.train)}, valid {len(self.valid)}, test {len(self.test)}"
        return f"Split({self.kind}: {sizes}{', leaky' if self.leaky else ''})"


def split(
    interactions: Interactions, kind: str = "temporal", train: float = 0.7, valid: float = 0.2, seed: int = 0
) -> Split:
    """Divide the sample rows into three parts: all rows when non-clicks were logged, else only the clicks.

    - "temporal": two cuts in time, the same for all users, at the `train` and `train + valid` quantiles of the sample
      rows. A cut moves to the nearest change of time, so rows of equal time stay together. Never leaky.
    - "leave-last-out": each user's last click is for test and the click before it for validation. Users with fewer
      than three clicks stay in train. A logged non-click goes with the user's next click, or with the last click when
      there is no next one. Stamped leaky: the cuts differ by user, so a training row of one user may be later than a
      test row of another. `train`, `valid` and `seed` are unused.
    - "leave-last-day-out": the same with UTC days that have a click of the user, instead of single clicks (for
      baskets): all rows from the last such day on are for test.
    - "given": the parts that the source gives (`Interactions.part`); rows without a part are history only. Without
      validation rows the last `valid` share of the training rows by time is for validation, or a random share if there
      are no times. Stamped leaky when a row is later than a row of a later part, or when there are no times.
    - "random": each sample row by itself, drawn with `seed`. Stamped leaky: later rows of the same user are in train.

    Args:
        interactions: the table; row numbers refer to it.
        kind: one of the five above.
        train: share of the rows, within (0, 1).
        valid: share of the rows; the test part is the rest.
        seed: of what is drawn at random.

    Raises:
        ValueError: an unknown kind, "given" without a given split, shares that leave no test part, no rows, a part
            without rows, logged validation or test rows that all have one label, or "leave-last-day-out" for data
            without times.

    >>> import numpy as np
    >>> four, every_day = np.zeros(10, np.int64), np.arange(10) * 86_400_000_000
    >>> log = Interactions(four, four, every_day, np.ones(10), num_users=1, num_items=1, logged_non_clicks=False)
    >>> split(log)
    Split(temporal: train 7, valid 2, test 1)
    >>> split(log, "random")
    Split(random: train 7, valid 2, test 1, leaky)
    """
    if kind not in KINDS:
        raise ValueError(f"unknown split {kind!r}; choose one of {', '.join(KINDS)}")
    if not (train > 0 and valid > 0 and train + valid < 1):
        raise ValueError(f"train and valid must be positive and leave a test part, got {train:g} and {valid:g}")
    samples = interactions.samples()
    if not len(samples):
        what = "rows" if interactions.logged_non_clicks else "clicks"
        raise ValueError(f"there are no {what} to split; the table has {len(interactions)} rows in all")

    note, leaky = "", kind != "temporal"
    if kind == "temporal":
        parts = _temporal(interactions.time[samples], train, train + valid)
    elif kind == "leave-last-out":
        parts = _leave_last_out(interactions.user[samples], interactions.label[samples] == 1)
    elif kind == "leave-last-day-out":
        if not interactions.has_time:
            raise ValueError('data without times have no days; use kind "leave-last-out"')
        click = interactions.label[samples] == 1
        parts = _leave_last_day_out(interactions.user[samples], click, interactions.time[samples] // DAY)
    elif kind == "given":
        parts, leaky, note = _given(interactions, samples, valid, seed)
    else:
        parts = _random(len(samples), train, train + valid, seed)

    rows = [samples[parts == part] for part in range(3)]
    for name, part in zip(("train", "valid", "test"), rows, strict=True):
        if not len(part):
            distinct = len(np.unique(interactions.time[samples])) if kind == "temporal" else 0
            times = f" at {distinct} distinct time{'s' * (distinct > 1)}" if 0 < distinct < len(samples) else ""
            raise ValueError(
                f"the {name} part of the {kind} split has no rows ({len(samples)} sample rows{times}); {_advice(kind)}"
            )
        labels = interactions.label[part]
        if interactions.logged_non_clicks and (labels == labels[0]).all():
            raise ValueError(
                f"every row of the {name} part has label {labels[0]:g}, so nothing can be "
                f"{'learned' if name == 'train' else 'ranked'}: {_cause(interactions.label[samples], name, kind)}"
            )
    return Split(*rows, leaky, kind, " ".join(filter(None, (note, _rates(interactions, rows)))))


def check_negatives(log: Interactions, name: str) -> None:
    """Refuse data whose negatives have to be drawn where every user has clicked every item.

    Args:
        log: the events.
        name: of the data set, for the error.

    Raises:
        ValueError: no user has an item left to draw.
    """
    if log.logged_non_clicks:
        return
    clicks = log.clicks()
    users = np.count_nonzero(np.bincount(log.user[clicks], minlength=1))
    if len(clicks) < users * log.num_items or not users:
        return
    if len(np.unique(log.user[clicks] * log.num_items + log.item[clicks])) == users * log.num_items:
        raise ValueError(
            f"{name}: every user has clicked every one of the {log.num_items} items, so no negative can be drawn; log "
            'what was shown and not clicked (non_clicks = "logged"), list more items in a table of items, or draw met '
            'items too (evaluate.met = "yes")'
        )


def hold_out(interactions: Interactions, parts: Split, share: float = 0.1) -> tuple[Interactions, Split]:
    """Split the training rows again, so that a search of settings never sees the validation and test rows.

    Args:
        interactions: the table.
        parts: its split.
        share: the last training rows to validate on, as a share of all of them; rows of equal time stay together.

    Returns:
        The table without validation and test rows. Unless the split is leaky, all rows from the first of them on are
        left out too.
        Its split, of the same kind: the earlier rows as train, the last ones as valid, and no test rows.

    Raises:
        ValueError: a share outside (0, 1), or one that leaves no rows on either side.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of training rows to hold out must lie between 0 and 1, got {share:g}")
    unseen = np.concatenate([parts.valid, parts.test])
    keep = np.ones(len(interactions), dtype=bool)
    keep[unseen] = False
    if not parts.leaky:
        keep &= interactions.time < interactions.time[unseen].min()
    rows = parts.train[keep[parts.train]]
    after = _temporal(interactions.time[rows], 1 - share) == 1
    if after.all() or not after.any():
        raise ValueError(f"{share:g} of {len(rows)} training rows cannot be held out by time: use more rows")
    place = keep.cumsum() - 1
    none = np.empty(0, dtype=np.int64)
    return interactions.take(keep), Split(place[rows[~after]], place[rows[after]], none, parts.leaky, parts.kind)


def _temporal(time: np.ndarray, *shares: float) -> np.ndarray:
    """Number the part of each row; `time` ascends."""
    part = np.zeros(len(time), dtype=np.int64)
    for share in shares:
        at = min(round(share * len(time)), len(time) - 1)
        before, after = (np.searchsorted(time, time[at], side=side) for side in ("left", "right"))
        part[before if at - before <= after - at else after :] += 1
    return part


def _leave_last_out(user: np.ndarray, click: np.ndarray) -> np.ndarray:
    """Number the part of each row by the number of its user's clicks from this row on."""
    order = np.argsort(user, kind="stable")
    user, click = user[order], click[order]
    start = np.searchsorted(user, user, side="left")
    end = np.searchsorted(user, user, side="right")
    before = np.concatenate(([0], np.cumsum(click)))  # clicks in the first k rows
    remaining = before[end] - before[:-1]
    part = np.zeros(len(user), dtype=np.int64)
    part[order] = np.where(before[end] - before[start] >= 3, 2 - np.minimum(np.maximum(remaining - 1, 0), 2), 0)
    return part


def _leave_last_day_out(user: np.ndarray, click: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Number the part of each row as `_leave_last_out` does; all rows of a user on one day count as one row."""
    order = np.argsort(user, kind="stable")
    user, click, day = user[order], click[order], day[order]
    new = np.ones(len(user), bool)
    new[1:] = (user[1:] != user[:-1]) | (day[1:] != day[:-1])
    first = np.flatnonzero(new)
    part = np.empty(len(user), dtype=np.int64)
    part[order] = _leave_last_out(user[first], np.logical_or.reduceat(click, first))[np.cumsum(new) - 1]
    return part


def _given(log: Interactions, samples: np.ndarray, valid: float, seed: int) -> tuple[np.ndarray, bool, str]:
    """Number the given part of each sample row; also return whether it is leaky, and a note."""
    if log.part is None:
        raise ValueError(
            'split.kind = "given" needs the split of the source: a column of train, valid and test, named with '
            'split = "..." under [interactions] of dataset.toml'
        )
    part, time, note = log.part[samples].astype(np.int64), log.time[samples], ""
    train = np.flatnonzero(part == 0)
    if len(train) > 1 and not (part == 1).any():
        last = _temporal(time[train], 1 - valid) if log.has_time else _random(len(train), 1 - valid, 1, seed)
        part[train[last == 1]] = 1
        which = "last" if log.has_time else "random"
        note = f"The source gives no validation rows: the {which} {valid:g} of its training rows are for validation."
    first = [int(time[part == k].min(initial=np.iinfo(np.int64).max)) for k in range(3)]
    last = [int(time[part == k].max(initial=np.iinfo(np.int64).min)) for k in range(3)]
    return part, not log.has_time or last[0] > min(first[1:]) or last[1] > first[2], note


def _rates(log: Interactions, rows: list[np.ndarray]) -> str:
    """Say the click rates of the parts where they differ by more than a factor of 2 and non-clicks were logged."""
    rates = [float(log.label[part].mean()) for part in rows]
    if not log.logged_non_clicks or max(rates) <= 2 * min(rates):
        return ""
    return (
        f"The click rates differ: {rates[0]:.3g} in training, {rates[1]:.3g} in validation, {rates[2]:.3g} in test. If "
        'some rows are clicks by construction, mark them as history alone: use = "COLUMN" under [interactions].'
    )


def _random(count: int, train: float, valid_end: float, seed: int) -> np.ndarray:
    part = np.empty(count, dtype=np.int64)
    place = np.arange(count)
    part[np.random.default_rng(seed).permutation(count)] = (place >= round(train * count)).astype(np.int64) + (
        place >= round(valid_end * count)
    )
    return part


def _cause(label: np.ndarray, name: str, kind: str) -> str:
    """Say why a part has rows of one label alone, and what would help; `label` is that of all rows, by time."""
    if (label == 1).all():
        return 'every row is a click: say non_clicks = "unobserved" in dataset.toml, so that negatives are drawn'
    if (label == 0).all():
        return "no row is a click: name the column of the click, or another click_at_least"
    first, end = int((label == 0).argmax()), len(label) - int((label[::-1] == 0).argmax())
    for clicks, where in ((first, "first"), (len(label) - end, "last")):
        if clicks >= max(10, len(label) // 100):
            return (
                f"the {where} {clicks:,} of {len(label):,} rows are clicks alone: if they are histories, name them "
                "with use under [interactions], so that they are neither trained on nor scored"
            )
    return _advice(kind)


def _advice(kind: str) -> str:
    if kind == "temporal":
        return 'choose other train and valid shares, data with more distinct times, or kind "random" (leaky)'
    if kind == "leave-last-out":
        return 'users need three clicks or more; use kind "temporal"'
    if kind == "leave-last-day-out":
        return 'users need clicks on three days or more; use kind "temporal"'
    if kind == "given":
        return 'use a split by time, kind "temporal"'
    return "choose other train and valid shares, or use more rows"
