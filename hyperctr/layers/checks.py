"""What the Config of a model or of a wrapper refuses; `table` is the table of its keys in a run file."""

from __future__ import annotations

import math
from typing import Any

from hyperctr.strict import choices


def check_sizes(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a size below 1, and a tuple of sizes that is empty or has one below 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, tuple):
            if not value or min(value) < 1:
                raise ValueError(f"{table}.{name} must be widths of at least 1, got {list(value)}")
        elif value < 1:
            raise ValueError(f"{table}.{name} must be at least 1, got {value}")


def check_shares(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a number outside [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{table}.{name} must lie in [0, 1), got {getattr(config, name)}")


def check_weights(config: Any, *names: str, table: str = "wrapper") -> None:
    """Refuse the weight of a loss that is below 0 or not finite."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{table}.{name} must be at least 0, got {getattr(config, name)}")


def check_choices(config: Any, *names: str, table: str = "model") -> None:
    """Refuse a value that the field's `Literal` does not list."""
    for name in names:
        *others, last = allowed = choices(type(config), name)
        if getattr(config, name) not in allowed:
            works = f"{', '.join(map(str, others))} or {last}" if others else last
            raise ValueError(f"{table}.{name} must be {works}, got {getattr(config, name)}")
