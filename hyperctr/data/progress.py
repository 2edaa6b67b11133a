"""How long work says how far it is: a function that wraps what it goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Bar = Callable[[Iterable, str, int], Iterable]
"""Called with what the work goes through, a word for it, and how many there are; gives them back one by one."""


def no_progress(work: Iterable, what: str, total: int) -> Iterable:
    """Return what the work goes through as it is: nothing is shown."""
    return work
