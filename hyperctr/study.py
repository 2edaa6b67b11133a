"""What a study is: one table or figure of a paper, and the rows that it compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bench:
    """One table or figure of a paper's experiments."""

    name: str
    """Its name on the command line."""
    title: str
    """Which table or figure it is, and of what."""
    varies: str = ""
    """The key that its values go into; "" where rows differ in more than a value."""
    values: tuple[str, ...] = ()
    """The paper's grid."""
    axis: str = ""
    """What the values are."""
    log: bool = False
    """Whether they are drawn on a log axis."""


@dataclass(frozen=True)
class Row:
    """A row of the table, or a point of the curve; a model that is not there yet has a row without runs."""

    name: str
    model: str = "hyperctr"
    sets: tuple[str, ...] = ()
    """What it changes in the run of its model, as `--set` would."""
    wear_name: str = ""
    """What its model wears in training; "" for what the base run says."""
    wear: Any = None
    """The Config of that."""
    over: str = ""
    """The row that its gain is over, where that does not follow from the study."""
