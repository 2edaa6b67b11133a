"""Decide which items clicks are compared with where negatives are drawn, and tell first appearances and returns apart.

Clicks and drawn candidates are compared among items that exist. Where pairs of user and item repeat, candidates are met
items too; else "met before" would tell a click. A click on an item that no earlier event has is scored apart, against
items that are as new; else "never seen" would tell it. `ready` is a `hyperctr.runs.prepare.Prepared`, which imports
this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr import config
from hyperctr.data.lookup import repeated
from hyperctr.evaluation.evaluate import Novelty

if TYPE_CHECKING:
    from hyperctr.data.interactions import Interactions
    from hyperctr.data.split import Split

REPEATS = 0.01  # share of the training clicks that repeat a pair, from which met items are candidates


def decide(run: config.Run, log: Interactions, parts: Split) -> tuple[bool, float]:
    """Decide `evaluate.met`, and return the share of the training clicks that repeat a pair clicked earlier.

    Where no negative is drawn, the answer is False and 0.

    Args:
        run: with `evaluate.met`: "auto" is yes if the share is at least `REPEATS` and the split is not leaky.
        log: all events.
        parts: the training rows.
    """
    if log.logged_non_clicks and not run.evaluate.sampled:
        return False, 0.0
    share = repeats(log, parts.train)
    decided = {"yes": True, "no": False, "auto": share >= REPEATS and not parts.leaky}
    return decided[run.evaluate.met], share


def repeats(log: Interactions, rows: np.ndarray | None = None) -> float:
    """Return the share of the clicks that repeat a pair of user and item clicked at an earlier time; 0 without clicks.

    Args:
        log: all events.
        rows: numbers of the rows whose clicks are counted; None: all.
    """
    clicks, counted = log.clicks(), np.ones(len(log), bool)
    if rows is not None:
        counted[:] = False
        counted[rows] = True
    again = repeated(log.user[clicks], log.item[clicks], log.time[clicks])[counted[clicks]]
    return float(again.mean()) if len(again) else 0.0


def in_words(ready: Any) -> str:
    """Say which items are drawn as negatives, and why; "" where none are drawn."""
    if not ready.draws:
        return ""
    asked, share = ready.run.evaluate.met, f"{ready.repeats:.1%} of the training clicks repeat a pair"
    why = "stated" if asked != "auto" else "a leaky split" if ready.split.leaky else share
    what = "also items that the user has met" if ready.met else "items that the user has not met"
    first = "; clicks on items that no earlier event has are scored apart" if ready.apart else ""
    return f'candidates: {what} (evaluate.met = "{asked}": {why}){first}'


def first_appearances(ready: Any, scored: dict[str, np.ndarray]) -> np.ndarray:
    """Say which scored rows ask for an item that no earlier event has, bool [n].

    A drawn candidate has the flag of its click.
    """
    first = ready.loader.is_first(scored["item"], scored["time"])
    if not ready.draws:
        return first
    click, query = scored["label"] == 1, scored["query"]
    of_query = np.zeros(query.max(initial=-1) + 1, bool)
    of_query[query[click]] = first[click]
    return of_query[query]


def novelty(ready: Any, scored: dict[str, np.ndarray]) -> Novelty:
    """Say which scored rows are first appearances, and which are returns; see `evaluate.Novelty`."""
    met = ready.loader.has_met(scored["user"], scored["item"], scored["time"])
    return Novelty(first_appearances(ready, scored), met, ready.apart)


def compared(ready: Any, scored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scored rows that the main scores compare: all but first appearances that stand apart."""
    if not ready.apart:
        return scored
    keep = ~first_appearances(ready, scored)
    return {name: x[keep] for name, x in scored.items()}
