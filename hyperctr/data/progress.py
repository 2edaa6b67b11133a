"""The type of a progress bar: a function that wraps an iterable of work."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Bar = Callable[[Iterable, str, int], Iterable]
"""(iterable, a word for it, number of entries) -> the same entries, one by one."""


def no_progress(work: Iterable, what: str, total: int) -> Iterable:
    """Return the iterable as it is, without a progress bar."""
    return work
