"""Dataset: interactions, items and users under one name, with notes on how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Ids, Items, Users


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as read: its tables, and one note per thing that the reader assumed or set aside."""

    name: str
    interactions: Interactions
    items: Items
    users: Users
    notes: tuple[str, ...] = ()
    roles: Mapping[str, Any] = field(default_factory=dict)
    """Which column is what, in the shape of dataset.toml; empty for data made in memory."""

    @cached_property
    def user_ids(self) -> Ids:
        """The original ids of the users, for looking up their numbers."""
        return Ids("user", self.users.ids)

    @cached_property
    def item_ids(self) -> Ids:
        """The original ids of the items, for looking up their numbers."""
        return Ids("item", self.items.ids)

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {self.interactions!r}, {self.items!r}, {self.users!r}, {len(self.notes)} notes)"
