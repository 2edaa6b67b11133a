"""Say in words what depth, granularity and links give in a sweep: a gain whose interval contains zero is nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hyperctr.evaluation.significance import Score, difference
from hyperctr.experiments.results import LINKS

Key = TypeVar("Key")
Runs = Sequence[dict]


def chosen(cells: Mapping[Key, Runs]) -> Key | None:
    """Return the cell with the highest mean validation AUC; None if no cell has one."""
    means = {cell: math.fsum(row["valid_auc"] for row in rows) / len(rows) for cell, rows in cells.items() if rows}
    known = {cell: mean for cell, mean in means.items() if not math.isnan(mean)}
    return max(known, key=known.__getitem__) if known else None


def sentence(what: str, over: str, gain: Score) -> str:
    """Say whether one cell is above another, by the 95 % interval of the difference.

    >>> sentence("depth 3", "depth 0", Score(0.0004, 0.0014, 5))
    'depth 3 gives nothing over depth 0: +0.0004 [-0.0010, +0.0018], n=5'
    """
    word = "is better than" if gain.mean > gain.half else "is worse than" if gain.mean < -gain.half else ""
    edges = f"{gain.mean - gain.half:+.4f}, {gain.mean + gain.half:+.4f}"
    return f"{what} {word or 'gives nothing over'} {over}: {gain.mean:+.4f} [{edges}], n={gain.num}"


def of_states(cells: Mapping[tuple[str, int], Runs], best: tuple[str, int]) -> list[str]:
    """Say what each depth gives over no depth, and each granularity over the best other.

    Args:
        cells: the runs by granularity and depth.
        best: the cell chosen by validation AUC: depths are compared at its granularity, granularities at its depth.
    """
    every, depth = best
    column = {d: cells[every, d] for d in sorted(d for e, d in cells if e == every)}
    row = {e: rows for (e, d), rows in cells.items() if d == depth}
    first, *more = column
    found = _each((f"depth {d}", f"depth {first}", column[d], column[first]) for d in more)
    return found + _each((f"granularity {e}", other, row[e], row[other]) for e, other in _others(row))


def of_links(cells: Mapping[tuple[str, str], Runs]) -> list[str]:
    """Say what each kind of links gives over none and over links of the whole past, and each width of their periods.

    Args:
        cells: the runs by kind and width; the kind "none" has no width.
    """
    none, found = cells.get(("none", ""), ()), []
    for kind in [kind for kind in LINKS if kind != "none"]:
        widths = {every: rows for (k, every), rows in cells.items() if k == kind}
        if (best := chosen(widths)) is None:
            continue
        what, rows = _named(kind, best), widths[best]
        found += _each([(what, "reading none", rows, none)])
        if kind != "past":
            found += _each([(what, _named("past", best), rows, cells.get(("past", best), ()))])
        found += _each((_named(kind, e), f"by {other}", widths[e], widths[other]) for e, other in _others(widths))
    return found


def in_words(kind: str, every: str) -> str:
    """Write what links are read, and the width of their periods.

    >>> in_words("slice", "7d"), in_words("none", "")
    ('per slice by 7d', 'none')
    """
    return f"{LINKS[kind]} by {every}" if every else LINKS[kind]


def _named(kind: str, every: str) -> str:
    return f"reading links {in_words(kind, every)}"


def _others(cells: Mapping[str, Runs]) -> list[tuple[str, str]]:
    """Return each width with the best other width by validation AUC."""
    pairs = ((width, chosen({key: rows for key, rows in cells.items() if key != width})) for width in cells)
    return [(width, other) for width, other in pairs if other]


def _each(pairs: Iterable[tuple[str, str, Runs, Runs]]) -> list[str]:
    """Return a sentence for each (what, over, its runs, the runs of that) which share a seed."""
    gains: list[tuple[str, str, Any]] = [(what, over, difference([*a], [*b])) for what, over, a, b in pairs]
    return [sentence(what, over, gain) for what, over, gain in gains if gain is not None]
