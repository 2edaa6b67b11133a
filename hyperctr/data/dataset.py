"""Dataset: interactions, items and users under one name, with notes on how they were read."""

from __future__ import annotations

from dataclasses import dataclass

from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as read: its tables, and one note per thing that the reader assumed or set aside."""

    name: str
    interactions: Interactions
    items: Items
    users: Users
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {self.interactions!r}, {self.items!r}, {self.users!r}, {len(self.notes)} notes)"
